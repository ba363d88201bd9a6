package gateway

import (
	"crypto/rand"
	"encoding/json"
	"time"

	"sluice/gateway/auth"
	"sluice/gateway/live"
	"sluice/shared/store"
	"sluice/shared/wire"
)

// calling is what a connection has to do with functions. conn.mu guards it.
type calling struct {
	begun bool // functions may have heard of it
	known bool // they will: Redis has it
	open  map[string]*openCall
}

// openCall is a call that is not answered.
type openCall struct {
	ref   string
	until time.Time
	late  bool // the client was told that no answer has come
}

// about is what every event of a connection says.
func (c *conn) callOf(kind, id string) wire.Call {
	return wire.Call{
		Kind: kind, ID: id, User: c.user(), Conn: c.id, Server: c.gw.id, Device: c.device, Transport: c.transport(), Trace: wire.NewTrace(),
	}
}

// beginCalls tells functions that the connection is there; also again: they are to hear of users, too.
func (c *conn) beginCalls(again bool) {
	takes := c.gw.calls.takes.Load()
	c.mu.Lock()
	state := ""
	if given := c.identity.Granted; given != nil {
		state = given.State
	}
	if !takes.tracks() && state == "" {
		c.mu.Unlock()
		return
	}
	if c.calling == nil {
		c.calling = &calling{}
	}
	done := c.calling.begun && !again || c.closed
	c.calling.begun = true
	c.mu.Unlock()
	if done {
		return
	}
	c.gw.calls.add(&callWrite{conn: c, Calling: store.Calling{
		Of: store.CallBegin, Call: c.callOf(wire.ConnectedKind, wire.ConnectedID(c.id)), Silent: !takes.connected, State: state, Presence: takes.presence,
	}})
}

func (c *conn) begunCalls() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.calling != nil && c.calling.begun
}

// endCalls tells functions that the connection has ended, if they may have heard of it.
func (c *conn) endCalls(code int) {
	c.mu.Lock()
	known := c.calling != nil
	begun := known && c.calling.begun
	c.mu.Unlock()
	if !known {
		return
	}
	x := c.gw.calls
	x.mu.Lock()
	delete(x.waiting, c)
	x.mu.Unlock()
	call := c.callOf(wire.DisconnectedKind, wire.DisconnectedID(c.id))
	call.Cause = causeOf(code)
	takes := x.takes.Load()
	x.add(&callWrite{conn: c, Calling: store.Calling{Of: store.CallEnd, Call: call, Silent: !takes.disconnected || !begun, Presence: takes.presence}})
}

// causeOf tells functions why a connection has ended.
func causeOf(code int) string {
	switch code {
	case wire.CloseExpired:
		return wire.CauseExpired
	case wire.CloseTooSlow:
		return wire.CauseSlow
	case wire.CloseForbidden:
		return wire.CauseKicked
	case wire.CloseRestart, wire.CloseOverloaded:
		return wire.CauseDrained
	case wire.CloseBadRequest, wire.CloseUnauthorized, wire.CloseRateLimited, wire.CloseProtocol, wire.CloseUnsupported,
		wire.CloseInvalidText, wire.CloseTooLarge:
		return wire.CauseRefused
	}
	return wire.CauseClosed
}

// mayCall refuses a call that the user may not make, or that nobody would take now.
func (g *Gateway) mayCall(id auth.Identity, f *wire.ClientFrame) error {
	refused, takes := g.metrics.callsRefused, g.calls.takes.Load()
	switch {
	case !id.CanCall(f.Name):
		return forbidden("this token does not allow this call")
	case takes.unknown:
		refused.WithLabelValues(callUnknown).Inc()
		return &wire.FrameError{Code: wire.CodeUnavailable, Message: live.TryAgain}
	case !takes.takesCall(f.Name):
		refused.WithLabelValues(callNoFunction).Inc()
		return &wire.FrameError{Code: wire.CodeBadRequest, Message: "there is no function for this call"}
	case len(f.Data) > g.cfg.Store.MaxData:
		return &wire.FrameError{Code: wire.CodeTooLarge, Message: "data is larger than max_data_bytes"}
	}
	if why := g.publisher.RefusesCall(g.store.Partition(wire.UserTarget(id.User))); why != "" {
		refused.WithLabelValues(callBacklog).Inc()
		return &wire.FrameError{Code: wire.CodeUnavailable, Message: why}
	}
	return nil
}

// call asks a function. Its answer comes from a worker.
func (c *conn) call(f *wire.ClientFrame) error {
	c.mu.Lock()
	id := c.identity
	c.mu.Unlock()
	x := c.gw.calls
	if err := c.gw.mayCall(id, f); err != nil {
		return err
	}
	key := f.ID
	if key == "" {
		key = rand.Text()[:20]
	}
	c.beginCalls(false) // functions may take connections since a moment ago
	until := time.Now().Add(x.timeout)
	if err := c.openCall(key, f.Ref, until); err != nil {
		x.metrics.callsRefused.WithLabelValues(callTooMany).Inc()
		return err
	}
	w := &callWrite{conn: c, until: until, Calling: store.Calling{
		Of: store.CallEvent, Call: c.callOf(wire.CallKind, wire.CallID(id.User, key)), Begun: c.begunCalls(),
	}}
	w.Call.Ref, w.Call.Name, w.Call.Data = f.Ref, f.Name, string(f.Data)
	if !x.add(w) {
		c.closeCall(key)
		x.metrics.callsRefused.WithLabelValues(callQueue).Inc()
		return &wire.FrameError{Code: wire.CodeUnavailable, Message: "too many calls wait; try again"}
	}
	x.metrics.calls.Inc()
	return nil
}

func (c *conn) openCall(id, ref string, until time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.calling == nil {
		c.calling = &calling{}
	}
	if c.calling.open == nil {
		c.calling.open = make(map[string]*openCall)
	}
	if c.calling.open[id] != nil {
		return &wire.FrameError{Code: wire.CodeBadRequest, Message: "a call with this id waits for its answer"}
	}
	if len(c.calling.open) >= mostCalls {
		return &wire.FrameError{Code: wire.CodeTooMany, Message: "too many calls of this connection wait for their answers"}
	}
	c.calling.open[id] = &openCall{ref: ref, until: until}
	return nil
}

// closeCall takes a call off those that wait; nil: it is not among them.
func (c *conn) closeCall(id string) *openCall {
	c.mu.Lock()
	if c.calling == nil {
		c.mu.Unlock()
		return nil
	}
	o := c.calling.open[id]
	delete(c.calling.open, id)
	none := len(c.calling.open) == 0
	c.mu.Unlock()
	if x := c.gw.calls; none {
		x.mu.Lock()
		delete(x.waiting, c)
		x.mu.Unlock()
	}
	return o
}

// forgotten ends a connection whose end functions have heard of: this process stood still for longer than its sessions live.
func (c *conn) forgotten() {
	c.leave()
	c.goaway(farewell{"this gateway stood still", leastReturn})
}

// ordered does what functions want.
func (g *Gateway) ordered(o *wire.Order) {
	c := g.conn(o.Conn)
	if c == nil {
		if p, ok := g.hearers.Get(o.Conn); ok {
			p.hear(o)
			return
		}
		g.metrics.dropped(live.DropNobody)
		return
	}
	switch o.What {
	case wire.OrderReply, wire.OrderFail:
		key := wire.CallKey(o.ID)
		open := c.closeCall(key)
		switch {
		case open == nil: // it was answered before
		case o.What == wire.OrderReply:
			c.Tell(wire.Replied{Ref: open.ref, ID: key, Data: json.RawMessage(o.Text)})
		default:
			c.Fail(open.ref, &wire.FrameError{Code: o.Text, Message: notAnswered})
		}
	case wire.OrderClose:
		c.leave()
		c.sock.Close(closeCode(o.Number), kickText(o.Text))
	case wire.OrderSubscribe, wire.OrderUnsubscribe:
		c.Go(func() { c.orderedTarget(o.What, o.Text) })
	}
}

// orderedTarget subscribes to a target, or ends that, whatever the token says.
func (c *conn) orderedTarget(what byte, target string) {
	if what == wire.OrderUnsubscribe {
		if target != wire.All && target != wire.UserTarget(c.user()) && c.End(target) != nil {
			c.Tell(wire.Unsubscribed{To: target})
		}
		return
	}
	if old, n := c.Get(target); old != nil || n >= c.maxTargets() || wire.CheckTarget(target) != nil {
		return
	}
	ctx, done := c.Work()
	defer done()
	err := c.Subscribe(ctx, []live.Request{{Target: target, Retained: c.retained}}, func([]live.Refusal) {})
	if err != nil && ctx.Err() == nil {
		c.gw.log.Warn("cannot subscribe a connection as a function wants", "conn", c.id, "to", target, "err", err)
	}
}

func (c *conn) lateCalls(now time.Time) (refs []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.calling == nil || c.closed {
		return nil
	}
	for _, o := range c.calling.open {
		if !o.late && now.After(o.until) {
			o.late = true
			refs = append(refs, o.ref)
		}
	}
	return refs
}
