package torture

import (
	"fmt"
	"slices"
	"time"

	"sluice/shared/wire"
)

const (
	room = "topic:room"
	hall = "topic:hall"
)

// start is when the logs of these tests begin; at(n) is n ms later, which is also the time in id(n).
var start = time.UnixMilli(1_000_000)

func at(n int) time.Time { return start.Add(time.Duration(n) * time.Millisecond) }

func id(n int) wire.ID {
	if n == 0 {
		return wire.ID{}
	}
	return wire.ID{Ms: uint64(at(n).UnixMilli())}
}

// goodLog is one in which every promise is kept: in room the events 1 to 5, each under its own number as id, in hall
// event 11. alice has all of room, with a reconnection after 2; bob came after 3.
func goodLog() *Log {
	log := &Log{Histories: map[string][]Stored{hall: {{ID: id(11), N: 11}}}}
	for n := 1; n <= 5; n++ {
		log.Appends = append(log.Appends, Append{N: n, To: room, Way: Direct, Lane: "direct-1", At: at(n), Outcome: Acked, ID: id(n)})
		log.Histories[room] = append(log.Histories[room], Stored{ID: id(n), Prev: id(n - 1), N: n})
	}
	log.Appends = append(log.Appends, Append{N: 11, To: hall, Way: Intake, Lane: "intake-1", At: at(11), Outcome: Acked, ID: id(10)})
	alice := &Client{Name: "alice", At: map[string]bool{room: true}, Frames: []Frame{
		connected("a1"), asked(room), subscribed(room, 0), got(1), got(2), {Kind: Closed},
		connected("a2"), askedAfter(room, 2), subscribed(room, 4), got(3), got(4), got(5),
	}}
	bob := &Client{Name: "bob", At: map[string]bool{room: true, hall: true}, Frames: []Frame{
		connected("b1"), asked(room), asked(hall), subscribed(room, 3), subscribed(hall, 11), got(4), got(5),
	}}
	log.Clients = []*Client{alice, bob}
	return log
}

func connected(conn string) Frame { return Frame{Kind: Connected, Text: conn} }
func asked(to string) Frame       { return Frame{Kind: Asked, To: to} }
func askedAfter(to string, n int) Frame {
	return Frame{Kind: Asked, To: to, After: true, ID: id(n)}
}
func subscribed(to string, n int) Frame {
	return Frame{Kind: Subscribed, To: to, ID: id(n), OK: true}
}
func got(n int) Frame {
	return Frame{Kind: Event, To: room, ID: id(n), Prev: id(n - 1), N: n, At: at(n)}
}

// gap is told after event n, and goes on at position m.
func gap(n, m int) []Frame {
	reason := wire.GapTrimmed
	if m == 0 {
		reason = wire.GapUnknown
	}
	return []Frame{
		{Kind: Gap, To: room, Prev: id(n), ID: id(m), Text: reason, At: at(50)},
		{Kind: Subscribed, To: room, ID: id(m)},
	}
}

func (l *Log) alice() *Client { return l.Clients[0] }
func (l *Log) bob() *Client   { return l.Clients[1] }

// drop takes frames out of what a client saw.
func (c *Client) drop(from, to int) { c.Frames = slices.Delete(c.Frames, from, to) }

func (c *Client) insert(at int, f ...Frame) { c.Frames = slices.Insert(c.Frames, at, f...) }

// inbox is a user's target.
const inbox = "user:u"

// waits adds event 31, of which functions are to hear if no device acknowledges it in 10 ms.
func (l *Log) waits() {
	l.Appends = append(l.Appends, Append{N: 31, To: inbox, Way: Direct, Lane: "direct-1", At: at(20), Outcome: Acked, ID: id(21), Unread: 10 * time.Millisecond})
	l.Histories[inbox] = []Stored{{ID: id(21), N: 31}}
}

func (l *Log) last() *Append { return &l.Appends[len(l.Appends)-1] }

// heard has functions hear of it.
func (l *Log) heard(ms int, done bool) {
	l.Told = []Told{{To: inbox, ID: id(21)}}
	l.Heard = append(l.Heard, Heard{ID: "unread:u " + id(21).String(), Kind: "sluice.unread", Seq: 1, Begin: at(ms), End: at(ms + 1), Done: done})
}

// reads has a device acknowledge what there is up to an id.
func (l *Log) reads(ms, n int) {
	l.Receipts = append(l.Receipts, Receipt{To: inbox, ID: id(n), At: at(ms)})
	l.Clients = append(l.Clients, &Client{Name: "phone", Device: true, Frames: []Frame{
		connected("p1"), asked(inbox), subscribed(inbox, 0), {Kind: Event, To: inbox, ID: id(21), N: 31, At: at(21)}, {Kind: Ack, To: inbox, ID: id(n), At: at(21)},
	}})
}

// trim takes the first n events of room away at a time.
func (l *Log) trim(n int, when time.Time) {
	for i := range n {
		l.Histories[room][i].Trimmed, l.Histories[room][i].Gone = when, when
	}
}

// wipe takes the first four events of room away with their history; the fifth begins another one.
func (l *Log) wipe(how Wipe, when time.Time) {
	l.trim(4, when)
	for i := range 4 {
		l.Histories[room][i].Wiped = how
	}
	l.Histories[room][4].Prev, l.Histories[room][4].Life = wire.ID{}, 1
	if how == Flushed {
		l.Histories[room][4].Era = 1
		l.Flushes = append(l.Flushes, when)
	}
}

// failed has the master lost that had events 3 and 4, and both clients told of it before the fifth event comes.
func (l *Log) failed(when time.Time) {
	for i := 2; i < 4; i++ {
		s := &l.Histories[room][i]
		s.Lost, s.Wiped, s.Trimmed, s.Gone = true, Failed, when, when
		l.Flushed = map[int]bool{3: true, 4: true}
	}
	l.Histories[room][4].Prev = id(2)
	for _, c := range l.Clients {
		c.Frames = append(c.Frames[:len(c.Frames)-1],
			Frame{Kind: Gap, To: room, Prev: id(4), ID: id(2), Oldest: id(1), Text: wire.GapUnknown, At: at(50)},
			Frame{Kind: Event, To: room, ID: id(5), Prev: id(2), N: 5, At: at(61)})
	}
}

// asksRetained has alice, who asks for what is retained, come back after event 1, when 1 and 2 are trimmed: she is told of
// a gap with a position, and gets what follows it.
func (l *Log) asksRetained(position wire.ID) {
	l.trim(2, at(3))
	frames := []Frame{
		connected("a1"), asked(room), subscribed(room, 0), got(1), {Kind: Closed}, connected("a2"), askedAfter(room, 1),
		{Kind: Gap, To: room, Prev: id(1), ID: position, Oldest: id(3), Text: wire.GapTrimmed, At: at(50)},
		{Kind: Subscribed, To: room, ID: position},
	}
	for n := 3; n <= 5; n++ {
		if position.Less(id(n)) {
			frames = append(frames, got(n))
		}
	}
	l.alice().Retained, l.alice().Frames = true, frames
}

// device has alice acknowledge an event on a third connection, and come back by her device, whose cursor was seen at
// another: she gets 2 to 5 once more.
func (l *Log) device(acked, seen int) {
	l.alice().insert(12, Frame{Kind: Ack, To: room, ID: id(acked)}, Frame{Kind: Closed}, connected("a3"),
		Frame{Kind: Asked, To: room, Device: true, ID: id(seen)}, subscribed(room, 5), got(2), got(3), got(4), got(5))
}

// deviceTwice has carol, a device, acknowledge the first event, and resume twice, first after a time, from a cursor beyond what
// she has. Before an event has come she subscribes from now on, and then resumes from that cursor again.
func (l *Log) deviceTwice(after int) {
	l.Config.Rules = Rules{Positions: true, Devices: true}
	l.alice().Frames[8] = subscribed(room, 2)
	came := func(n int, byDevice bool, position int) []Frame {
		return []Frame{
			{Kind: Closed}, connected(fmt.Sprint("c", n)), {Kind: Asked, To: room, Device: byDevice, ID: id(1), At: at(n)},
			{Kind: Subscribed, To: room, ID: id(position), OK: true, At: at(n + 1)},
		}
	}
	l.Clients = append(l.Clients, &Client{
		Name: "carol", Device: true, At: map[string]bool{room: true}, Cursors: map[string]wire.ID{room: id(3)},
		Frames: slices.Concat(came(0, false, 0), []Frame{got(1), got(2), {Kind: Ack, To: room, ID: id(1)}},
			came(after, true, 3), came(6000, true, 3), came(6100, false, 5), came(6200, true, 3), []Frame{got(4), got(5)}),
	})
}

// unanswered has carol, a device, subscribe again from now on without an answer, resume from its cursor, and then ask for
// what follows event n.
func (l *Log) unanswered(n int) {
	l.Config.Rules = Rules{Positions: true, Devices: true}
	l.alice().Frames[8] = subscribed(room, 2)
	l.Clients = append(l.Clients, &Client{
		Name: "carol", Device: true, At: map[string]bool{room: true}, Cursors: map[string]wire.ID{room: id(3)}, Frames: []Frame{
			connected("c1"), {Kind: Asked, To: room, At: at(0)}, {Kind: Subscribed, To: room, OK: true, At: at(1)}, got(1), got(2),
			{Kind: Unsubscribed, To: room, At: at(3)}, {Kind: Asked, To: room, At: at(4)}, {Kind: Closed},
			connected("c2"), {Kind: Asked, To: room, Device: true, At: at(5)}, {Kind: Subscribed, To: room, ID: id(3), OK: true, At: at(6)}, {Kind: Closed},
			connected("c3"), {Kind: Asked, To: room, After: true, ID: id(n), At: at(7)}, {Kind: Subscribed, To: room, ID: id(n), OK: true, At: at(8)}, got(3), got(4), got(5),
		},
	})
}

// endsLate has carol, a device, acknowledge the first event and unsubscribe, and resume from her cursor. Then it ends, and
// begins again at the second event, from which she resumes.
func (l *Log) endsLate(answer string) {
	l.Config.Rules = Rules{Positions: true, Devices: true}
	l.alice().Frames[8] = subscribed(room, 2)
	came := func(asked Frame, position int, events ...Frame) []Frame {
		asked.Kind, asked.To, asked.At = Asked, room, at(10)
		return append([]Frame{{Kind: Closed}, connected("c"), asked, {Kind: Subscribed, To: room, ID: id(position), OK: true, At: at(11)}}, events...)
	}
	l.Clients = append(l.Clients, &Client{
		Name: "carol", Device: true, At: map[string]bool{room: true}, Cursors: map[string]wire.ID{room: id(2)},
		Frames: slices.Concat(came(Frame{}, 0, got(1), got(2), Frame{Kind: Ack, To: room, ID: id(1)}, Frame{Kind: Unsubscribed, To: room, At: at(9), Text: answer}),
			came(Frame{Device: true, ID: id(1)}, 1, got(2)), came(Frame{After: true, ID: id(2)}, 2, got(3)), came(Frame{Device: true, ID: id(2)}, 2, got(3), got(4), got(5))),
	})
}

// again has the room's history begin again with an entry.
func (l *Log) again(at int) {
	l.Histories[room][at].Prev = wire.ID{}
	for i := range l.Histories[room][at:] {
		l.Histories[room][at+i].Life++
	}
}

// leaves has carol, a device, unsubscribe at the end, with an answer or without one. Her cursor stays.
func (l *Log) leaves(answer string) {
	l.Config.Rules = Rules{Positions: true, Devices: true}
	l.alice().Frames[8] = subscribed(room, 2)
	l.Clients = append(l.Clients, &Client{Name: "carol", Device: true, Cursors: map[string]wire.ID{room: {}}, Frames: []Frame{
		connected("c"), {Kind: Asked, To: room, At: at(10)}, {Kind: Subscribed, To: room, OK: true, At: at(11)}, got(1),
		{Kind: Unsubscribed, To: room, At: at(12), Text: answer}, {Kind: Closed},
	}})
}

// again is the fifth event after a wipe.
var anew = Frame{Kind: Event, To: room, ID: id(5), N: 5, At: at(61)}

// told has both clients told of a wipe before the fifth event comes.
func (l *Log) told() {
	for _, c := range l.Clients {
		last := c.Frames[len(c.Frames)-2]
		c.Frames = append(c.Frames[:len(c.Frames)-1], gap(last.N, 0)...)
		c.Frames = append(c.Frames, anew)
	}
}

// late has carol come to room when its history has expired, and the fifth event, of which the owner knows the one before,
// come to her as a gap.
func (l *Log) late(from origin) {
	l.wipe(Evicted, at(40))
	l.Histories[room][4].Prev = id(4)
	ask := Frame{Kind: Asked, To: room, After: from == position, Earliest: from == earliest, At: at(45)}
	l.Clients = append(l.Clients, &Client{Name: "carol", At: map[string]bool{room: true}, Frames: append([]Frame{
		connected("c1"), ask, {Kind: Subscribed, To: room, OK: true, At: at(47)},
	}, gap(0, 5)...)})
}

// unheard has carol come to a target that has nothing yet, and event 30 come and expire without her.
func (l *Log) unheard() {
	const to = "topic:quiet"
	l.Appends = append(l.Appends, Append{N: 30, To: to, Way: Direct, Lane: "direct-3", At: at(30), Outcome: Acked, ID: id(30)})
	l.Histories[to] = []Stored{{ID: id(30), N: 30, Wiped: Evicted, Trimmed: at(60), Gone: at(61)}}
	l.Clients = append(l.Clients, &Client{Name: "carol", At: map[string]bool{to: true}, Frames: []Frame{
		connected("c1"), {Kind: Asked, To: to, At: at(20)}, {Kind: Subscribed, To: to, OK: true, At: at(21)},
	}})
}

// poison appends an entry without data, and the dead letters that came of it.
func (l *Log) poison(o Outcome, reason string, letters int) {
	l.Appends = append(l.Appends, Append{N: 20, To: room, Lane: "poison", Poison: wire.ReasonNoData, Outcome: o, ID: id(20)})
	for range letters {
		l.Dead = append(l.Dead, DeadLetter{Reason: reason, Stream: "sluice:events", Entry: id(20), To: room, N: 20})
	}
}

// outOfOrder has the first event become a dead letter, after all have it, and a group be deleted.
func (l *Log) outOfOrder(trimmed bool, group string) {
	if trimmed {
		l.trim(1, at(61))
	}
	l.Dead = append(l.Dead, DeadLetter{Reason: wire.ReasonOrder, Stream: "sluice:{1}:events", Entry: id(1), To: room, N: 1})
	l.Faults = append(l.Faults, Fault{Kind: "keys-group", Place: group, Begin: at(62), End: at(62)})
}

// live appends a live-only event, which alice gets some times.
func (l *Log) live(times int) {
	l.Appends = append(l.Appends, Append{N: 21, To: room, Lane: "direct-2", Live: true, Outcome: Acked, ID: id(21)})
	for range times {
		l.alice().insert(9, Frame{Kind: LiveOnly, To: room, N: 21, At: at(21)})
	}
}
