package torture

import (
	"strings"
	"time"

	"sluice/shared/wire"
)

// Receipt is an acknowledgement of a device of what a user's target has up to an id, as Redis got it.
type Receipt struct {
	To string    `json:"to"`
	ID wire.ID   `json:"id"`
	At time.Time `json:"at"`
}

// Told is an event of a user of which functions are to hear, since nobody had acknowledged it.
type Told struct {
	To  string  `json:"to"`
	ID  wire.ID `json:"id"`
	Era int     `json:"era,omitzero"`
}

// unread checks what functions heard of events that nobody had acknowledged: of each at least once, and of no others. What
// a flush took with it they need not hear of.
func (c *checker) unread() {
	type message struct {
		n     int
		e     *event
		id    wire.ID
		done  bool
		acked time.Time // when Redis got an acknowledgement of it; zero: never
	}
	waiting := map[string]*message{} // by webhook-id
	for n, e := range c.events {
		if e.tries[0].Unread == 0 {
			continue
		}
		for _, p := range e.places {
			id := c.at(p).ID
			waiting[unreadID(e.to(), id)] = &message{n: n, e: e, id: id, acked: c.received(e, id)}
		}
	}
	for _, h := range c.log.Heard {
		m := waiting[h.ID]
		if m == nil {
			c.violation(Wrong, heardOf(h.ID), wire.ID{}, -1, "functions heard of %q, which is no event that waited", h.ID)
			continue
		}
		m.done = m.done || h.Done
		first := m.e.first()
		switch due := first.Add(m.e.tries[0].Unread); {
		case h.Begin.Before(due):
			c.violation(Wrong, m.e.to(), m.id, m.n, "functions heard that nobody has read it %v before it was due", due.Sub(h.Begin))
		case !m.acked.IsZero() && !m.acked.After(due) && !c.flushed(m.n, m.e):
			c.violation(Wrong, m.e.to(), m.id, m.n, "functions heard that nobody has read it, though Redis got its acknowledgement %v after it was added, and it was due after %v",
				m.acked.Sub(first), m.e.tries[0].Unread)
		}
	}
	type telling struct {
		id  string
		era int
	}
	told := map[telling]int{}
	for _, t := range c.log.Told {
		of := telling{unreadID(t.To, t.ID), t.Era}
		if told[of]++; told[of] == 2 {
			c.violation(Repeated, t.To, t.ID, -1, "functions are to hear twice that nobody has read it")
		}
	}
	for _, m := range waiting {
		switch {
		case m.done:
			c.verdict.Unread++
		case !m.acked.IsZero():
			c.verdict.Read++
		case c.asserted(m.e.to(), m.id) || c.flushed(m.n, m.e): // the acknowledgement may have come too late, or before a flush
		default:
			c.violation(Lost, m.e.to(), m.id, m.n, "nobody has acknowledged it, and no function was told")
		}
	}
}

// unreadID is the webhook-id for an event of a user.
func unreadID(to string, id wire.ID) string {
	return wire.UnreadID(strings.TrimPrefix(to, wire.UserTarget("")), id)
}

// heardOf is the target that a webhook-id names.
func heardOf(webhook string) (to string) {
	user, _, _ := strings.Cut(strings.TrimPrefix(webhook, "unread:"), " ")
	return wire.UserTarget(user)
}

// first is when an event was tried first: it is not appended earlier.
func (e *event) first() time.Time {
	first := e.tries[0].At
	for _, a := range e.tries {
		if a.At.Before(first) {
			first = a.At
		}
	}
	return first
}

// received is when Redis first got an acknowledgement that covers an event by its id, after it was tried; zero: never.
func (c *checker) received(e *event, id wire.ID) (at time.Time) {
	first := e.first()
	for _, r := range c.log.Receipts {
		if r.To == e.to() && !r.ID.Less(id) && r.At.After(first) && (at.IsZero() || r.At.Before(at)) {
			at = r.At
		}
	}
	return at
}

// asserted reports whether some device has sent an acknowledgement of a target up to an id, whether or not it got through.
func (c *checker) asserted(to string, id wire.ID) bool {
	for _, client := range c.log.Clients {
		for i := range client.Frames {
			if f := &client.Frames[i]; f.Kind == Ack && f.To == to && !f.ID.Less(id) {
				return true
			}
		}
	}
	return false
}
