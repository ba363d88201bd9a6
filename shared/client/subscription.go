package client

import (
	"context"
	"strconv"
	"time"

	"sluice/shared/wire"
)

// Earliest in After asks for all that is retained.
const Earliest = wire.Earliest

// Handler handles an event of a target. When it has returned the event's position is saved, and the next one comes. An error is
// told to Options.OnError, and the next one comes. With an error after ctx has ended the event counts as not handled.
type Handler func(ctx context.Context, e *Event) error

// SubscribeOption changes a subscription.
type SubscribeOption func(*Subscription)

// After is where to begin if no position is known: an id, or Earliest. Without it: from now on.
func After(id string) SubscribeOption { return func(s *Subscription) { s.after = id } }

// OnGap is called, and waited for, when events of this target are gone: the place to fetch state again.
func OnGap(f func(context.Context, *Gap) error) SubscribeOption {
	return func(s *Subscription) { s.onGap = f }
}

// Subscription is a target with its handler.
//
// Events are taken only while it flows: after the server has answered what was asked last. What comes before is of a position
// that was left, and comes again.
type Subscription struct {
	// Static.
	c       *Client
	to      string
	handler Handler
	onGap   func(context.Context, *Gap) error
	after   string
	begun   chan struct{} // closed when the server has answered, or refused
	done    chan struct{} // closed when it has ended

	// Guarded by the client's mutex.
	began   wire.ID // position of the first answer
	hasOne  bool
	ended   bool
	err     error
	flows   bool
	asked   bool     // its answer is waited for
	ref     string   // of that; "": in connect
	seen    position // up to here events are in the queue or handled
	acked   position // the last id that was acknowledged
	mended  position // where the last hole was
	full    bool     // it is to be asked for when there is room
	waiting int      // bytes in the queue
	life    int      // grows when what is in the queue does not count any more
}

// Subscribe begins to hand the events of a target, user:<id>, topic:<name> or all, to a handler. A target has one handler.
// Errors: ErrClosed, ErrSubscribed, wire.ErrTarget. What the server says to it is in Ready.
func (c *Client) Subscribe(to string, h Handler, options ...SubscribeOption) (*Subscription, error) {
	if err := wire.CheckTarget(to); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.unlock()
	switch {
	case c.ended:
		return nil, ErrClosed
	case c.targets[to] != nil:
		return nil, ErrSubscribed
	}
	return c.subscribe(to, h, options...), nil
}

func (c *Client) subscribe(to string, h Handler, options ...SubscribeOption) *Subscription {
	s := &Subscription{c: c, to: to, handler: h, begun: make(chan struct{}), done: make(chan struct{})}
	for _, o := range options {
		o(s)
	}
	s.seen = c.positions.get(to)
	if at := c.inServer[to]; at.known && (!s.seen.known || s.seen.id.Less(at.id)) { // else acks may be on their way to where the server looks
		s.seen = at
	}
	c.targets[to] = s
	if l := c.leaving[to]; l != nil && !l.kept {
		delete(c.leaving, to)
	}
	c.ask(s, time.Now())
	return s
}

// Ready waits for the server's answer, and gives the position at which the subscription began. Errors: an *Error of the
// server, ErrClosed, that of ctx.
func (s *Subscription) Ready(ctx context.Context) (wire.ID, error) {
	select {
	case <-s.begun:
	case <-ctx.Done():
		return wire.ID{}, ctx.Err()
	}
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	if !s.hasOne {
		return wire.ID{}, s.err
	}
	return s.began, nil
}

// Done is closed when the subscription has ended: by one of its methods, by the server, or with the client. Err says why.
func (s *Subscription) Done() <-chan struct{} { return s.done }

// Err is an *Error if the server refused the target, also later; ErrClosed after any other end, nil before.
func (s *Subscription) Err() error {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	return s.err
}

// Unsubscribe ends it and forgets where it stood, also in the server: a later Subscribe begins from then on.
func (s *Subscription) Unsubscribe() { s.c.locked(func() { s.c.detach(s, true) }) }

// Stop ends it. A later Subscribe goes on where it stood.
func (s *Subscription) Stop() { s.c.locked(func() { s.c.detach(s, false) }) }

// left: the connection has gone, or another position is asked for.
func (s *Subscription) left() { s.flows, s.full, s.asked, s.ref = false, false, false, "" }

// clear forgets what waits and where it stands.
func (s *Subscription) clear() {
	s.life++
	s.seen, s.acked, s.mended = position{}, position{}, position{}
}

// end: nothing of it is wanted any more, or can be had.
func (s *Subscription) end(err error) {
	if s.ended {
		return
	}
	s.ended, s.err = true, err
	s.clear()
	s.left()
	delete(s.c.asks, s)
	if !s.hasOne {
		close(s.begun)
	}
	close(s.done)
}

// ask subscribes after what was seen, now or at a later time. Without a connection it is done by the next one; where a device's
// cursor has yet to end, behind that: else it could begin there.
func (c *Client) ask(s *Subscription, at time.Time) {
	s.left()
	if !c.open || c.leaving[s.to] != nil {
		return
	}
	c.refs++
	s.asked, s.ref = true, "s"+strconv.Itoa(c.refs)
	c.asks[s] = at
	c.wakeWriter()
}

// begin: the server has answered, and the subscription stands at an id.
func (s *Subscription) begin(id wire.ID) {
	s.left()
	s.flows = true
	s.seen = position{id, true}
	if !s.hasOne {
		s.hasOne, s.began = true, id
		close(s.begun)
	}
	s.push(item{to: s.seen, size: itemOverhead})
}

func (s *Subscription) push(i item) {
	i.s, i.life = s, s.life
	s.c.queue.push(i)
	s.c.wakeHandlers()
}

// gap takes the frame `gap`, or what stands for one.
func (s *Subscription) gap(g *Gap) {
	switch {
	case s.flows && g.After.Less(s.seen.id): // of another position: a device's cursor counted, and not what was asked for
		s.c.ask(s, time.Now())
		return
	case !s.flows && !s.asked:
		return
	}
	s.seen = position{g.Position, true}
	s.acked = position{} // ids may have fallen
	s.push(item{gap: g, to: s.seen, got: true, size: itemOverhead})
}

// take takes an `event`, or the `skip` in place of one, of so many bytes.
func (s *Subscription) take(f *frame, size int) {
	c := s.c
	if !s.flows {
		if f.ID == nil {
			c.stats.Dropped++ // live only: it does not come again
		}
		return
	}
	if f.ID != nil {
		if !s.seen.id.Less(*f.ID) {
			c.stats.Repeats++
			return
		}
		if s.seen.id.Less(*f.Prev) && !s.cross(f) {
			return
		}
	}
	size += itemOverhead
	if !c.queue.hasRoom(s, size) {
		if f.ID == nil {
			c.stats.Dropped++
			return
		}
		c.stats.Overflows++
		s.flows = false
		s.full = true
		c.queue.full[s] = struct{}{}
		c.wakeHandlers() // there may be room already
		return
	}
	i := item{size: size, got: true}
	if f.ID != nil {
		s.seen = position{*f.ID, true}
		i.to = s.seen
	}
	if f.Type == "event" {
		i.event = f.event()
	}
	s.push(i)
}

// cross is for something that is missing before an event. The first time the server is asked for it; should it say once more
// that the event comes next, then what is between cannot be had, and that is told.
func (s *Subscription) cross(f *frame) bool {
	if s.mended != s.seen {
		s.c.stats.Holes++
		s.mended = s.seen
		s.c.ask(s, time.Now())
		return false
	}
	s.gap(&Gap{To: s.to, After: s.seen.id, Oldest: *f.ID, Position: *f.Prev, Reason: wire.GapUnknown})
	return true
}
