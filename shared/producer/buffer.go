package producer

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	mathrand "math/rand/v2"
	"net"
	"net/http"
	"sync"
	"time"

	"sluice/shared/store"
	"sluice/shared/wire"
)

const (
	batchEvents   = 500
	batchBytes    = 1 << 20
	eventOverhead = 200             // bytes that an event counts besides its texts
	keyFor        = 9 * time.Minute // an idempotency key is known for ten; later it would be a second event
	firstWait     = 100 * time.Millisecond
	longestWait   = 10 * time.Second
)

var (
	// ErrClosed says that the buffer is closed, or was, before the event was appended; it may have been.
	ErrClosed = errors.New("the buffer is closed")
	// ErrUnknown says that an event had no answer for as long as its key is known. It may have been appended.
	ErrUnknown = errors.New("no answer: it may have been appended")
	// ErrTooLarge says that an event is larger than the whole buffer.
	ErrTooLarge = errors.New("the event is larger than the buffer")
)

// BufferOptions are the bounds of a buffer, and who is told.
type BufferOptions struct {
	Count int // events that wait, those under way included (0: 10,000)
	Bytes int // of them (0: 16 MiB)
	// OnLost is told of each event that will not be appended, or of which that is not known, and why: ErrUnknown, ErrClosed, or
	// as in Failed. nil: slog.Default tells it.
	OnLost func(Event, error)
	// OnRetry is told that events are tried again, why, and after how long. nil: slog.Default tells it.
	OnRetry func(err error, in time.Duration)
}

// Buffer appends events in the background, many at once, and repeats what was not answered: each has an idempotency key, its own or
// one that the buffer makes, so that it stays one event. Events are sent in the order of Add, and a repeat comes before all that
// are behind it; only an event that was refused for now (Redis has no memory left, workers are behind) while others of the same
// batch were taken comes behind those.
// Its methods may be called by any number of goroutines.
type Buffer struct {
	p    *Producer
	o    BufferOptions
	stop context.CancelFunc
	wake chan struct{} // there is something to be sent
	done chan struct{} // its goroutine has ended

	mu       sync.Mutex
	waiting  []held // in their order; the first ones are under way
	bytes    int
	closed   bool
	added    uint64
	settled  uint64        // of these: appended or lost
	lost     uint64        // of these, since the last Flush
	firstErr error         // of the first one lost since then
	lastErr  error         // why events are tried again; nil: they are not
	changed  chan struct{} // closed, and made again, when some were settled
}

type held struct {
	event Event
	size  int
	first time.Time // when it may have been appended first; zero: it was not sent, or is known to be refused
}

// NewBuffer makes a buffer and starts its goroutine, which Close ends. The producer must be closed later.
func NewBuffer(p *Producer, o BufferOptions) *Buffer {
	if o.Count <= 0 {
		o.Count = 10_000
	}
	if o.Bytes <= 0 {
		o.Bytes = 16 << 20
	}
	if o.OnLost == nil {
		o.OnLost = func(e Event, err error) {
			slog.Error("an event was not published", "to", e.To, "key", e.Key, "error", err)
		}
	}
	if o.OnRetry == nil {
		o.OnRetry = func(err error, in time.Duration) {
			slog.Warn("events wait to be published", "error", err, "retry_in", in)
		}
	}
	life, stop := context.WithCancel(context.Background())
	b := &Buffer{p: p, o: o, stop: stop, wake: make(chan struct{}, 1), done: make(chan struct{}), changed: make(chan struct{})}
	go b.run(life)
	return b
}

// Add takes an event, and waits for room if there is none. Errors: ErrClosed, ErrTooLarge, wire.ErrTarget, wire.ErrUnread, that of
// ctx. The event's data must not be changed afterwards.
func (b *Buffer) Add(ctx context.Context, e Event) error {
	if err := e.check(); err != nil {
		return err
	}
	if e.Key == "" {
		e.Key = rand.Text()
	}
	size := len(e.To) + len(e.Data) + len(e.Name) + len(e.Key) + len(e.Except) + len(e.Trace) + eventOverhead
	if size > b.o.Bytes {
		return fmt.Errorf("%w: %d bytes of %d", ErrTooLarge, size, b.o.Bytes)
	}
	for {
		b.mu.Lock()
		room, closed, changed := len(b.waiting) < b.o.Count && b.bytes+size <= b.o.Bytes, b.closed, b.changed
		if room && !closed {
			b.waiting = append(b.waiting, held{event: e, size: size})
			b.bytes += size
			b.added++
		}
		b.mu.Unlock()
		switch {
		case closed:
			return ErrClosed
		case room:
			b.wakeUp()
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Flush waits until all that was added before is appended or lost. The error is that of ctx, with the reason why events wait, or
// says how many were lost since the last Flush, and why the first of them.
func (b *Buffer) Flush(ctx context.Context) error {
	b.mu.Lock()
	until := b.added
	b.mu.Unlock()
	for {
		b.mu.Lock()
		over, changed, waiting, last := b.settled >= until, b.changed, len(b.waiting), b.lastErr
		lost, first := b.lost, b.firstErr
		if over {
			b.lost, b.firstErr = 0, nil
		}
		b.mu.Unlock()
		switch {
		case over && lost > 0:
			return fmt.Errorf("%d events were not published; the first: %w", lost, first)
		case over:
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("%d events wait to be published: %w", waiting, ctx.Err()), last)
		}
	}
}

// Close flushes, and takes no more events. When ctx ends first those that are left are lost. It ends the buffer's goroutine; the
// error is that of Flush.
func (b *Buffer) Close(ctx context.Context) error {
	b.mu.Lock()
	b.closed = true
	b.announce()
	b.mu.Unlock()
	err := b.Flush(ctx)
	b.stop()
	<-b.done
	b.mu.Lock()
	left := b.waiting
	b.waiting, b.bytes = nil, 0
	b.settled = b.added
	b.announce()
	b.mu.Unlock()
	for _, h := range left {
		b.o.OnLost(h.event, ErrClosed)
	}
	return err
}

func (b *Buffer) wakeUp() {
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// announce wakes all who wait for a change; b.mu is held.
func (b *Buffer) announce() {
	close(b.changed)
	b.changed = make(chan struct{})
}

// run sends batch after batch until life ends.
func (b *Buffer) run(life context.Context) {
	defer close(b.done)
	for attempts := 0; life.Err() == nil; {
		batch := b.batch(time.Now())
		if len(batch) == 0 {
			select {
			case <-b.wake:
			case <-life.Done():
			}
			continue
		}
		began := time.Now()
		errs, err := b.p.sink.publish(life, batch)
		if life.Err() != nil {
			return
		}
		after, again := b.settle(batch, errs, err, began)
		if again == nil {
			attempts = 0
			continue
		}
		wait := min(firstWait<<min(attempts, 10), longestWait)
		wait = max(after, wait/2+time.Duration(mathrand.Int64N(int64(wait/2)))) //nolint:gosec // jitter is no secret
		attempts++
		b.o.OnRetry(again, wait)
		select {
		case <-time.After(wait):
		case <-life.Done():
		}
	}
}

// batch are the events to be sent next. Those of which the key may be forgotten are lost.
func (b *Buffer) batch(now time.Time) (batch []Event) {
	b.mu.Lock()
	kept, gone := b.waiting[:0], []Event(nil)
	size, full := 0, false
	for _, h := range b.waiting {
		if !h.first.IsZero() && now.Sub(h.first) > keyFor {
			gone = append(gone, h.event)
			b.over(h, ErrUnknown)
			continue
		}
		kept = append(kept, h)
		size += h.size
		if full = full || len(batch) == batchEvents || (len(batch) > 0 && size > batchBytes); !full {
			batch = append(batch, h.event)
		}
	}
	clear(b.waiting[len(kept):])
	b.waiting = kept
	if len(gone) > 0 {
		b.announce()
	}
	b.mu.Unlock()
	for _, e := range gone {
		b.o.OnLost(e, ErrUnknown)
	}
	return batch
}

// over counts an event that is appended, or lost; b.mu is held.
func (b *Buffer) over(h held, lost error) {
	b.bytes -= h.size
	b.settled++
	if lost != nil {
		if b.lost++; b.firstErr == nil {
			b.firstErr = lost
		}
	}
}

// settle notes what became of a batch, the first of those that wait: what is to be tried again stays, in front. It returns how
// long to wait at least, and why; nil: nothing is tried again.
func (b *Buffer) settle(batch []Event, errs []error, whole error, began time.Time) (after time.Duration, again error) {
	type loss struct {
		event Event
		err   error
	}
	var lost []loss
	b.mu.Lock()
	var kept []held
	for i, h := range b.waiting[:len(batch)] {
		err := whole
		if err == nil {
			err = errs[i]
		}
		switch {
		case err == nil:
			b.over(h, nil)
		case isFinal(err):
			b.over(h, err)
			lost = append(lost, loss{h.event, err})
		default:
			if again == nil {
				again = err
			}
			var r *Refused
			if errors.As(err, &r) {
				after = max(after, r.RetryAfter)
			}
			if h.first.IsZero() && whole == nil && !isRefusal(err) {
				h.first = began
			}
			kept = append(kept, h)
		}
	}
	n := copy(b.waiting[len(batch)-len(kept):], kept)
	clear(b.waiting[:len(batch)-n])
	if b.waiting = b.waiting[len(batch)-n:]; len(b.waiting) == 0 {
		b.waiting = nil
	}
	b.lastErr = again
	b.announce()
	b.mu.Unlock()
	for _, l := range lost {
		b.o.OnLost(l.event, l.err)
	}
	return after, again
}

// isFinal reports whether there is no use in trying again.
func isFinal(err error) bool {
	var r *Refused
	if errors.As(err, &r) {
		switch r.Code {
		case wire.CodeBadRequest, wire.CodeForbidden, wire.CodeTooLarge:
			return true
		}
		return r.tooLarge()
	}
	return errors.Is(err, ErrBinary) || errors.Is(err, store.ErrMeta)
}

// isRefusal reports whether it is known that the event was not appended.
func isRefusal(err error) bool {
	var r *Refused
	var dial *net.OpError
	switch {
	case errors.As(err, new(notSent)), errors.Is(err, errToken):
		return true
	case errors.As(err, &r):
		return r.Status == http.StatusUnauthorized || r.Status == http.StatusTooManyRequests
	case errors.As(err, &dial):
		return dial.Op == "dial"
	}
	return store.IsReply(err)
}
