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

// claim is what a client has of an entry.
type claim byte

const (
	owed    claim = iota
	excused       // it may have gone before anybody could tell
	settled       // it came, or is not owed: it was before the client came, or a gap told of it
)

// view is what the client saw of one target.
type view struct {
	to      string
	history []Stored
	got     []claim // per entry of the history
	has     bool    // a position
	pos     wire.ID
	asked   bool // and not yet answered
	now     bool // it asked for what comes from now on
	all     bool // it asked for all that is retained
	told    bool // a gap came since it asked
	ready   bool // events may come
	stand   wire.ID
	began   time.Time // a device subscribed for the first time, and has not unsubscribed since
	// endsUntil: its device's cursor may end until then, of an unsubscribe that had no answer; then it begins again with the
	// next subscription.
	endsUntil  time.Time
	unanswered bool // that was its last word

	flushed bool // when it asked, FLUSHALL may have deleted its device's cursor
	unheard bool // it may have done so, and the answer that said where did not come
	// before: what had gone before the client asked is not owed: it did not ask for it, or was told by a gap, or, at
	// position "0", cannot be told.
	before bool
	claim  time.Time // when it was told of position "0": what had gone by then is not owed either

	acked  wire.ID   // the highest
	device bool      // events up to its position may come again, from its cursor on
	cursor wire.ID   // it is at least there
	from   wire.ID   // the position that it asked from: a new cursor begins there, before a gap
	since  time.Time // it asked
	again  bool      // they do, and have come to
	back   wire.ID
	older  wire.ID // where it was before its device's cursor took it on: it may ask from there
	had    wire.ID // its position when a gap among them led it back: what comes up to there comes again, too
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
		w := v.view(to)
		v.rewritten(w, forever)
		if w.acked.Less(id) && !w.unheard {
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
	if c.log.Config.Rules.Devices && client.Device {
		v.devices()
	}
}

// devices checks that a device has a cursor of each target that it is subscribed to, and of no other.
func (v *viewer) devices() {
	for to := range v.client.At {
		if _, there := v.client.Cursors[to]; !there {
			v.violation(Wrong, to, wire.ID{}, -1, "its device is subscribed, and has no cursor")
		}
	}
	for to, id := range v.client.Cursors {
		if w := v.views[to]; !v.client.At[to] && w != nil && w.began.IsZero() && !w.unanswered {
			v.violation(Wrong, to, id, -1, "its device has unsubscribed, and still has a cursor")
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
		w = &view{to: to, history: history, got: make([]claim, len(history))}
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
			w.unheard = w.unheard || (w.asked && w.began.IsZero())
			w.ready, w.asked = false, false
		}
		return
	}
	w := v.view(f.To)
	switch f.Kind {
	case Asked:
		w.asked, w.now, w.told, w.unanswered = true, !f.After && !f.Earliest && !f.Device, false, false
		w.device, w.cursor, w.again, w.since = f.Device, f.ID, false, f.At
		if w.from = (wire.ID{}); f.After {
			w.from = f.ID
		}
		w.before, w.all, w.stand = w.now || f.Earliest, f.Earliest, wire.ID{}
		if f.Device {
			v.verdict.Resumed++
			if w.unheard {
				w.acked = wire.Later(w.acked, f.ID)
			}
			w.flushed = v.rewrote(w, f.At)
			v.rewritten(w, f.At)
		}
		switch {
		case f.After && !w.has:
			w.has, w.pos = true, f.ID
		case f.After && f.ID != w.pos && f.ID == w.older:
			w.pos = f.ID
		case f.After && f.ID != w.pos:
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
		v.rewritten(w, f.At) // the cursor may be there still, if the recorder did not hear that it has ended
		w.ready, w.began, w.unheard = false, time.Time{}, false
		if w.unanswered = f.Text == Unanswered; w.unanswered {
			w.endsUntil = f.At.Add(longestStop)
		}
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
		w.got[i] = settled
	}
	w.has, w.pos = true, id
}

// wiped reports whether the history that a position is from may have been taken away by a time.
func (v *viewer) wiped(w *view, pos wire.ID, by time.Time) bool {
	at, found := w.index(pos)
	return found && v.checker.wiped(w.to, w.history[at], by)
}

// restart gives up what may have been wiped by a time.
func (v *viewer) restart(w *view, by time.Time) {
	for i, s := range w.history {
		if v.checker.wiped(w.to, s, by) {
			w.got[i] = max(w.got[i], excused)
		}
	}
}

// drop gives up what may have gone by a time, below a place in the history.
func (w *view) drop(below int, by time.Time) {
	for i := range w.history[:below] {
		if !w.history[i].heldAt(by) {
			w.got[i] = max(w.got[i], excused)
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
	v.stands(w, f)
	if w.device && f.ID.IsZero() {
		w.drop(len(w.history), f.At) // its cursor is "0": what has come and gone cannot be told
	}
	if w.pos.IsZero() {
		w.before, w.claim = true, f.At
	}
	w.ready, w.asked = true, false
}

// stands takes where a subscription stands. What a client that asked for all that is retained has no claim to any more
// it had none to before; and a device's cursor is there from its first subscription on.
func (v *viewer) stands(w *view, f *Frame) {
	if !v.log.Config.Rules.Positions {
		return
	}
	w.stand = f.ID
	if w.all {
		below, _ := w.index(f.ID.Next())
		for i, s := range w.history[:below] {
			if w.got[i] == owed && s.heldAt(f.At) {
				v.violation(Lost, f.To, s.ID, s.N, "it asked for all that is retained, and is to begin behind it, at %v", f.ID)
			}
		}
		w.moveTo(f.ID)
		w.all = false
	}
	if !v.log.Config.Rules.Devices || !v.client.Device {
		return
	}
	if f.At.Before(w.endsUntil) || w.device && (w.flushed || v.rewrote(w, f.At)) {
		w.acked = wire.Later(w.acked, f.ID) // its cursor may stand where the subscription does
	}
	if w.began.IsZero() || (w.device && w.unheard) {
		w.began, w.acked = f.At, wire.Later(w.acked, wire.Later(f.ID, w.from))
		if w.device && w.unheard {
			w.unheard = false
			if w.pos.Less(f.ID) {
				w.older = w.pos
				w.moveTo(f.ID)
			}
		}
	}
}

// rewritten takes the cursor of a device to be as far as the client ever was: FLUSHALL has deleted it since it was
// written, and it was written again, where the subscription stood then, maybe just before a gap.
func (v *viewer) rewritten(w *view, by time.Time) {
	if v.rewrote(w, by) {
		w.began = by
		for i, s := range w.history {
			if w.got[i] == settled {
				w.acked = wire.Later(w.acked, s.ID)
			}
		}
	}
}

// rewrote reports whether the cursor of a device may have been deleted by FLUSHALL since it was written, until a time.
func (v *viewer) rewrote(w *view, by time.Time) bool {
	return !w.began.IsZero() && slices.ContainsFunc(v.log.Flushes, func(at time.Time) bool {
		return at.After(w.began.Add(-justThen)) && at.Before(by)
	})
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
	if !w.stand.Less(f.ID) {
		v.violation(Wrong, f.To, f.ID, f.N, "the subscription was said to stand at %v", w.stand)
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
	if w.pos.IsZero() {
		w.drop(at, w.claim)
		if f.Prev.IsZero() {
			v.restart(w, f.At) // it had nothing, and cannot be told that there was something
		}
	}
	if w.device && !w.pos.Less(f.ID) {
		v.replayed(w, f)
		return
	}
	switch {
	case w.pos.Less(f.ID):
		switch {
		case f.Prev == w.pos || v.follows(w, at, f):
		case w.device && !w.again && w.stand.IsZero() && f.Prev.IsZero():
			v.restart(w, f.At) // its cursor is "0": it has nothing, and cannot be told that there was something
		case v.cursorLost(w, f) || v.cursorUnknown(w, f):
			v.restart(w, f.At)
			if w.pos.Less(f.Prev) {
				w.moveTo(f.Prev)
			}
		default:
			v.violation(UnexplainedGap, f.To, f.ID, f.N, "its prev is %v, but the client is at %v", f.Prev, w.pos)
		}
		w.pos, w.device = f.ID, false
	case w.got[at] != owed:
		v.violation(Repeated, f.To, f.ID, f.N, "the client has it already, it is at %v", w.pos)
	default:
		v.violation(Reordered, f.To, f.ID, f.N, "the client is at %v already", w.pos)
	}
	w.got[at] = settled
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

// cursorLost reports whether the cursor may have gone with everything else: just when the client came, then it began
// from now; or before, then it was written again where a connection had begun, or had acknowledged something.
func (v *viewer) cursorLost(w *view, f *Frame) bool {
	return w.device && slices.ContainsFunc(v.log.Flushes, func(at time.Time) bool { return at.Before(f.At) })
}

// cursorUnknown reports whether the client cannot know where its device's cursor is: it subscribed, and never heard
// where, or Redis lost the cursor and it was written again where a connection had begun.
func (v *viewer) cursorUnknown(w *view, f *Frame) bool {
	return v.log.Config.Rules.Devices && v.client.Device &&
		(w.unheard || slices.ContainsFunc(v.log.Flushes, func(at time.Time) bool { return at.Before(f.At) }))
}

// longestStop is how long a frame may lie in a link or a process that stands still: longer than any fault.
const longestStop = 30 * time.Second

// justThen is how long it may take from a look at the cursors to the connection.
const justThen = 5 * time.Second

// follows reports whether the client misses nothing before an event though its prev is not where the client is. At
// position "0" that is so when all before it had gone when the client was told its position; elsewhere when the history
// has begun again after the client had all of it: its key had expired, or was deleted. Who loses with FLUSHALL what would
// still be there is told.
func (v *viewer) follows(w *view, at int, f *Frame) bool {
	prev, ttl := f.Prev, v.log.Config.TTL
	from, known := w.index(w.pos)
	if known {
		from++
		anew := beginsAnew(w.history, from)
		old := ttl > 0 && (w.history[at].ID.Ms-w.pos.Ms > uint64(ttl.Milliseconds()) ||
			slices.ContainsFunc(v.log.Flushes, func(flush time.Time) bool { return flush.Add(ttl).Before(f.At) && flush.Add(2*ttl).After(f.At) }))
		if !prev.IsZero() || anew == Kept || (anew == Flushed && !old) {
			return false
		}
	}
	return (known || w.pos.IsZero()) && !slices.Contains(w.got[from:at], owed)
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

// end checks that a client has everything that it had a claim to: up to its position, and up to the end if it was
// subscribed when all was quiet. Who is at "0" cannot be told of what came and went, unless nothing was in the way.
func (v *viewer) end(to string, w *view) {
	if !w.has {
		return
	}
	end, _ := w.index(w.pos.Next())
	if v.client.At[to] {
		end = len(w.history)
	}
	for i := range end {
		s := w.history[i]
		if w.pos.IsZero() && (!s.heldAt(w.claim) || v.troubled(w, s)) {
			continue
		}
		if w.got[i] == owed && !s.Lost {
			v.violation(Lost, to, s.ID, s.N, "the client never got it, it is at %v", w.pos)
		}
	}
}

// forever is later than a run.
var forever = time.Unix(1<<40, 0)

// troubled reports whether an event has gone with its history, and something may have kept it from a client before.
func (v *viewer) troubled(w *view, s Stored) bool {
	e := v.events[s.N]
	return v.checker.wiped(w.to, s, forever) && (e == nil || slices.ContainsFunc(v.log.Faults, func(f Fault) bool {
		return f.Begin.Before(s.Trimmed) && f.End.Add(aftermath).After(e.tries[0].At)
	}))
}
