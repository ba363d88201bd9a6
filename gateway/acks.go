package gateway

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"sluice/gateway/auth"
	"sluice/gateway/live"
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

// acks gathers what clients acknowledge and appends it to the acks streams. An ack is
// cumulative: of those of a connection for a target the highest is enough. One
// goroutine writes.
type acks struct {
	store      *store.Store
	streamSize int // entries
	metrics    *metrics
	log        *slog.Logger
	wake       chan struct{}

	mu   lock.Mutex[lock.Acks]
	held map[*conn]map[string]*heldAck // by connection and target
	due  []wire.Ack                    // to be written next
	// size counts those held, due, and being written.
	size    int
	stopped bool
}

type heldAck struct {
	wire.Ack
	count int // acks that it stands for
}

func newAcks(st *store.Store, streamSize int, m *metrics, log *slog.Logger) *acks {
	return &acks{store: st, streamSize: streamSize, metrics: m, log: log, wake: make(chan struct{}, 1), held: make(map[*conn]map[string]*heldAck)}
}

// ack takes a client's acknowledgement. There is no answer but an error.
func (c *conn) ack(f *wire.ClientFrame) error {
	id, _ := wire.ParseID(f.ID) // the frame was checked
	m := c.gw.metrics
	m.acks.Inc()
	now, _ := c.Get(f.To)
	c.mu.Lock()
	k := c.ackState()
	before, sent, acked := k.left[f.To], k.high[f.To], k.acked[f.To]
	c.mu.Unlock()
	if now == nil && before == nil {
		m.acksRefused.Inc()
		return &wire.FrameError{Code: wire.CodeBadRequest, Message: "this connection is not subscribed to this target"}
	}
	to := ""
	for _, s := range []*live.Sub{before, now} {
		if s != nil {
			to = s.Target()
			sent = wire.Later(sent, s.Sent())
		}
	}
	switch {
	case sent.Less(id):
		m.acksRefused.Inc()
		return &wire.FrameError{Code: wire.CodeBadRequest, Message: "nothing up to this id was sent on this connection"}
	case !acked.Less(id):
		return nil // cumulative
	}
	if !c.gw.acks.add(c, to, id) {
		return &wire.FrameError{Code: wire.CodeUnavailable, Message: "too many acknowledgements wait; acknowledge again"}
	}
	c.mu.Lock()
	put(c.gw, k.acked, to, id)
	c.mu.Unlock()
	return nil
}

// acking is what a connection that acknowledges must know. Each map has as many targets
// as a connection may have, at most. The connection's lock guards it.
type acking struct {
	left  map[string]*live.Sub // ended subscriptions: acks of what they sent may be on their way
	high  map[string]wire.ID   // where subscriptions were before a gap, which may lead back
	acked map[string]wire.ID   // what was taken
	begun map[string]wire.ID   // where a device's subscriptions began
}

// ackState is the connection's acking; c.mu is held.
func (c *conn) ackState() *acking {
	if c.acking == nil {
		c.acking = &acking{make(map[string]*live.Sub), make(map[string]wire.ID), make(map[string]wire.ID), make(map[string]wire.ID)}
	}
	return c.acking
}

// put keeps a map within the bound. Which target gives way does not matter.
func put[T any](g *Gateway, m map[string]T, target string, v T) {
	if _, there := m[target]; !there && len(m) >= g.cfg.MaxTargets {
		for other := range m {
			delete(m, other)
			break
		}
	}
	m[target] = v
}

// Left keeps subscriptions that end.
func (c *conn) Left(subs ...*live.Sub) {
	c.count(-len(subs))
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range subs {
		if !c.closed {
			put(c.gw, c.ackState().left, s.Target(), s)
		}
	}
}

// LedBack remembers what was sent if a subscription is led back: that may still be
// acknowledged, and what follows is new.
func (c *conn) LedBack(target string, sent wire.ID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	k := c.ackState()
	put(c.gw, k.high, target, wire.Later(k.high[target], sent))
	delete(k.acked, target)
}

// add holds an ack until it is due; false: there is no room.
func (a *acks) add(c *conn, to string, id wire.ID) bool {
	user := c.user()
	a.mu.Lock()
	defer a.mu.Unlock()
	h := a.held[c][to]
	if h == nil {
		if a.stopped || a.size >= maxAcks {
			a.metrics.ackDrops.WithLabelValues(ackDropFull).Inc()
			return false
		}
		h = &heldAck{Ack: wire.Ack{User: user, Device: c.device, To: to}}
		if a.held[c] == nil {
			a.held[c] = make(map[string]*heldAck)
		}
		a.held[c][to] = h
		a.size++
	}
	h.ID = wire.Later(h.ID, id)
	if h.count++; h.count >= ackCount {
		delete(a.held[c], to)
		if len(a.held[c]) == 0 {
			delete(a.held, c)
		}
		a.due = append(a.due, h.Ack)
		a.signal()
	}
	return true
}

// flush makes due what is held of a connection.
func (a *acks) flush(c *conn) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.held[c]) > 0 {
		a.release(c)
		a.signal()
	}
}

func (a *acks) release(c *conn) {
	for _, h := range a.held[c] {
		a.due = append(a.due, h.Ack)
	}
	delete(a.held, c)
}

// flushAll makes everything due. While the writer is behind, acks are better held:
// there they take the place of each other.
func (a *acks) flushAll() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.due) > 0 {
		return
	}
	for c := range a.held {
		a.release(c)
	}
}

func (a *acks) signal() {
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

// run writes until ctx ends, and then what is left, if Redis takes it at once. By then
// no connection is there any more.
func (a *acks) run(ctx context.Context) error {
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
	a.metrics.ackDrops.WithLabelValues(ackDropStopped).Add(float64(left))
	a.log.Warn("stopping with acknowledgements that Redis did not take; their clients may get events again", "acks", left)
	return nil
}

// left is how many acks are not written.
func (a *acks) left() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.size
}

// write writes what is due; what fails is tried again until ctx ends.
func (a *acks) write(ctx context.Context) {
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
			a.log.Error("cannot write acknowledgements; retrying", "err", err)
		}
		backoff = min(max(2*backoff, 20*time.Millisecond), time.Second)
		ops.Pause(ctx, backoff)
	}
}

// append appends a batch, and returns the acks that are to be tried again.
func (a *acks) append(ctx context.Context, batch []wire.Ack) (again []wire.Ack, failure error) {
	m := a.metrics
	errs, lost := a.store.AppendAcks(ctx, batch, a.streamSize)
	m.ackDrops.WithLabelValues(ackDropUnread).Add(float64(lost))
	for i, err := range errs {
		switch {
		case err == nil:
			m.acksWritten.Inc()
		case errors.Is(err, store.ErrNotStream):
			m.ackDrops.WithLabelValues(ackDropNotStream).Inc()
		default:
			again, failure = append(again, batch[i]), err
		}
	}
	return again, failure
}

// acked tells a user's other devices how far one of them is. It is live only.
func (g *Gateway) acked(a *wire.Ack) {
	frame := wire.Frame(wire.Acked{To: a.To, ID: a.ID, Device: a.Device})
	there := g.flow.Each(wire.UserTarget(a.User), func(client *live.Client) {
		if c, ok := client.Owner().(*conn); ok && c.device != a.Device && c.isWelcomed() && !c.Send(frame) {
			g.metrics.dropped(live.DropLiveOnly)
		}
	})
	if !there {
		g.metrics.dropped(live.DropNobody)
	}
}

func (c *conn) isWelcomed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.welcomed
}

// asked is what a client asks for when it connects, by the request and by `connect`.
type asked struct {
	wants    []want
	mistakes []wire.Error
	came     time.Time // when its client did
	device   string    // "": no cursors are kept
	resume   bool      // from the device's cursors
	retained bool      // on_gap
	byTime   bool      // the client keeps a single id for all its targets
}

// granted adds what a function wants the connection to have, before what the client asks for, whose positions count more.
func (o *asked) granted(id auth.Identity) {
	if id.Granted == nil {
		return
	}
	var first []want
	for _, target := range id.Granted.Subscribe {
		first = append(first, want{target: target})
	}
	o.wants = append(first, o.wants...)
}

// ofDevice takes what the request says of the device, for clients that bring their token
// in it and send no `connect`.
func (o *asked) ofDevice(device, resume string) {
	switch {
	case device != "" && !wire.ValidName(device):
		o.refuse(wire.CodeBadRequest, wire.ErrDevice)
	case resume != "" && (resume != "device" || device == ""):
		o.refuse(wire.CodeBadRequest, `resume is "device", and needs device`)
	default:
		o.device, o.resume = device, resume != ""
	}
}

func (o *asked) refuse(code, message string) {
	o.mistakes = append(o.mistakes, wire.Error{Code: code, Message: message})
}

// byCursors adds the targets that the device's cursors name. A position that the client
// gave itself counts more.
func (c *conn) byCursors(ctx context.Context, user string, o *asked) error {
	ctx, cancel := context.WithTimeout(ctx, live.RedisTimeout)
	defer cancel()
	select {
	case c.gw.cursorReads <- struct{}{}:
		defer func() { <-c.gw.cursorReads }()
	case <-ctx.Done():
		return ctx.Err()
	}
	cursors, full, err := c.gw.store.Cursors(ctx, user, o.device)
	if err != nil {
		return err
	}
	for _, w := range o.wants {
		if _, ok := w.start.Position(); ok {
			delete(cursors, w.target)
		}
	}
	o.wants = append(o.wants, positions(cursors)...)
	if full {
		o.refuse(wire.CodeTooMany, "this user has as many cursors as are kept; some of this device may be missing")
	}
	return nil
}
