// Package acks brings what clients acknowledge to the acks streams, and says in Redis where the cursors of devices begin and end.
//
//	acks.go     acks on their way to Redis
//	client.go   what must be known of a connection that acknowledges
//	cursors.go  where devices begin and end
package acks

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"sluice/gateway/lock"
	"sluice/shared/ops"
	"sluice/shared/store"
	"sluice/shared/wire"
)

const (
	ackEvery    = time.Second // what is held is written this often
	ackCount    = 100         // or when so many acks have come for one target
	ackBatch    = 1000        // acks written in one round trip
	maxAcks     = 64 << 10    // held and on their way, of all connections
	ackFarewell = time.Second // how long the last write may take when the gateway ends
)

// Reasons why an acknowledgement was dropped.
const (
	dropFull      = "full"         // too many wait for Redis; the client is told
	dropStopped   = "stopped"      // the gateway ended and Redis did not take it
	dropNotStream = "not_a_stream" // the key of the acks holds something else
	dropNoCursor  = "no_cursor"    // the user has all the cursors that are kept: none was begun
	dropUnread    = "unread"       // the stream was full of acks that somebody has not read
)

// Options are what Acks are made of.
type Options struct {
	Store      *store.Store
	StreamSize int           // entries that each acks stream keeps
	CursorTTL  time.Duration // of a user's cursors, after the last ack
	Targets    int           // that one connection may have
	StoodStill func(since time.Time) bool
	Clients    func() []*Client // those of all connections that have one
	Metrics    *Metrics
	Log        *slog.Logger
}

// Metrics are counted by Acks.
type Metrics struct {
	Acks    prometheus.Counter // that clients sent
	Refused prometheus.Counter // of what was not sent
	Written prometheus.Counter // appended to the streams, the highest for many
	Drops   *prometheus.CounterVec
}

// Acks gathers what clients acknowledge and appends it to the acks streams. An ack is
// cumulative: of those of a connection for a target the highest is enough. One
// goroutine writes.
type Acks struct {
	o     Options
	wake  chan struct{}
	lost  chan struct{} // Redis may have lost cursors
	reads chan struct{} // reads of cursors that are under way

	mu   lock.Mutex[lock.Acks]
	held map[*Client]map[string]*heldAck // by connection and target
	due  []wire.Ack                      // to be written next
	// size counts those held, due, and being written.
	size    int
	stopped bool
}

type heldAck struct {
	wire.Ack
	count int // acks that it stands for
}

// New makes Acks; Run must be called.
func New(o Options) *Acks {
	return &Acks{
		o: o, wake: make(chan struct{}, 1), lost: make(chan struct{}, 1), reads: make(chan struct{}, mostReads), held: make(map[*Client]map[string]*heldAck),
	}
}

// Run writes until ctx ends, and then what is left, if Redis takes it at once. By then
// no connection is there any more.
func (a *Acks) Run(ctx context.Context) error {
	work, ctx := errgroup.WithContext(ctx)
	work.Go(func() error { return a.restore(ctx) })
	work.Go(func() error { return a.writeAll(ctx) })
	return work.Wait()
}

// add holds an ack until it is due; false: there is no room.
func (a *Acks) add(k *Client, to string, id wire.ID) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	h := a.held[k][to]
	if h == nil {
		if a.stopped || a.size >= maxAcks {
			a.dropped(dropFull, 1)
			return false
		}
		h = &heldAck{Ack: wire.Ack{User: k.User, Device: k.Device, To: to}}
		if a.held[k] == nil {
			a.held[k] = make(map[string]*heldAck)
		}
		a.held[k][to] = h
		a.size++
	}
	h.ID = wire.Later(h.ID, id)
	if h.count++; h.count >= ackCount {
		delete(a.held[k], to)
		if len(a.held[k]) == 0 {
			delete(a.held, k)
		}
		a.due = append(a.due, h.Ack)
		a.signal()
	}
	return true
}

// flush makes due what is held of a connection.
func (a *Acks) flush(k *Client) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.held[k]) > 0 {
		a.release(k)
		a.signal()
	}
}

func (a *Acks) release(k *Client) {
	for _, h := range a.held[k] {
		a.due = append(a.due, h.Ack)
	}
	delete(a.held, k)
}

// flushAll makes everything due. While the writer is behind, acks are better held:
// there they take the place of each other.
func (a *Acks) flushAll() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.due) > 0 {
		return
	}
	for k := range a.held {
		a.release(k)
	}
}

func (a *Acks) signal() {
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

func (a *Acks) dropped(reason string, acks int) {
	a.o.Metrics.Drops.WithLabelValues(reason).Add(float64(acks))
}

func (a *Acks) writeAll(ctx context.Context) error {
	tick := time.NewTicker(ackEvery)
	defer tick.Stop()
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-a.wake:
		case <-tick.C:
			a.flushAll()
		}
		a.write(ctx)
	}
	a.mu.Lock()
	a.stopped = true
	a.mu.Unlock()
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), ackFarewell)
	defer cancel()
	for a.write(last); last.Err() == nil; a.write(last) {
		a.flushAll()
		if a.left() == 0 {
			return nil
		}
	}
	left := a.left()
	if left == 0 {
		return nil
	}
	a.dropped(dropStopped, left)
	a.o.Log.Warn("stopping with acknowledgements that Redis did not take; their clients may get events again", "acks", left)
	return nil
}

// left is how many acks are not written.
func (a *Acks) left() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.size
}

// write writes what is due; what fails is tried again until ctx ends.
func (a *Acks) write(ctx context.Context) {
	var backoff time.Duration
	for ctx.Err() == nil {
		a.mu.Lock()
		n := min(len(a.due), ackBatch)
		batch := a.due[:n:n]
		a.due = a.due[n:]
		a.mu.Unlock()
		if n == 0 {
			return
		}
		again, err := a.append(ctx, batch)
		a.mu.Lock()
		a.size -= n - len(again)
		if len(again) > 0 {
			a.due = append(again, a.due...)
		}
		a.mu.Unlock()
		if err == nil {
			backoff = 0
			continue
		}
		if backoff == 0 && ctx.Err() == nil {
			a.o.Log.Error("cannot write acknowledgements; retrying", "err", err)
		}
		backoff = min(max(2*backoff, 20*time.Millisecond), time.Second)
		ops.Pause(ctx, backoff)
	}
}

// append appends a batch, and returns the acks that are to be tried again.
func (a *Acks) append(ctx context.Context, batch []wire.Ack) (again []wire.Ack, failure error) {
	errs, lost := a.o.Store.AppendAcks(ctx, batch, a.o.StreamSize)
	a.dropped(dropUnread, int(lost))
	for i, err := range errs {
		switch {
		case err == nil:
			a.o.Metrics.Written.Inc()
		case errors.Is(err, store.ErrNotStream):
			a.dropped(dropNotStream, 1)
		default:
			again, failure = append(again, batch[i]), err
		}
	}
	return again, failure
}

// Post appends acks of a request to their streams; those of the position before everything say nothing.
func (a *Acks) Post(ctx context.Context, acks []wire.Ack) error {
	written := acks[:0]
	for _, one := range acks {
		if !one.ID.IsZero() {
			written = append(written, one)
		}
	}
	if len(written) == 0 {
		return nil
	}
	errs, lost := a.o.Store.AppendAcks(ctx, written, a.o.StreamSize)
	a.dropped(dropUnread, int(lost))
	for _, err := range errs {
		if err != nil {
			return err // those that were taken may come again
		}
		a.o.Metrics.Written.Inc()
	}
	return nil
}
