package gateway

import (
	"context"
	"time"

	"sluice/gateway/acks"
	"sluice/gateway/live"
	"sluice/shared/wire"
)

// ackState is what must be known for the connection's acks; c.mu is held.
func (c *conn) ackState() *acks.Client {
	if c.acking == nil {
		c.acking = c.gw.acks.NewClient(acks.About{Conn: c.id, User: c.identity.User, Device: c.device, Over: c.isOver})
	}
	return c.acking
}

// acker is its ackState.
func (c *conn) acker() *acks.Client {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ackState()
}

// ackerIfAny is its ackState, nil if it has none.
func (c *conn) ackerIfAny() *acks.Client {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.acking
}

// ackers are those of all connections.
func (g *Gateway) ackers() (all []*acks.Client) {
	for _, c := range g.all() {
		if k := c.ackerIfAny(); k != nil {
			all = append(all, k)
		}
	}
	return all
}

// ack takes a client's acknowledgement. There is no answer but an error.
func (c *conn) ack(f *wire.ClientFrame) error {
	now, _ := c.Get(f.To)
	return c.acker().Ack(f, now)
}

// Left keeps subscriptions that end.
func (c *conn) Left(subs ...*live.Sub) {
	c.count(-len(subs))
	c.mu.Lock()
	closed := c.closed
	c.mu.Unlock()
	if !closed {
		c.acker().Left(subs...)
	}
}

// LedBack remembers what was sent if a subscription is led back.
func (c *conn) LedBack(target string, sent wire.ID) { c.acker().LedBack(target, sent) }

// BeginCursors writes where a device begins with its targets, before it is told.
func (c *conn) BeginCursors(ctx context.Context, asked time.Time, at func() map[string]wire.ID) error {
	return c.acker().Begin(ctx, asked, at)
}

// endTarget ends the subscription to a target, nil if there was none, and the device's cursor of it. An error is only of that.
func (c *conn) endTarget(target string) (ended *live.Sub, err error) {
	c.takeBack(target)
	if c.device == "" {
		return c.End(target), nil
	}
	ctx, done := c.Work()
	defer done()
	err = c.acker().End(ctx, target, func() { ended = c.End(target) })
	return ended, err
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
