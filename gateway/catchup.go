package gateway

import (
	"context"
	"time"

	"sluice/shared/store"
	"sluice/shared/wire"
)

// pageEvents is how many events of a history are read at once.
const pageEvents = 100

// catchUp lets the connection read the history for a subscription until it meets the
// live flow. One goroutine does this for all subscriptions of a connection; it is
// there only while there is something to do. May be called with a shard's lock held.
func (c *conn) catchUp(s *sub) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.behind = append(c.behind, s)
	if c.catching || c.closed {
		return
	}
	c.catching = true
	c.gw.wg.Add(1)
	go func() {
		defer c.gw.wg.Done()
		c.catchAllUp()
	}()
}

func (c *conn) catchAllUp() {
	ctx, done := c.work()
	defer done()
	for {
		c.mu.Lock()
		if len(c.behind) == 0 || c.closed {
			c.catching, c.behind = false, nil
			c.mu.Unlock()
			return
		}
		s := c.behind[0]
		c.behind = c.behind[1:]
		c.mu.Unlock()
		if !c.follow(ctx, s) {
			c.mu.Lock()
			c.behind = append(c.behind, s)
			c.mu.Unlock()
		}
	}
}

// follow queues what comes next for a subscription, as far as there is room, and lets
// it join the live flow if that was all. false: it wants another turn. Others come
// first, so that a target for which the link is too slow does not starve them.
func (c *conn) follow(ctx context.Context, s *sub) (done bool) {
	for wait := 10 * time.Millisecond; !s.left(); wait = min(2*wait, time.Second) {
		room := c.hasRoom()
		if c.sock.Room() {
			q := &reading{Query: store.Query{Target: s.target.name, After: s.pos, Limit: pageEvents}, goesOn: true}
			if err := c.gw.read(ctx, q); err != nil {
				if ctx.Err() != nil {
					return true
				}
				c.gw.log.Debug("cannot read a history; trying on", "target", s.target.name, "err", err)
				sleep(ctx, wait)
				continue
			}
			if c.replay(s, q, store.Position{After: s.pos, Own: true, Since: int64(s.pos.Ms)}) {
				return !q.cached && !q.Page.More && c.gw.hub.join(s)
			}
		}
		// What is left of the page is read again, or found in the cache: memory stays bounded.
		s.unlessLeft(func() bool { c.gw.lags.add(s); return true })
		select {
		case <-room:
			return false
		case <-ctx.Done():
			return true
		}
	}
	return true
}

// left reports whether the subscription has ended.
func (s *sub) left() bool {
	return s.unlessLeft(func() bool { return false })
}

// unlessLeft queues something for the subscription, and is true if it has ended:
// nothing of it may come behind `unsubscribed`.
func (s *sub) unlessLeft(queue func() bool) bool {
	s.target.shard.mu.Lock()
	defer s.target.shard.mu.Unlock()
	return s.gone || queue()
}

// replay queues what was read for a subscription: the events, or the gap if there is
// one. false: the connection's queue is full; s.pos says how far it got.
func (c *conn) replay(s *sub, q *reading, p store.Position) bool {
	if ok, reason := c.gw.complete(&q.Query, p, s.before); !ok && !q.cached {
		if !s.unlessLeft(func() bool {
			if !c.sock.Send(wire.Frame(gap(&q.Query, p.After, reason))) {
				return false
			}
			s.skipTo(q.Got.Newest)
			return true
		}) {
			return false
		}
		c.gw.metrics.gaps.WithLabelValues(reason).Inc()
		q.Page.More = false
		return true
	}
	for i := range q.records {
		if !s.unlessLeft(func() bool { return s.push(&q.records[i]) }) {
			return false
		}
	}
	return true
}

// complete judges a query by its edges and by its page: that was read later, and
// more may have been trimmed in between. Who is at zero since a gap into an empty history
// has everything, too, if that goes on where it was before.
func (g *Gateway) complete(q *store.Query, p store.Position, before wire.ID) (ok bool, reason string) {
	if ok, reason = g.completeAfter(q, p); !ok && p.After.IsZero() && !before.IsZero() {
		p.After = before
		if ok, _ := g.completeAfter(q, p); ok {
			return true, ""
		}
	}
	return ok, reason
}

func (g *Gateway) completeAfter(q *store.Query, p store.Position) (ok bool, reason string) {
	ok, reason = store.Complete(p, q.Got, g.store.NowMs(), g.store.HistoryTTLMs())
	if ok && len(q.Page.Events) > 0 && p.After.Less(q.Page.Events[0].Prev) {
		return false, wire.GapTrimmed
	}
	return ok, reason
}

func gap(q *store.Query, after wire.ID, reason string) wire.Gap {
	return wire.Gap{To: q.Target, After: after, Oldest: q.Got.Oldest, Position: q.Got.Newest, Reason: reason}
}

// record is an event of a history as it would have come on the channel.
func record(e *wire.Event) *wire.Record {
	return &wire.Record{
		Kind: wire.RecEvent, To: e.To, ID: e.ID, Prev: e.Prev, Except: e.Except,
		Frame: wire.EventFrame(e),
	}
}

func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
