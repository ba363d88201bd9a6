package torture

import (
	"slices"
	"strings"
	"testing"
	"time"

	"sluice/shared/wire"
)

// TestCheck changes a good log and says which promises are broken then.
func TestCheck(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(l *Log)
		want   string // class and a part of the text; empty: nothing is broken
	}{
		{"nothing", func(*Log) {}, ""},

		{"a frame that no client should get", func(l *Log) { l.Config.Odd = []string{"an error"} }, "otherwise wrong: an error"},

		// what is retained
		{"an accepted event is not there", func(l *Log) {
			l.Appends[5].To, l.Histories[hall] = hall, nil
			l.bob().drop(4, 5)
			delete(l.bob().At, hall)
		}, "lost: accepted over intake"},
		{"an event without an answer is not there", func(l *Log) {
			l.Appends[5].Outcome, l.Histories[hall] = Open, nil
			l.bob().drop(4, 5)
			delete(l.bob().At, hall)
		}, ""},
		{"an event without an answer is there", func(l *Log) { l.Appends[5].Outcome = Open }, ""},
		{"a refused event is there", func(l *Log) { l.Appends[5].Outcome = Refused }, "otherwise wrong: refused"},
		{"an event in two places", func(l *Log) {
			l.Histories[hall] = append(l.Histories[hall], Stored{ID: id(12), Prev: id(11), N: 11})
			delete(l.bob().At, hall)
		}, "repeated: stands 2 times"},
		{"an event in the wrong place", func(l *Log) { l.Appends[5].To = room }, "otherwise wrong: was appended to topic:room"},
		{"an event of nobody", func(l *Log) { l.Appends = l.Appends[:5] }, "otherwise wrong: nobody has appended"},
		{"a broken chain", func(l *Log) { l.Histories[room][2].Prev = id(1) }, "unexplained gaps: the history says prev"},
		{"ids that do not grow", func(l *Log) { l.Histories[room][2].ID = id(2) }, "reordered: ids do not grow"},
		{"a live-only event is retained", func(l *Log) { l.Appends[5].Live = true }, "otherwise wrong: not to be retained"},
		{"a producer was told another id", func(l *Log) { l.Appends[2].ID = id(4) }, "otherwise wrong: first entry that was accepted"},
		{"a client was told another id", func(l *Log) { l.Appends[2].Way, l.Appends[2].ID = Publish, id(4) }, "otherwise wrong: its client was told"},
		{"a client was told of a duplicate after one try", func(l *Log) { l.Appends[2].Way, l.Appends[2].Duplicate = Publish, true }, "otherwise wrong: 1 were answered, of these 0"},
		{"a client was told twice that it is no duplicate", func(l *Log) {
			l.Appends[2].Way = Publish
			l.Appends = append(l.Appends, Append{N: 3, To: room, Way: Publish, Key: "k", Outcome: Acked, ID: id(3)})
		}, "otherwise wrong: 2 were answered, of these 2"},
		{"a client was told once that it is a duplicate", func(l *Log) {
			l.Appends[2].Way, l.Appends[2].Duplicate = Publish, true
			l.Appends = append(l.Appends, Append{N: 3, To: room, Way: Publish, Key: "k", Outcome: Open})
		}, ""},
		{"a lane against its order", func(l *Log) { l.Appends[1], l.Appends[2] = l.Appends[2], l.Appends[1] }, "reordered: lane direct-1"},
		{"a late try against its lane's order", func(l *Log) {
			l.Appends[1], l.Appends[2] = l.Appends[2], l.Appends[1]
			l.Appends[1].Outcome = Open
		}, ""},

		// idempotency keys
		{"two tries, the first is the event", func(l *Log) {
			l.Appends = append(l.Appends, Append{N: 5, To: room, Way: Direct, Key: "k", Outcome: Acked, ID: id(9)})
		}, ""},
		{"two tries, the second is the event", func(l *Log) {
			l.Appends = append(l.Appends, Append{N: 5, To: room, Way: Direct, Key: "k", Outcome: Acked, ID: id(4)})
		}, "otherwise wrong: first entry that was accepted"},
		{"two tries, the first without an answer is the event", func(l *Log) {
			l.Appends[4].Outcome = Open
			l.Appends = append(l.Appends, Append{N: 5, To: room, Way: Direct, Key: "k", Outcome: Acked, ID: id(9)})
		}, ""},

		{"two tries, the second without an answer is the event", func(l *Log) {
			l.Appends[4].ID = id(4)
			l.Appends = append(l.Appends, Append{N: 5, To: room, Way: Direct, Key: "k", Outcome: Open})
		}, "otherwise wrong: first entry that was accepted"},

		// dead letters
		{"a dead letter that was deserved", func(l *Log) { l.poison(Acked, wire.ReasonNoData, 1) }, ""},
		{"a dead letter for another reason", func(l *Log) { l.poison(Acked, wire.ReasonTooLarge, 1) }, "otherwise wrong: want no_data"},
		{"a dead letter of what was delivered", func(l *Log) { l.outOfOrder(true, "another") }, "otherwise wrong: a good event became a dead letter"},
		{"the same, and its group was deleted", func(l *Log) { l.outOfOrder(true, "sluice:{1}:events") }, ""},
		{"the same, and the event was not trimmed", func(l *Log) { l.outOfOrder(false, "sluice:{1}:events") }, "otherwise wrong: a good event became a dead letter"},
		{"a dead letter of another entry", func(l *Log) { l.poison(Acked, wire.ReasonNoData, 1); l.Dead[0].Entry = id(19) }, "otherwise wrong: its producer was told"},
		{"a dead letter twice", func(l *Log) { l.poison(Acked, wire.ReasonNoData, 2) }, "repeated: 2 dead letters"},
		{"a dead letter again when all was flushed", func(l *Log) { l.poison(Acked, wire.ReasonNoData, 2); l.Dead[1].Era = 1 }, ""},
		{"no dead letter", func(l *Log) { l.poison(Acked, "", 0) }, "lost: deserved to be a dead letter"},
		{"no dead letter, nor an answer", func(l *Log) { l.poison(Open, "", 0) }, ""},
		{"a good event is a dead letter", func(l *Log) {
			l.Dead = append(l.Dead, DeadLetter{Reason: wire.ReasonOrder, Entry: id(3), To: room, N: 3})
		}, "otherwise wrong: a good event"},
		{"a dead letter of nobody", func(l *Log) { l.Dead = append(l.Dead, DeadLetter{Reason: wire.ReasonOrder, N: -1}) }, "otherwise wrong: nobody can explain"},
		{"poison is retained", func(l *Log) { l.Appends[5].Poison = wire.ReasonNoData }, "otherwise wrong: had to become"},

		// what clients see
		{"the last event is missing", func(l *Log) { l.alice().drop(11, 12) }, "lost: never got it"},
		{"the last event is missing for who left", func(l *Log) { l.alice().drop(11, 12); clear(l.alice().At) }, ""},
		{"an event in the middle is missing", func(l *Log) { l.alice().drop(10, 11) }, "unexplained gaps: its prev"},
		{"an event in the middle is missing and counted", func(l *Log) { l.alice().drop(10, 11) }, "lost: never got it"},
		{"an event is missing after the position", func(l *Log) { l.bob().drop(5, 6) }, "lost: never got it"},
		{"an event that was missing comes later", func(l *Log) {
			f := l.alice().Frames
			f[9], f[10] = f[10], f[9]
		}, "reordered: is at"},
		{"an event twice", func(l *Log) { l.alice().insert(11, got(4)) }, "repeated: has it already"},
		{"an event twice over a reconnection", func(l *Log) { l.alice().insert(9, got(2)) }, "repeated: has it already"},
		{"an event under another's id", func(l *Log) { l.alice().Frames[9].N = 4 }, "otherwise wrong: the history has event 3"},
		{"an event that is not in the history", func(l *Log) { l.alice().Frames[9].ID.Seq = 7 }, "otherwise wrong: does not have it"},
		{"an event before subscribed", func(l *Log) { l.alice().insert(7, got(3)) }, "otherwise wrong: without a subscription"},
		{"an event after unsubscribed", func(l *Log) { l.alice().insert(11, Frame{Kind: Unsubscribed, To: room}) }, "otherwise wrong: without a subscription"},
		{"subscribed at an unknown position", func(l *Log) { l.alice().Frames[2].ID.Seq = 7 }, "otherwise wrong: does not know"},
		{"subscribed without an answer", func(l *Log) { l.bob().At["topic:other"] = true }, "otherwise wrong: never got an answer"},
		{"all that is retained, and not all came", func(l *Log) { l.bob().Frames[1].Earliest = true }, "lost: never got it"},
		{"asks for what follows another id than it has", func(l *Log) { l.alice().Frames[7] = askedAfter(room, 1) }, "otherwise wrong: the recorder asked"},
		{"a new subscription from now on", func(l *Log) {
			l.alice().Frames[7] = asked(room)
			l.alice().drop(9, 11) // 3 and 4
		}, ""},

		// skip
		{"a skip for the one that it is not for", func(l *Log) { l.Appends[3].Except = "b1"; l.bob().Frames[5].Kind = Skip }, ""},
		{"a skip for somebody else", func(l *Log) { l.Appends[3].Except = "b1"; l.alice().Frames[10].Kind = Skip }, "otherwise wrong: it is for all but"},
		{"no skip", func(l *Log) { l.Appends[3].Except = "b1" }, "otherwise wrong: it is for all but"},

		// live-only events
		{"live only", func(l *Log) { l.live(1) }, ""},
		{"live only, without a subscription", func(l *Log) {
			l.live(1)
			l.alice().Frames[8], l.alice().Frames[9] = l.alice().Frames[9], l.alice().Frames[8]
		}, "otherwise wrong: without a subscription"},
		{"live only, not received", func(l *Log) { l.live(0) }, ""},
		{"live only, twice", func(l *Log) { l.live(2) }, "repeated: nothing had died"},
		{"live only, twice after a worker died", func(l *Log) {
			l.live(2)
			l.Faults = append(l.Faults, Fault{Kind: "worker-kill", Begin: at(0), End: at(1)})
		}, ""},
		{"live only, twice after a client went", func(l *Log) {
			l.live(2)
			l.Faults = append(l.Faults, Fault{Kind: "client", Calm: true, Begin: at(0), End: at(1)})
		}, "repeated: nothing had died"},

		// gaps
		{"a gap where something was trimmed", func(l *Log) {
			l.trim(4, at(40))
			l.alice().Frames = slices.Replace(l.alice().Frames, 8, 11, gap(2, 4)...)
		}, ""},
		{"a gap where nothing was trimmed", func(l *Log) {
			l.alice().Frames = slices.Replace(l.alice().Frames, 8, 11, gap(2, 4)...)
		}, "unexplained gaps: what follows was retained"},
		{"a gap where something else was trimmed", func(l *Log) {
			l.trim(2, at(40))
			l.alice().Frames = slices.Replace(l.alice().Frames, 8, 11, gap(2, 4)...)
		}, "unexplained gaps: what follows was retained"},
		{"a gap before anything was trimmed", func(l *Log) {
			l.trim(4, at(60))
			l.alice().Frames = slices.Replace(l.alice().Frames, 8, 11, gap(2, 4)...)
		}, "unexplained gaps: what follows was retained"},
		{"a gap where nothing follows", func(l *Log) { l.alice().insert(12, gap(5, 5)...) }, "unexplained gaps: what follows was retained"},
		{"a gap after another position", func(l *Log) {
			l.trim(4, at(40))
			l.alice().Frames = slices.Replace(l.alice().Frames, 8, 11, gap(1, 4)...)
		}, "otherwise wrong: the client is at"},
		{"a gap, and then something is missing", func(l *Log) {
			l.trim(4, at(40))
			l.alice().Frames = slices.Replace(l.alice().Frames, 8, 12, gap(2, 3)...)
		}, "lost: never got it"},
		{"a gap that covers what is retained, beside what was trimmed", func(l *Log) {
			l.trim(3, at(40)) // from 4 on the client chose to go on live
			l.alice().Frames = slices.Replace(l.alice().Frames, 8, 12, gap(2, 5)...)
			l.alice().Frames[8].Oldest = id(4)
		}, ""},
		{"a gap that says of a retained event that it has gone", func(l *Log) {
			l.trim(3, at(40))
			l.alice().Frames = slices.Replace(l.alice().Frames, 8, 12, gap(2, 5)...)
			l.alice().Frames[8].Oldest = id(5)
		}, "lost: is the oldest event, and it was retained"},
		{"a gap up to an unknown event", func(l *Log) {
			l.trim(4, at(40))
			l.alice().Frames = slices.Replace(l.alice().Frames, 8, 11, gap(2, 4)...)
			l.alice().Frames[8].Oldest = id(7)
		}, "otherwise wrong: does not know"},
		{"a gap for what had gone before the client asked", func(l *Log) { l.late(now) }, "lost: came in its place, and it was retained"},
		{"a gap for what had gone before the client asked for all", func(l *Log) { l.late(earliest) }, "lost: came in its place, and it was retained"},
		{"a gap for what had gone before the client was told that 0 is complete", func(l *Log) { l.late(position) }, "lost: came in its place, and it was retained"},
		{"a gap for what had gone before, told already", func(l *Log) {
			l.late(position)
			carol := l.Clients[2]
			carol.Frames[1] = Frame{Kind: Asked, To: room, After: true, ID: id(2), At: at(45)}
			carol.Frames[2] = Frame{Kind: Gap, To: room, Prev: id(2), Text: wire.GapExpired, At: at(46)}
			carol.insert(3, Frame{Kind: Subscribed, To: room, At: at(46)})
		}, "lost: came in its place, and it was retained"},
		{"a gap for what may have gone after the client asked", func(l *Log) {
			l.late(now)
			for i := range 4 {
				l.Histories[room][i].Gone = at(46)
			}
		}, ""},
		{"a gap for what came and went just before it was told of an empty history", func(l *Log) {
			l.late(now)
			for i := range 4 {
				l.Histories[room][i].Trimmed, l.Histories[room][i].Gone = at(46), at(49)
			}
			carol := l.Clients[2]
			carol.Frames[1] = Frame{Kind: Asked, To: room, After: true, ID: id(2), At: at(45)}
			carol.Frames[2] = Frame{Kind: Gap, To: room, Prev: id(2), Text: wire.GapExpired, At: at(47)}
			carol.insert(3, Frame{Kind: Subscribed, To: room, At: at(47)})
		}, ""},
		{"no gap for what had gone before the client asked", func(l *Log) {
			l.late(now)
			l.Clients[2].Frames = append(l.Clients[2].Frames[:3], Frame{Kind: Event, To: room, ID: id(5), Prev: id(4), N: 5, At: at(50)})
		}, ""},
		{"no gap for what went after the client was told", func(l *Log) {
			l.late(now)
			for i := range 4 {
				l.Histories[room][i].Trimmed, l.Histories[room][i].Gone = at(48), at(49)
			}
			l.Clients[2].Frames = append(l.Clients[2].Frames[:3], Frame{Kind: Event, To: room, ID: id(5), Prev: id(4), N: 5, At: at(50)})
		}, "unexplained gaps: its prev"},
		{"not recovered, without a gap", func(l *Log) { l.alice().Frames[8].OK = false }, "unexplained gaps: no gap before it"},

		// devices
		{"a device resumes from its cursor", func(l *Log) { l.device(2, 1) }, ""},
		{"a device resumes from a cursor that went on", func(l *Log) { l.device(2, 0) }, ""},
		{"a device resumes from a cursor beyond what it acknowledged", func(l *Log) { l.device(0, 0) }, "lost: the cursor was"},
		{"a device resumes from a cursor that went back", func(l *Log) { l.device(2, 2) }, "otherwise wrong: the cursor went back"},
		{"a device that was not answered asks from its own position, which is older than its cursor", func(l *Log) { l.unanswered(2) }, ""},
		{"it asks from another one", func(l *Log) { l.unanswered(1) }, "otherwise wrong: the recorder asked"},
		{"a device resumes, and is told of two gaps", func(l *Log) {
			l.trim(4, at(40))
			l.alice().insert(12, slices.Concat([]Frame{{Kind: Ack, To: room, ID: id(1)}, {Kind: Closed}, connected("a3"),
				{Kind: Asked, To: room, Device: true, ID: id(1)}}, gap(1, 2), []Frame{got(3), gap(3, 4)[0], got(5)})...)
		}, ""},
		{"a device resumes, and is told of a gap where nothing is missing", func(l *Log) {
			l.trim(2, at(40))
			l.alice().insert(12, slices.Concat([]Frame{{Kind: Ack, To: room, ID: id(1)}, {Kind: Closed}, connected("a3"),
				{Kind: Asked, To: room, Device: true, ID: id(1)}}, gap(1, 2), []Frame{got(3), gap(3, 4)[0], got(5)})...)
		}, "unexplained gaps: what follows was retained"},
		{"a device resumes, and something is left out", func(l *Log) {
			l.device(2, 1)
			l.alice().drop(18, 19)
		}, "unexplained gaps: resumed from a cursor, its prev"},
		{"a device whose cursor was flushed begins from now", func(l *Log) {
			l.alice().drop(9, 11)
			l.alice().Frames[7] = Frame{Kind: Asked, To: room, Device: true, ID: id(2), At: at(2)}
			l.Flushes = append(l.Flushes, at(3))
		}, ""},
		{"a device whose cursor was there begins from now", func(l *Log) {
			l.alice().drop(9, 11)
			l.alice().Frames[7] = Frame{Kind: Asked, To: room, Device: true, ID: id(2), At: at(2)}
		}, "unexplained gaps: its prev"},
		{"a device whose cursor was flushed had nothing from its new one on", func(l *Log) {
			l.Flushes = append(l.Flushes, at(50))
			l.deviceTwice(51)
		}, ""},
		{"a device that was away for long when its cursor was flushed", func(l *Log) {
			l.Flushes = append(l.Flushes, at(50))
			l.deviceTwice(5900)
		}, ""},
		{"a cursor ends late, of an unsubscribe without an answer", func(l *Log) { l.endsLate(Unanswered) }, ""},
		{"a cursor ends late, of an unsubscribe that was answered", func(l *Log) { l.endsLate("") }, "lost: the cursor was"},
		{"a cursor is left, of an unsubscribe without an answer", func(l *Log) { l.leaves(Unanswered) }, ""},
		{"a cursor is left, of an unsubscribe that was answered", func(l *Log) { l.leaves("") }, "otherwise wrong: still has a cursor"},
		{"a device whose cursor was there had nothing from a new one on", func(l *Log) { l.deviceTwice(51) }, "lost: the cursor was"},
		{"a device whose cursor is from before a flush is told again", func(l *Log) {
			l.wipe(Flushed, at(40))
			l.told()
			l.alice().insert(11, Frame{Kind: Ack, To: room, ID: id(4)}) // it crosses the gap
			l.alice().insert(14, Frame{Kind: Closed}, connected("a3"), Frame{Kind: Asked, To: room, Device: true, ID: id(4), At: at(50)})
			l.alice().insert(17, gap(4, 0)...)
		}, ""},
		{"a cursor beyond what was acknowledged", func(l *Log) { l.alice().Cursors = map[string]wire.ID{room: id(1)} }, "lost: its device's cursor is above"},
		{"a cursor that did not move", func(l *Log) { l.alice().Acked = map[string]wire.ID{room: id(1)} }, "otherwise wrong: its device's cursor is 0"},
		{"a cursor where it should be", func(l *Log) {
			l.device(2, 1)
			l.alice().Acked = map[string]wire.ID{room: id(2)}
			l.alice().Cursors = l.alice().Acked
		}, ""},

		// what nobody has acknowledged
		{"functions heard that nobody has read it", func(l *Log) { l.waits(); l.heard(40, true) }, ""},
		{"they heard at the second attempt", func(l *Log) { l.waits(); l.heard(40, false); l.heard(45, true) }, ""},
		{"they heard of nothing", func(l *Log) { l.waits() }, "lost: nobody has acknowledged it"},
		{"no attempt was done", func(l *Log) { l.waits(); l.heard(40, false) }, "lost: nobody has acknowledged it"},
		{"they heard of nothing, for a device has read it", func(l *Log) { l.waits(); l.reads(22, 21) }, ""},
		{"they heard of nothing, for it was read late", func(l *Log) { l.waits(); l.reads(80, 21) }, ""},
		{"they heard of nothing, and the acknowledgement got lost", func(l *Log) { l.waits(); l.reads(22, 21); l.Receipts = nil }, ""},
		{"they heard of nothing, and what was read came before it", func(l *Log) { l.waits(); l.reads(22, 20) }, "lost: nobody has acknowledged it"},
		{"they heard, and it was read in time", func(l *Log) { l.waits(); l.reads(22, 21); l.heard(40, true) }, "otherwise wrong: though Redis got its acknowledgement"},
		{"they heard, and it was read late", func(l *Log) { l.waits(); l.reads(38, 21); l.heard(40, true) }, ""},
		{"they heard, and what was read in time came before it", func(l *Log) { l.waits(); l.reads(22, 20); l.heard(40, true) }, ""},
		{"they heard too early", func(l *Log) { l.waits(); l.heard(24, true) }, "otherwise wrong: before it was due"},
		{"they were told twice", func(l *Log) { l.waits(); l.heard(40, true); l.Told = append(l.Told, l.Told...) }, "repeated: to hear twice"},
		{"they heard of what did not wait", func(l *Log) { l.waits(); l.heard(40, true); l.last().Unread = 0 }, "otherwise wrong: no event that waited"},
		{"it was flushed, tried again, and functions heard of both", func(l *Log) {
			l.waits()
			l.Flushes, l.Histories[inbox][0].Wiped, l.Histories[inbox][0].Trimmed = []time.Time{at(30)}, Flushed, at(30)
			l.heard(31, true)
			again := *l.last()
			again.ID, again.At = id(50), at(49)
			l.Appends = append(l.Appends, again)
			l.Histories[inbox] = append(l.Histories[inbox], Stored{ID: id(50), N: 31, Life: 1, Era: 1})
			l.Heard = append(l.Heard, Heard{ID: "unread:u " + id(50).String(), Begin: at(70), Done: true})
		}, ""},
		{"they heard of nothing, for it was flushed", func(l *Log) {
			l.waits()
			l.Flushes, l.Histories[inbox][0].Wiped, l.Histories[inbox][0].Trimmed = []time.Time{at(30)}, Flushed, at(30)
		}, ""},

		// masters that were lost
		{"a tail was lost with its master, and all were told", func(l *Log) { l.failed(at(40)) }, ""},
		{"one was not told", func(l *Log) { l.failed(at(40)); l.alice().drop(11, 12) }, "unexplained gaps: its prev"},
		{"one has nothing of what came after", func(l *Log) { l.failed(at(40)); l.alice().drop(12, 13) }, "lost: never got it"},
		{"told before the master was lost", func(l *Log) { l.failed(at(60)) }, "unexplained gaps: what follows was retained"},
		{"what follows stands behind what was lost", func(l *Log) { l.failed(at(40)); l.Histories[room][4].Prev = id(4) }, "unexplained gaps: the history says prev"},
		{"what was lost was of nobody", func(l *Log) { l.failed(at(40)); l.Appends = slices.Delete(l.Appends, 2, 3) }, "otherwise wrong: nobody has appended"},
		{"lost, and its producer tried again", func(l *Log) {
			l.failed(at(40))
			l.Histories[hall] = append(l.Histories[hall], Stored{ID: id(12), Prev: id(11), N: 3})
			l.Appends[2].To, l.Appends[2].Key = hall, "k"
			l.Appends = append(l.Appends, Append{N: 3, To: hall, Way: Direct, Key: "k", Outcome: Acked, ID: id(12)})
			delete(l.bob().At, hall)
		}, ""},

		// what is to follow a gap
		{"goes on before the oldest", func(l *Log) { l.asksRetained(id(2)) }, ""},
		{"goes on before the oldest, which Redis lost since, and which was appended again", func(l *Log) {
			l.asksRetained(id(2))
			l.again(2)
		}, ""},
		{"goes on too early before it", func(l *Log) {
			l.asksRetained(id(1))
			l.again(2)
		}, "otherwise wrong: what is before the oldest"},
		{"goes on live, though what is retained was asked for", func(l *Log) { l.asksRetained(id(5)) }, "lost: a gap after"},
		{"goes on too early", func(l *Log) { l.asksRetained(id(1)) }, "otherwise wrong: what is before the oldest"},

		// histories that were wiped
		{"everything was flushed, and all were told", func(l *Log) { l.wipe(Flushed, at(40)); l.told() }, ""},
		{"flushed, and the history goes on", func(l *Log) {
			l.wipe(Flushed, at(40))
			l.told()
			l.Histories[room][4].Prev = id(4)
		}, "unexplained gaps: the history says prev"},
		{"evicted, and the history goes on", func(l *Log) { l.wipe(Evicted, at(40)); l.Histories[room][4].Prev = id(4) }, ""},
		{"evicted, and the history begins again", func(l *Log) { l.wipe(Evicted, at(40)); l.told() }, ""},
		{"evicted, told of an empty history, and the history goes on", func(l *Log) {
			l.wipe(Evicted, at(40))
			l.told()
			l.Histories[room][4].Prev = id(4)
			for _, c := range l.Clients {
				c.Frames[len(c.Frames)-1].Prev = id(4)
			}
		}, ""},
		{"evicted, told of what is left, and the history goes on", func(l *Log) {
			l.wipe(Evicted, at(40))
			l.told()
			l.alice().Frames[11].ID, l.alice().Frames[12].ID = id(4), id(4)
			l.alice().Frames[13].Prev = id(2)
		}, "unexplained gaps: its prev"},
		{"lost without a wipe, told of an empty history, and the history goes on", func(l *Log) {
			l.trim(4, at(40))
			l.told()
			for _, c := range l.Clients {
				c.Frames[len(c.Frames)-1].Prev = id(4)
			}
		}, "unexplained gaps: a gap"},
		{"evicted, and who has all goes on in the history that begins again", func(l *Log) {
			l.wipe(Evicted, at(40))
			for _, c := range l.Clients {
				c.Frames[len(c.Frames)-1].Prev = id(0)
			}
		}, ""},
		{"evicted, and who had not all goes on in the history that begins again", func(l *Log) {
			l.wipe(Evicted, at(40))
			l.alice().Frames[11].Prev = id(0)
			l.alice().drop(10, 11)
		}, "unexplained gaps: its prev"},
		{"a client at 0 never gets what came and expired, and nothing was in the way", func(l *Log) { l.unheard() }, "lost: never got it"},
		{"a client at 0 never gets what came and expired, and something was in the way", func(l *Log) {
			l.unheard()
			l.Faults = append(l.Faults, Fault{Kind: "link-away", Begin: at(30), End: at(35)})
		}, ""},
		{"begins again without a reason", func(l *Log) { l.trim(4, at(40)); l.Histories[room][4].Prev = id(0) }, "unexplained gaps: the history says prev"},
		{"flushed, and one was not told", func(l *Log) { l.wipe(Flushed, at(40)); l.told(); l.alice().drop(11, 13) }, "unexplained gaps: its prev"},
		{"flushed, and one has nothing of what came after", func(l *Log) { l.wipe(Flushed, at(40)); l.told(); l.alice().drop(13, 14) }, "lost: never got it"},
		{"told before it was flushed", func(l *Log) { l.wipe(Flushed, at(60)); l.told() }, "unexplained gaps: what follows was retained"},
		{"flushed while one had nothing", func(l *Log) {
			l.wipe(Flushed, at(40))
			l.told()
			l.Clients = append(l.Clients, &Client{Name: "carol", At: map[string]bool{room: true}, Frames: []Frame{
				connected("c1"), asked(room), subscribed(room, 0), anew,
			}})
		}, ""},
		{"flushed before it was worked on", func(l *Log) {
			l.Histories[hall], l.Flushed = nil, map[int]bool{11: true}
			l.bob().drop(4, 5)
			delete(l.bob().At, hall)
		}, ""},
		{"tried again after it was flushed", func(l *Log) {
			l.wipe(Flushed, at(40))
			l.told()
			l.Appends = append(l.Appends, Append{N: 1, To: room, Way: Direct, Key: "k", At: at(70), Outcome: Acked, ID: id(70)})
			l.Histories[room] = append(l.Histories[room], Stored{ID: id(70), Prev: id(5), N: 1, Life: 1, Era: 1})
			clear(l.alice().At)
			clear(l.bob().At)
		}, ""},
		{"tried again after it was trimmed and all was flushed", func(l *Log) {
			l.wipe(Flushed, at(40))
			l.told()
			l.Histories[room][0].Trimmed, l.Histories[room][0].Wiped = at(30), Kept
			l.Appends = append(l.Appends, Append{N: 1, To: room, Way: Direct, Key: "k", At: at(70), Outcome: Acked, ID: id(70)})
			l.Histories[room] = append(l.Histories[room], Stored{ID: id(70), Prev: id(5), N: 1, Life: 1, Era: 1})
			clear(l.alice().At)
			clear(l.bob().At)
		}, ""},
		{"twice, though it was tried once", func(l *Log) {
			l.wipe(Flushed, at(40))
			l.told()
			l.Histories[room] = append(l.Histories[room], Stored{ID: id(70), Prev: id(5), N: 1, Life: 1, Era: 1})
		}, "repeated: stands 2 times"},
		{"trimmed while away and not told", func(l *Log) { l.trim(4, at(40)); l.alice().drop(9, 11) }, "unexplained gaps: its prev"},
	} {
		t.Run(c.name, func(t *testing.T) {
			log := goodLog()
			c.change(log)
			v := Check(log)
			class, text, _ := strings.Cut(c.want, ": ")
			if c.want == "" {
				if !v.OK() {
					t.Fatalf("%v\n%v", v, v.Violations)
				}
				return
			}
			if !slices.ContainsFunc(v.Violations, func(w Violation) bool {
				return w.Class.String() == class && strings.Contains(w.Text, text)
			}) {
				t.Fatalf("want %q: %v\n%v", c.want, v, v.Violations)
			}
			if v.OK() || (!strings.Contains(v.Explain(), "\n") && len(log.Config.Odd) == 0) {
				t.Errorf("not explained: %s", v.Explain())
			}
		})
	}
}
