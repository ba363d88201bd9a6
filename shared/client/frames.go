package client

import (
	"encoding/json"
	"errors"
	"strconv"
	"time"

	"sluice/shared/wire"
)

const (
	ackPause    = 100 * time.Millisecond // acks of a target are gathered for so long; each says it all
	againAfter  = time.Second            // until what the server cannot do now is asked for again, if it does not say
	firstHello  = 16_000                 // bytes of the frame connect, as long as limits are not known
	maxGoaway   = time.Hour
	neverInside = 24 * time.Hour // until the writer looks again though nothing is due
)

// leave is an `unsubscribe` without an answer.
type leave struct {
	ref  string
	at   time.Time // when to send it; zero: it was sent
	kept bool      // the answer counts, also over connections: the device's cursor must end
}

// hello is the first frame: who this is, and what it has, as far as there is room in a message. The rest is asked for later.
func (c *Client) hello(token string) ([]byte, error) {
	c.mu.Lock()
	defer c.unlock()
	f := outFrame{Type: "connect", Token: token, Device: c.o.Device, Resume: map[string]wire.ID{}}
	if c.o.Retained {
		f.OnGap = wire.OnGapRetained
	}
	room := firstHello
	if c.limits.MaxMessage > 0 {
		room = c.limits.MaxMessage
	}
	room -= len(token) + 500
	for to, s := range c.targets {
		if !s.seen.known {
			continue
		}
		if room -= len(to) + len(s.seen.id.String()) + 6; room < 0 {
			break
		}
		f.Resume[to] = s.seen.id
		s.asked, s.ref = true, ""
	}
	return f.encode()
}

// welcome: the server let the client in.
func (c *Client) welcome(f *frame) error {
	other := c.user != "" && c.user != f.User
	c.limits, c.user = f.Limits, f.User
	if other {
		c.forgetUser()
		return ErrUserChanged
	}
	c.open = true
	for _, to := range []string{wire.UserTarget(f.User), wire.All} {
		if s := c.targets[to]; s != nil { // every connection has it, from now on
			if !s.asked && !s.seen.known && s.after == "" {
				s.asked, s.ref = true, ""
			}
		} else if c.o.OnEvent != nil {
			c.subscribe(to, c.o.OnEvent)
		}
	}
	clear(c.unanswered)
	c.resumed = Resumed{Recovered: true}
	now := time.Now()
	for to, s := range c.targets {
		if s.seen.known {
			c.unanswered[s] = struct{}{}
			c.resumed.Targets = append(c.resumed.Targets, to)
		}
		if !s.asked {
			c.ask(s, now)
		}
	}
	for _, l := range c.leaving {
		l.at = now
	}
	c.tell(func() { c.o.OnState(State{Phase: Connected}) })
	c.wakeWriter()
	return nil
}

// forgetUser: the token is another user's, and what the one before had and wanted to publish is nothing to this one. But the
// server was told its positions already, in place of this one's cursors: so the connection is left, and the next one knows
// nothing of it.
func (c *Client) forgetUser() {
	for _, s := range c.targets {
		s.clear()
	}
	c.positions.clear()
	clear(c.acks)
	clear(c.leaving)
	c.outbox.fail(ErrUserChanged)
	c.wakeHandlers()
}

// lost: the connection has gone.
func (c *Client) lost() {
	c.open = false
	for _, s := range c.targets {
		s.left()
	}
	clear(c.asks)
	clear(c.inServer)
	clear(c.unanswered)
	for to, l := range c.leaving {
		if !l.kept {
			delete(c.leaving, to)
		}
	}
	c.outbox.lost()
}

var errGaps = errors.New("too many gaps wait for their handlers")

// take takes a frame of so many bytes. With an error the connection is of no use any more.
func (c *Client) take(f *frame, size int) error {
	c.mu.Lock()
	defer c.unlock()
	s := c.targets[f.To]
	switch f.Type {
	case "welcome":
		return c.welcome(f)
	case "event", "skip":
		if s != nil {
			s.take(f, size)
		}
	case "gap":
		if c.queue.bytes > 2*c.queue.most {
			return errGaps
		}
		if s != nil {
			s.gap(f.gap())
		}
	case "subscribed":
		c.subscribed(s, f)
	case "unsubscribed":
		if l := c.leaving[f.To]; l != nil && l.ref == f.Ref {
			c.hasLeft(f.To)
		}
		if s != nil && f.Ref == "" {
			c.refuse(s, &Error{Code: wire.CodeForbidden, Message: "the token does not allow it any more", To: s.to})
		}
	case "published":
		if p := c.outbox.byRef[f.Ref]; p != nil {
			c.outbox.over(p, Published{To: p.to, ID: *f.ID, Duplicate: f.Duplicate}, nil)
			c.wakeWriter()
		}
	case "reply":
		if p := c.outbox.byRef[f.Ref]; p != nil {
			p.reply = f.Data
			c.outbox.over(p, Published{}, nil)
			c.wakeWriter()
		}
	case "error":
		c.refused(f)
	}
	return nil
}

// hasLeft: an `unsubscribe` was answered. Who has subscribed again meanwhile is asked for now.
func (c *Client) hasLeft(to string) {
	delete(c.leaving, to)
	if s := c.targets[to]; s != nil {
		c.ask(s, time.Now())
	}
}

func (c *Client) subscribed(s *Subscription, f *frame) {
	if f.Ref == "" && c.leaving[f.To] != nil {
		return // it is about to end
	}
	if s == nil {
		if c.o.Device != "" && f.Ref == "" {
			c.inServer[f.To] = position{*f.Position, true}
		}
		return
	}
	// A device's targets begin with the connection, where its cursors are, unless this client knows better.
	isAnswer := s.asked && s.ref == f.Ref
	if s.flows || (!isAnswer && (f.Ref != "" || c.o.Device == "" || s.seen.known)) {
		return
	}
	delete(c.asks, s)
	s.begin(*f.Position)
	if s.acked.known {
		c.ack(s.to, s.acked.id) // it may have died with the gateway that had it
	}
	c.wakeWriter() // acks may have waited for this
	c.settle(s, f.Recovered)
}

// settle notes that a target which had a position was answered.
func (c *Client) settle(s *Subscription, recovered bool) {
	if _, ok := c.unanswered[s]; !ok {
		return
	}
	delete(c.unanswered, s)
	c.resumed.Recovered = c.resumed.Recovered && recovered
	if r := c.resumed; len(c.unanswered) == 0 {
		c.tell(func() { c.o.OnResumed(r) })
	}
}

// refused takes an `error`.
func (c *Client) refused(f *frame) {
	err := &Error{Code: f.Code, Message: f.Message, To: f.To}
	var again time.Time // when it may be asked for once more; zero: it is for good
	if f.Code == wire.CodeUnavailable || f.Code == wire.CodeRateLimited {
		again = time.Now().Add(againAfter)
		if f.RetryAfterMs > 0 {
			again = time.Now().Add(time.Duration(min(f.RetryAfterMs, maxGoaway.Milliseconds())) * time.Millisecond)
		}
	}
	if f.Ref == "" {
		c.refusedUnnamed(err)
		if !again.IsZero() {
			c.ackAgain()
		}
		return
	}
	defer c.wakeWriter()
	if p := c.outbox.byRef[f.Ref]; p != nil {
		if p.isCall() && f.Code == wire.CodeUnavailable && f.RetryAfterMs <= 0 {
			again = time.Time{} // no answer came, and it may be under way
		}
		if p.again = again; again.IsZero() {
			err.To = p.to
			c.outbox.over(p, Published{}, err)
		}
		return
	}
	for to, l := range c.leaving {
		if l.ref == f.Ref && !again.IsZero() {
			l.at = again
		} else if l.ref == f.Ref {
			err.To = to
			c.failed(err)
			c.hasLeft(to)
		}
	}
	for _, s := range c.targets {
		if !s.asked || s.ref != f.Ref {
			continue
		}
		if err.To = s.to; again.IsZero() {
			c.refuse(s, err)
		} else {
			c.ask(s, again)
		}
	}
}

// refusedUnnamed: which of the targets in `connect` was refused is not said, so those without an answer are asked for one by one.
func (c *Client) refusedUnnamed(err error) {
	open := false
	for _, s := range c.targets {
		if s.asked && s.ref == "" {
			open = true
			c.ask(s, time.Now())
		}
	}
	if !open {
		c.failed(err)
	}
}

// ackAgain acknowledges once more what was: it may have been an acknowledgement that was refused, of which target is not said.
func (c *Client) ackAgain() {
	for to, s := range c.targets {
		if s.acked.known {
			c.ack(to, s.acked.id)
		}
	}
	if len(c.acks) > 0 {
		c.ackAt = time.Now().Add(againAfter)
		c.wakeWriter()
	}
}

// refuse ends a subscription that the server does not allow.
func (c *Client) refuse(s *Subscription, err *Error) {
	c.failed(err)
	delete(c.targets, s.to)
	c.settle(s, false)
	s.end(err)
	c.wakeHandlers()
}

// detach ends a subscription that is not wanted any more.
func (c *Client) detach(s *Subscription, forget bool) {
	if s.ended {
		return
	}
	c.ackAt = time.Time{} // before the server is told
	delete(c.targets, s.to)
	flowed := s.flows
	s.end(ErrClosed)
	c.settle(s, true)
	if forget {
		c.positions.forget(s.to)
	}
	c.wakeHandlers()
	switch {
	case c.o.Device != "" && !forget: // its cursor must stay
	case s.to != wire.All && s.to != wire.UserTarget(c.user) && (c.o.Device != "" || c.open):
		c.refs++
		delete(c.inServer, s.to)
		c.leaving[s.to] = &leave{ref: "u" + strconv.Itoa(c.refs), at: time.Now(), kept: c.o.Device != ""}
		c.wakeWriter()
	}
	if _, ok := c.inServer[s.to]; flowed && !ok {
		c.inServer[s.to] = position{} // acks of it may still come
	}
}

// moved: everything up to the id is handled; got: by an event. At the begin of a subscription that is nothing, and nothing is
// acknowledged.
func (c *Client) moved(s *Subscription, id wire.ID, got bool) {
	c.positions.set(s.to, id)
	if got && (c.o.Ack == AckAlways || (c.o.Ack == AckDevice && c.o.Device != "")) {
		c.ack(s.to, id)
	}
}

// Ack tells the server that this device, or without one this user, has everything of a target up to an id.
func (c *Client) Ack(to string, id wire.ID) { c.locked(func() { c.ack(to, id) }) }

func (c *Client) ack(to string, id wire.ID) {
	if at, ok := c.acks[to]; !ok || at.Less(id) {
		c.acks[to] = id
	}
	if c.ackAt.IsZero() {
		c.ackAt = time.Now().Add(ackPause)
		c.wakeWriter()
	}
}

// due gives the frames that are to be sent now, and when there may be more. asking: the server shall say that it is there.
func (c *Client) due(now time.Time, asking bool) (out [][]byte, next time.Time) {
	c.mu.Lock()
	defer c.unlock()
	next = now.Add(neverInside)
	if !c.open {
		return nil, next
	}
	if asking {
		out = append(out, mustEncode(outFrame{Type: "ping"}))
	}
	out, next = c.dueAcks(now, out, next)
	for to, l := range c.leaving {
		switch {
		case l.at.IsZero():
			continue
		case now.Before(l.at):
			next = earlier(next, l.at)
			continue
		}
		out = append(out, mustEncode(outFrame{Type: "unsubscribe", Ref: l.ref, To: to}))
		if l.at = (time.Time{}); !l.kept {
			delete(c.leaving, to)
		}
	}
	for s, at := range c.asks {
		if now.Before(at) {
			next = earlier(next, at)
			continue
		}
		delete(c.asks, s)
		f := outFrame{Type: "subscribe", Ref: s.ref, To: s.to, After: s.after}
		if s.seen.known {
			f.After = s.seen.id.String()
		}
		out = append(out, mustEncode(f))
	}
	return c.outbox.due(now, c.limits.MaxMessage, out, next)
}

func (c *Client) dueAcks(now time.Time, out [][]byte, next time.Time) ([][]byte, time.Time) {
	if now.Before(c.ackAt) {
		return out, earlier(next, c.ackAt)
	}
	c.ackAt = time.Time{}
	for to, id := range c.acks {
		s := c.targets[to]
		_, knows := c.inServer[to]
		if s != nil {
			knows = s.flows
		}
		if !knows {
			continue // the server would not know that it was sent
		}
		delete(c.acks, to)
		if s != nil && (!s.acked.known || s.acked.id.Less(id)) {
			s.acked = position{id, true}
		}
		out = append(out, mustEncode(outFrame{Type: "ack", To: to, ID: id.String()}))
	}
	return out, next
}

// mustEncode is for frames without data of others.
func mustEncode(f outFrame) []byte {
	text, err := json.Marshal(f)
	if err != nil {
		panic("client: a frame of plain fields cannot fail to marshal: " + err.Error())
	}
	return text
}
