package acks

import (
	"context"
	"time"

	"sluice/gateway/live"
	"sluice/gateway/lock"
	"sluice/shared/wire"
)

// About is who acknowledges on a connection.
type About struct {
	Conn, User string
	Device     string      // "": no cursors are kept
	Over       func() bool // the connection has ended, or is about to
}

// Client is what must be known of a connection that acknowledges. Each map has as many targets as a connection may have, at most.
type Client struct {
	About
	acks *Acks

	mu    lock.Mutex[lock.Acking]
	left  map[string]*live.Sub // ended subscriptions: acks of what they sent may be on their way
	high  map[string]wire.ID   // where subscriptions were before a gap, which may lead back
	acked map[string]wire.ID   // what was taken
	begun map[string]wire.ID   // where a device's subscriptions began
	// turn is of who begins or ends cursors, one at a time: Redis might get two in another order. A connection's feeder begins them,
	// its reader ends them, and who does what functions want.
	turn chan struct{}
}

// NewClient makes the part of a connection.
func (a *Acks) NewClient(about About) *Client {
	return &Client{
		About: about, acks: a,
		left: make(map[string]*live.Sub), high: make(map[string]wire.ID), acked: make(map[string]wire.ID), begun: make(map[string]wire.ID),
		turn: make(chan struct{}, 1),
	}
}

// Ack takes a client's acknowledgement; now is its subscription to the target, nil if there is none. There is no answer but an
// error, which is for the client.
func (k *Client) Ack(f *wire.ClientFrame, now *live.Sub) error {
	id, _ := wire.ParseID(f.ID) // the frame was checked
	m := k.acks.o.Metrics
	m.Acks.Inc()
	k.mu.Lock()
	before, sent, acked := k.left[f.To], k.high[f.To], k.acked[f.To]
	k.mu.Unlock()
	if now == nil && before == nil {
		m.Refused.Inc()
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
		m.Refused.Inc()
		return &wire.FrameError{Code: wire.CodeBadRequest, Message: "nothing up to this id was sent on this connection"}
	case !acked.Less(id):
		return nil // cumulative
	}
	if !k.acks.add(k, to, id) {
		return &wire.FrameError{Code: wire.CodeUnavailable, Message: "too many acknowledgements wait; acknowledge again"}
	}
	k.mu.Lock()
	put(k.acks.o.Targets, k.acked, to, id)
	k.mu.Unlock()
	return nil
}

// put keeps a map within the bound. Which target gives way does not matter.
func put[T any](most int, m map[string]T, target string, v T) {
	if _, there := m[target]; !there && len(m) >= most {
		for other := range m {
			delete(m, other)
			break
		}
	}
	m[target] = v
}

// Left keeps subscriptions that end. Locks of package live may be held.
func (k *Client) Left(subs ...*live.Sub) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, s := range subs {
		put(k.acks.o.Targets, k.left, s.Target(), s)
	}
}

// LedBack remembers what was sent if a subscription is led back: that may still be
// acknowledged, and what follows is new. Locks of package live may be held.
func (k *Client) LedBack(target string, sent wire.ID) {
	k.mu.Lock()
	defer k.mu.Unlock()
	put(k.acks.o.Targets, k.high, target, wire.Later(k.high[target], sent))
	delete(k.acked, target)
}

// Closed makes what is held due: the connection has ended.
func (k *Client) Closed() { k.acks.flush(k) }

// Begin writes where the device begins with its targets, before it is told: what
// comes from then on it has not acknowledged. Nothing is begun for what may have lain here for long: the device may be back by
// another gateway, and have unsubscribed there. Where it begins is asked for when its turn has come: so nothing begins behind its end.
func (k *Client) Begin(ctx context.Context, asked time.Time, begins func() map[string]wire.ID) error {
	over, err := k.takeTurn(ctx)
	if err != nil {
		return err
	}
	defer over()
	if k.acks.o.StoodStill(asked) {
		return live.ErrStoodStill
	}
	at := begins()
	if len(at) == 0 {
		return nil
	}
	if err := k.write(ctx, k.acks.o.Store.BeginCursors, at); err != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	for to, id := range at {
		put(k.acks.o.Targets, k.begun, to, id)
	}
	return nil
}

// takeTurn waits until nobody begins or ends cursors; over must be called, if there is no error.
func (k *Client) takeTurn(ctx context.Context) (over func(), err error) {
	select {
	case k.turn <- struct{}{}: // who has it has a time limit
		return func() { <-k.turn }, nil
	case <-ctx.Done(): // the connection has ended
		return nil, ctx.Err()
	}
}

// cursorWriter is Store.BeginCursors or RestoreCursors.
type cursorWriter func(ctx context.Context, user, device string, at map[string]wire.ID, ttl time.Duration) (full int, err error)

func (k *Client) write(ctx context.Context, write cursorWriter, at map[string]wire.ID) error {
	ctx, cancel := context.WithTimeout(ctx, live.RedisTimeout)
	defer cancel()
	full, err := write(ctx, k.User, k.Device, at, k.acks.o.CursorTTL)
	if err == nil {
		k.acks.dropped(dropNoCursor, full)
	}
	return err
}

// End ends the device's cursor of a target. leave, which is called in any case, ends the subscription, if it has not ended earlier: the
// cursor of one that comes behind it begins behind this.
func (k *Client) End(ctx context.Context, target string, leave func()) error {
	over, err := k.takeTurn(ctx)
	leave()
	if err != nil {
		return err
	}
	defer over()
	k.mu.Lock()
	delete(k.begun, target)
	sent, left := k.high[target], k.left[target]
	k.mu.Unlock()
	if left != nil {
		sent = wire.Later(sent, left.Sent())
	}
	return k.acks.EndCursor(ctx, k.User, k.Device, target, sent)
}

// known is where the device's cursors are, as far as this connection knows.
func (k *Client) known() map[string]wire.ID {
	k.mu.Lock()
	defer k.mu.Unlock()
	at := make(map[string]wire.ID, len(k.begun))
	for to, begun := range k.begun {
		at[to] = wire.Later(begun, k.acked[to])
	}
	return at
}
