package gateway

import (
	"sluice/gateway/admit"
	"sluice/gateway/calls"
	"sluice/gateway/live"
	"sluice/shared/wire"
)

// caller is what the connection has to do with functions; nil: it has ended, and had nothing.
func (c *conn) caller() *calls.Client {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.calling == nil && !c.closed {
		c.calling = c.gw.calls.NewClient(c)
	}
	return c.calling
}

// callerIfAny is the caller, if there is one.
func (c *conn) callerIfAny() *calls.Client {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.calling
}

// About is what every event of the connection says.
func (c *conn) About() wire.Call {
	return wire.Call{User: c.user(), Conn: c.id, Device: c.device, Transport: c.transport()}
}

// beginCalls tells functions that the connection is there, if they want to know; also again: they are to hear of users, too.
func (c *conn) beginCalls(again bool) {
	state := ""
	c.mu.Lock()
	if given := c.identity.Granted; given != nil {
		state = given.State
	}
	c.mu.Unlock()
	if !c.gw.calls.Tracks() && state == "" {
		return
	}
	if k := c.caller(); k != nil {
		k.Begin(again, state)
	}
}

// beginCalls tells functions of all connections that were there before.
func (g *Gateway) beginCalls(again bool) {
	for _, c := range g.all() {
		if c.isWelcomed() {
			c.beginCalls(again)
		}
	}
}

// callers are those of all connections.
func (g *Gateway) callers() (all []*calls.Client) {
	for _, c := range g.all() {
		if k := c.callerIfAny(); k != nil {
			all = append(all, k)
		}
	}
	return all
}

// call asks a function. Its answer comes from a worker.
func (c *conn) call(f *wire.ClientFrame) error {
	c.mu.Lock()
	id := c.identity
	c.mu.Unlock()
	if err := c.gw.calls.May(id, f); err != nil {
		return err
	}
	c.beginCalls(false) // functions may take connections since a moment ago
	if k := c.caller(); k != nil {
		return k.Call(id, f)
	}
	return nil // it has ended
}

// Forgotten ends a connection whose end functions have heard of: this process stood still for longer than its sessions live.
func (c *conn) Forgotten() {
	c.leave()
	c.goaway(farewell{"this gateway stood still", leastReturn})
}

// ordered does what functions want.
func (g *Gateway) ordered(o *wire.Order) {
	c := g.conn(o.Conn)
	if c == nil {
		if !g.calls.Heard(o) {
			g.metrics.dropped(live.DropNobody)
		}
		return
	}
	switch o.What {
	case wire.OrderReply, wire.OrderFail:
		if k := c.callerIfAny(); k != nil {
			k.Answered(o)
		}
	case wire.OrderClose:
		c.leave()
		c.sock.Close(admit.CloseCode(o.Number), admit.KickText(o.Text))
	case wire.OrderSubscribe, wire.OrderUnsubscribe:
		c.Go(func() { c.orderedTarget(o.What, o.Text) })
	}
}

// orderedTarget subscribes to a target, or ends that, whatever the token says.
func (c *conn) orderedTarget(what byte, target string) {
	if what == wire.OrderUnsubscribe {
		c.takeBack(target)
		if !live.HasAlways(c.user(), target) && c.End(target) != nil {
			c.Tell(wire.Unsubscribed{To: target})
		}
		return
	}
	if wire.CheckTarget(target) != nil || wire.IsUser(target) && target != wire.UserTarget(c.user()) {
		return
	}
	old, n := c.Get(target)
	if old == nil && n >= c.maxTargets() {
		return
	}
	c.give(target)
	if old != nil {
		return
	}
	ctx, done := c.Work()
	defer done()
	err := c.Subscribe(ctx, []live.Request{{Target: target, Retained: c.retained}}, func(refused []live.Refusal) {
		for _, r := range refused {
			c.takeBack(r.Target)
		}
	})
	if err != nil {
		c.takeBack(target)
	}
	if err != nil && ctx.Err() == nil {
		c.gw.log.Warn("cannot subscribe a connection as a function wants", "conn", c.id, "to", target, "err", err)
	}
}

// give lets a connection have a target as long as it is subscribed to it, whatever its token says.
func (c *conn) give(target string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.given == nil {
		c.given = make(map[string]struct{})
	}
	c.given[target] = struct{}{}
}

func (c *conn) takeBack(target string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.given, target)
}
