package torture

import (
	"fmt"
	"slices"
	"time"

	"sluice/shared/wire"
)

// viewer follows what one client saw.
type viewer struct {
	*checker
	client *Client
	conn   string // id of the present connection
	views  map[string]*view
	live   map[int]time.Time // live-only events that came
}

// view is what the client saw of one target.
type view struct {
	to      string
	history []Stored
	got     []bool // per entry of the history; also what it has no claim to: before it came, told by a gap
	has     bool   // a position
	pos     wire.ID
	asked   bool // and not yet answered
	now     bool // it asked for what comes from now on
	told    bool // a gap came since it asked
	empty   bool // and it told of an empty history, and no event came since
	ready   bool // events may come

	acked  wire.ID   // the highest
	device bool      // events up to its position may come again, from its cursor on
	cursor wire.ID   // it is at least there
	since  time.Time // it was asked for
	again  bool      // they do, and have come to
	back   wire.ID
}

func (c *checker) client(client *Client) {
	v := &viewer{checker: c, client: client, views: map[string]*view{}, live: map[int]time.Time{}}
	for i := range client.Frames {
		v.frame(&client.Frames[i])
	}
	for to, w := range v.views {
		v.end(to, w)
	}
	for to, id := range client.Cursors {
		if w := v.view(to); w.acked.Less(id) {
			v.violation(Lost, to, id, -1, "its device's cursor is above %v, the highest that it has acknowledged", w.acked)
		}
	}
	for to, id := range client.Acked {
		if client.Cursors[to] != id {
			v.violation(Wrong, to, id, -1, "it has acknowledged this, but its device's cursor is %v", client.Cursors[to])
		}
	}
	for to := range client.At {
		if w := v.views[to]; w == nil || !w.has {
			v.violation(Wrong, to, wire.ID{}, -1, "it never got an answer to its subscription")
		}
	}
}

func (v *viewer) violation(class Class, to string, id wire.ID, n int, format string, args ...any) {
	v.verdict.add(Violation{Class: class, To: to, Client: v.client.Name, ID: id, N: n, Text: fmt.Sprintf(format, args...)})
}

func (v *viewer) view(to string) *view {
	w := v.views[to]
	if w == nil {
		history := v.log.Histories[to]
		w = &view{to: to, history: history, got: make([]bool, len(history))}
		v.views[to] = w
	}
	return w
}

func (v *viewer) frame(f *Frame) {
	switch f.Kind {
	case Connected:
		v.conn = f.Text
		return
	case Closed:
		for _, w := range v.views {
			w.ready, w.asked = false, false
		}
		return
	}
	w := v.view(f.To)
	switch f.Kind {
	case Asked:
		w.asked, w.now, w.told = true, !f.After && !f.Earliest && !f.Device, false
		w.device, w.cursor, w.again, w.since = f.Device, f.ID, false, f.At
		if f.Device {
			v.verdict.Resumed++
		}
		if f.After && w.has && f.ID != w.pos {
			v.violation(Wrong, f.To, f.ID, -1, "the recorder asked for what follows it, but its position is %v", w.pos)
		}
		if f.Earliest {
			w.has, w.pos = true, wire.ID{}
		}
	case Ack:
		v.verdict.Acks++
		if w.acked.Less(f.ID) {
			w.acked = f.ID
		}
	case Subscribed:
		v.subscribed(w, f)
	case Unsubscribed:
		w.ready = false
	case Event, Skip:
		v.event(w, f)
	case LiveOnly:
		v.liveOnly(w, f)
	case Gap:
		v.gap(w, f)
	}
}

// index is the place of an id in the history, or where it would be.
func (w *view) index(id wire.ID) (at int, found bool) {
	return slices.BinarySearchFunc(w.history, id, func(s Stored, id wire.ID) int { return compare(s.ID, id) })
}

// moveTo gives the client a position; what it passes over it need not have.
func (w *view) moveTo(id wire.ID) {
	from := 0
	if w.has {
		from, _ = w.index(w.pos.Next())
	}
	to, _ := w.index(id.Next())
	for i := from; i < to; i++ {
		w.got[i] = true
	}
	w.has, w.pos = true, id
}

// wiped reports whether the history that a position is from had been taken away by a time.
func (v *viewer) wiped(w *view, pos wire.ID, by time.Time) bool {
	at, found := w.index(pos)
	return found && v.log.wiped(w.history[at], by)
}

// restart gives up what was wiped by a time.
func (v *viewer) restart(w *view, by time.Time) {
	for i, s := range w.history {
		if v.log.wiped(s, by) {
			w.got[i] = true
		}
	}
}

func (v *viewer) subscribed(w *view, f *Frame) {
	if _, found := w.index(f.ID); !found && !f.ID.IsZero() {
		v.violation(Wrong, f.To, f.ID, -1, "subscribed at a position that the history does not know")
	}
	if !f.OK && !w.told {
		v.violation(UnexplainedGap, f.To, f.ID, -1, "subscribed with recovered false, and no gap before it")
	}
	// Who has no position gets one, and who asks for what comes from now on a new one.
	if !w.has || (w.now && w.asked) {
		switch {
		case !f.ID.Less(w.pos):
			w.moveTo(f.ID)
		case v.wiped(w, w.pos, f.At):
			v.restart(w, f.At)
			w.pos = f.ID
		default:
			v.violation(Wrong, f.To, f.ID, -1, "subscribed at a position below %v, which it has already", w.pos)
		}
	}
	w.ready, w.asked = true, false
}

func (v *viewer) event(w *view, f *Frame) {
	v.verdict.Deliveries++
	if !w.ready {
		v.violation(Wrong, f.To, f.ID, f.N, "it came without a subscription")
		return
	}
	at, found := w.index(f.ID)
	if !found {
		v.violation(Wrong, f.To, f.ID, f.N, "the history does not have it")
		return
	}
	stored := w.history[at]
	if f.Kind == Event && f.N != stored.N {
		v.violation(Wrong, f.To, f.ID, f.N, "the history has event %d under this id", stored.N)
	}
	if e := v.events[stored.N]; e != nil {
		if except := e.tries[0].Except; (except == v.conn) != (f.Kind == Skip) {
			v.violation(Wrong, f.To, f.ID, stored.N, "connection %s got it (skip: %v), it is for all but %q", v.conn, f.Kind == Skip, except)
		}
	}
	if w.pos.IsZero() && f.Prev.IsZero() {
		v.restart(w, f.At) // it had nothing, and cannot be told that there was something
	}
	if w.device && !w.pos.Less(f.ID) {
		v.replayed(w, f)
		return
	}
	switch {
	case w.pos.Less(f.ID):
		switch {
		case f.Prev == w.pos || v.explained(w, f):
		case v.cursorLost(w, f):
			v.restart(w, f.At)
			if w.pos.Less(f.Prev) {
				w.moveTo(f.Prev)
			}
		default:
			v.violation(UnexplainedGap, f.To, f.ID, f.N, "its prev is %v, but the client is at %v", f.Prev, w.pos)
		}
		w.pos, w.device = f.ID, false
	case w.got[at]:
		v.violation(Repeated, f.To, f.ID, f.N, "the client has it already, it is at %v", w.pos)
	default:
		v.violation(Reordered, f.To, f.ID, f.N, "the client is at %v already", w.pos)
	}
	w.got[at] = true
	w.empty = false
}

// replayed takes an event that the client had before it resumed from its cursor: they begin right behind the cursor,
// which is not above what the client has acknowledged nor below where it was, and none is left out.
func (v *viewer) replayed(w *view, f *Frame) {
	switch {
	case w.again && f.Prev != w.back:
		v.violation(UnexplainedGap, f.To, f.ID, f.N, "resumed from a cursor, its prev is %v, but the event before was %v", f.Prev, w.back)
	case !w.again && w.acked.Less(f.Prev):
		v.violation(Lost, f.To, f.ID, f.N, "the cursor was %v, but the client had acknowledged only %v", f.Prev, w.acked)
	case !w.again && f.Prev.Less(w.cursor):
		v.violation(Wrong, f.To, f.ID, f.N, "the cursor went back from %v to %v", w.cursor, f.Prev)
	}
	w.again, w.back = true, f.ID
}

// cursorLost reports whether the cursor went with everything else just when the client came: then it began from now.
func (v *viewer) cursorLost(w *view, f *Frame) bool {
	return w.device && slices.ContainsFunc(v.log.Flushes, func(at time.Time) bool {
		return at.After(w.since.Add(-justThen)) && at.Before(f.At)
	})
}

// justThen is how long it may take from a look at the cursors to the connection.
const justThen = 5 * time.Second

// explained reports whether a gap has told that what stood before an event is lost. Where the history is empty, the
// gap cannot say up to where: the prev of the next event does, if its owner still knows.
func (v *viewer) explained(w *view, f *Frame) bool {
	return w.empty && v.wiped(w, f.Prev, f.At)
}

func (v *viewer) liveOnly(w *view, f *Frame) {
	v.verdict.Deliveries++
	e := v.events[f.N]
	switch {
	case e == nil || !e.live() || e.to() != f.To || e.poison() != "":
		v.violation(Wrong, f.To, wire.ID{}, f.N, "nobody has appended this live-only event")
		return
	case !w.ready:
		v.violation(Wrong, f.To, wire.ID{}, f.N, "live only, it came without a subscription")
	case e.tries[0].Except == v.conn:
		v.violation(Wrong, f.To, wire.ID{}, f.N, "live only, it is for all but this connection")
	}
	first, again := v.live[f.N]
	if again && !v.mayRepeat(first, f.At) {
		v.violation(Repeated, f.To, wire.ID{}, f.N, "live only, it came at %s already, and nothing had died", first.Format("15:04:05.000"))
	}
	v.live[f.N] = f.At
}

// gap checks that the first event that the client cannot have was trimmed away before it was told so, or that the history
// was wiped, so that nobody knows.
func (v *viewer) gap(w *view, f *Frame) {
	v.verdict.Gaps++
	w.told, w.empty = true, f.ID.IsZero()
	if inReplay := w.device && !f.Prev.Less(w.cursor) && !w.acked.Less(f.Prev); w.has && f.Prev != w.pos && !inReplay {
		v.violation(Wrong, f.To, f.Prev, -1, "a gap after %v, but the client is at %v", f.Prev, w.pos)
	}
	next, _ := w.index(f.Prev.Next())
	trimmed := next < len(w.history) && !w.history[next].Trimmed.IsZero() && !w.history[next].Trimmed.After(f.At)
	if !trimmed && !v.wiped(w, f.Prev, f.At) {
		v.violation(UnexplainedGap, f.To, f.ID, -1, "a gap (%s) after %v, but what follows was retained", f.Text, f.Prev)
	}
	switch {
	case !f.ID.Less(w.pos):
		w.moveTo(f.ID)
	case v.wiped(w, w.pos, f.At):
		v.restart(w, f.At)
		w.pos = f.ID
	default:
		v.violation(Wrong, f.To, f.ID, -1, "a gap back from %v", w.pos)
	}
}

// forever is later than a run.
var forever = time.Unix(1<<40, 0)

// end checks that a client has everything that it had a claim to: up to its position, and up to the end if it was
// subscribed when all was quiet.
func (v *viewer) end(to string, w *view) {
	if !w.has {
		return
	}
	end, _ := w.index(w.pos.Next())
	if v.client.At[to] {
		end = len(w.history)
	}
	for i := range end {
		if w.pos.IsZero() && v.log.wiped(w.history[i], forever) {
			continue // it had nothing, and cannot be told that there was something
		}
		if !w.got[i] {
			v.violation(Lost, to, w.history[i].ID, w.history[i].N, "the client never got it, it is at %v", w.pos)
		}
	}
}
