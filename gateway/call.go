package gateway

import (
	"errors"
	"slices"
	"strings"

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

// beginCalls tells functions that the connection is there, if they want to know; also again: they are to hear more of it.
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
func (g *Gateway) beginCalls() {
	for _, c := range g.all() {
		if c.isWelcomed() {
			c.beginCalls(true)
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

// Forgotten ends a connection that is not there for functions any more: this process stood still for longer than its sessions live, so
// they have heard of its end, or Redis has lost its data.
func (c *conn) Forgotten() {
	c.leave()
	c.goaway(farewell{"its session was lost", leastReturn})
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
		c.orderTarget(order{o.What, strings.Clone(o.Text)}) // it may be a part of the whole message
	}
}

// order is what a function wants of a target.
type order struct {
	what   byte
	target string
}

// orderTarget lets a goroutine do what functions want of the connection's targets, in the order in which they do.
func (c *conn) orderTarget(o order) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.orders = append(c.orders, o); len(c.orders) == 1 { // else one is at work
		c.Go(c.doOrders)
	}
}

func (c *conn) doOrders() {
	for done := 0; ; {
		orders := c.nextOrders(done)
		done = len(orders)
		switch {
		case done == 0:
			return
		case orders[0].what == wire.OrderUnsubscribe:
			c.orderedEnd(orders[0].target)
		default:
			c.orderedTargets(orders)
		}
	}
}

// nextOrders are what is to be done, when as many before are done: one, or subscriptions that can be made together.
func (c *conn) nextOrders(done int) []order {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.orders = c.orders[done:]; len(c.orders) == 0 {
		c.orders = nil
		return nil
	}
	n := slices.IndexFunc(c.orders, func(o order) bool { return o.what == wire.OrderUnsubscribe })
	if n < 0 {
		n = len(c.orders)
	}
	return slices.Clone(c.orders[:max(1, n)])
}

// orderedEnd ends the subscription to a target, and the device's cursor of it: it shall not come back with that.
func (c *conn) orderedEnd(target string) {
	if live.HasAlways(c.user(), target) {
		return
	}
	ended, err := c.endTarget(target)
	if err != nil && !c.isOver() {
		c.gw.log.Warn("cannot end a device's cursor as a function wants; the device may come back with the target", "conn", c.id, "target", target, "err", err)
	}
	if ended != nil {
		c.Tell(wire.Unsubscribed{To: target})
	}
}

// orderedTargets subscribes to targets, whatever the token says. What cannot be the client is told.
func (c *conn) orderedTargets(orders []order) {
	var wants []live.Request
	over := make(map[string]string) // why there is no subscription to a target
	for _, o := range orders {
		if wire.CheckTarget(o.target) != nil || wire.IsUser(o.target) && o.target != wire.UserTarget(c.user()) {
			continue
		}
		old, n := c.Get(o.target)
		again := old != nil || slices.ContainsFunc(wants, func(w live.Request) bool { return w.Target == o.target })
		if !again && n+len(wants) >= c.maxTargets() {
			over[o.target] = wire.CodeTooMany
			continue
		}
		if c.give(o.target); !again {
			wants = append(wants, live.Request{Target: o.target, Retained: c.retained})
		}
	}
	if len(wants) > 0 {
		c.subscribeOrdered(wants, over)
	}
	for target, code := range over {
		c.takeBack(target)
		if !c.isOver() {
			c.cannotGive(target, code)
		}
	}
}

func (c *conn) subscribeOrdered(wants []live.Request, over map[string]string) {
	ctx, done := c.Work()
	defer done()
	err := c.Subscribe(ctx, wants, func(refused []live.Refusal) {
		for _, r := range refused {
			over[r.Target] = wire.CodeUnavailable
		}
	})
	if errors.Is(err, live.ErrSubscribed) { // the client wanted one of them at this moment: the others are still to come
		wants = slices.DeleteFunc(wants, func(w live.Request) bool {
			s, _ := c.Get(w.Target)
			return s != nil
		})
		if len(wants) > 0 {
			c.subscribeOrdered(wants, over)
		}
		return
	}
	if err == nil {
		return
	}
	for _, w := range wants {
		over[w.Target] = wire.CodeUnavailable
	}
	if !c.isOver() {
		c.gw.log.Warn("cannot subscribe a connection as a function wants", "conn", c.id, "targets", len(wants), "err", err)
	}
}

// cannotGive tells the client of a target that a function wants it to have.
func (c *conn) cannotGive(target, code string) {
	why := live.TryAgain
	if code == wire.CodeTooMany {
		why = "a function wants more subscriptions than this connection may have"
	}
	c.gw.metrics.errors.WithLabelValues(code).Inc()
	c.Tell(wire.Error{To: target, Code: code, Message: target + ": " + why})
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
