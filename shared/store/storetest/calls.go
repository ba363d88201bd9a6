package storetest

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"sluice/shared/store"
	"sluice/shared/wire"
)

// calls: the events of a connection for functions are counted; its begin and its end are told once, and nothing behind it.
func (x *suite) calls(t *testing.T) {
	ctx, s := t.Context(), x.open(t, nil)
	user := targetIn(0, 0)[len("topic:"):]
	p := s.Partition(wire.UserTarget(user))
	of := func(kind string) wire.Call {
		c := wire.Call{Kind: kind, ID: kind, User: user, Conn: "c1", Server: "g", Transport: "ws", Device: "d"}
		if kind == wire.CallKind {
			c.Name = "n"
		}
		if kind == wire.DisconnectedKind {
			c.Cause = wire.CauseClosed
		}
		return c
	}
	add := func(of store.CallOf, c wire.Call, silent, begun bool) bool {
		t.Helper()
		one := &store.Calling{Of: of, Call: c, Silent: silent, Begun: begun}
		s.AddCalls(ctx, []*store.Calling{one})
		must(t, one.Err)
		return one.Done
	}
	connected, call, disconnected := of(wire.ConnectedKind), of(wire.CallKind), of(wire.DisconnectedKind)
	want(t, "an end before the begin", add(store.CallEnd, disconnected, false, false), false)
	want(t, "a call before the begin", add(store.CallEvent, call, false, true), false)
	want(t, "begin", add(store.CallBegin, connected, false, false), true)
	want(t, "begin again", add(store.CallBegin, connected, false, false), false)
	want(t, "call", add(store.CallEvent, call, false, true), true)
	ended := func() []bool {
		t.Helper()
		list, err := s.Ended(ctx, user, []string{"c1", "c2"})
		must(t, err)
		return list
	}
	want(t, "ended", ended(), []bool{false, true})
	want(t, "end", add(store.CallEnd, disconnected, false, false), true)
	want(t, "end again", add(store.CallEnd, disconnected, false, false), false)
	want(t, "call after the end", add(store.CallEvent, call, false, true), false)
	want(t, "ended", ended(), []bool{true, true})
	want(t, "begin after the end", add(store.CallBegin, connected, false, false), false)

	a := x.own(t, s, "a", s.CallsOf(p))
	entries := a.next()
	got := make([]string, 0, 3)
	for _, e := range entries {
		c, ok := wire.ParseCall(e.Fields)
		got = append(got, fmt.Sprint(c.Kind, " ", c.Seq, " ", ok, " ", e.Partition == s.CallsOf(p)))
	}
	want(t, "events", got, []string{"connected 1 true true", "call 2 true true", "disconnected 3 true true"})

	finish := func(i int, change store.StateChange) bool {
		t.Helper()
		first, err := s.FinishCall(ctx, p, entries[i].ID, &call, change)
		must(t, err)
		return first
	}
	state := func(i int) string {
		t.Helper()
		text, there, err := s.CallState(ctx, p, entries[i].ID, &call)
		must(t, err)
		return fmt.Sprint(text, " ", there)
	}
	want(t, "state at first", state(0), " true")
	want(t, "finish", finish(0, store.StateChange{Set: "1"}), true)
	want(t, "finish again", finish(0, store.StateChange{Set: "2"}), false)
	want(t, "state of what is finished", state(0), "1 false")
	want(t, "finish", finish(1, store.StateChange{}), true)
	want(t, "state kept", state(2), "1 true")
	want(t, "finish", finish(2, store.StateChange{Drop: true}), true)
	want(t, "state dropped", state(2), " false")
	want(t, "what is known of connections", x.Client.Exists(ctx, Key(p, "calling:"+wire.UserTarget(user))).Val(), 0)
	want(t, "connections that are watched", x.Client.Exists(ctx, Key(p, "watched")).Val(), 0)
	_, err := a.commit(nil, ackOf(s.CallsOf(p), idsOf(entries)...))
	must(t, err)

	// What no function wants to hear is noted all the same.
	want(t, "silent begin", add(store.CallBegin, connected, true, false), true)
	want(t, "call", add(store.CallEvent, call, false, true), true)
	want(t, "silent end", add(store.CallEnd, disconnected, true, false), true)
	entries = a.next()
	want(t, "entries", len(entries), 1)
	want(t, "a call that waits is counted", x.Client.HGetAll(ctx, Key(p, "calling:"+wire.UserTarget(user))).Val(), map[string]string{" waiting": "1"})
	want(t, "finish", finish(0, store.StateChange{Set: "1"}), true)
	want(t, "what is known of connections", x.Client.Exists(ctx, Key(p, "calling:"+wire.UserTarget(user))).Val(), 0)

	// A call came while nobody wanted to hear of connections: that it is there is told once somebody does, and only then its end.
	known := func() map[string]string {
		return x.Client.HGetAll(ctx, Key(p, "calling:"+wire.UserTarget(user))).Val()
	}
	finishAll := func() (kinds []string) {
		t.Helper()
		for _, e := range a.next() {
			c, _ := wire.ParseCall(e.Fields)
			kinds = append(kinds, c.Kind)
			_, err := s.FinishCall(ctx, p, e.ID, &c, store.StateChange{Drop: c.Kind == wire.DisconnectedKind})
			must(t, err)
		}
		return kinds
	}
	for _, begins := range []bool{true, false} {
		want(t, "call", add(store.CallEvent, call, false, false), true)
		kinds := []string{"call"}
		if begins {
			want(t, "begin behind a call", add(store.CallBegin, connected, false, false), true)
			want(t, "begin again", add(store.CallBegin, connected, false, false), false)
			kinds = append(kinds, "connected", "disconnected")
		}
		want(t, "end", add(store.CallEnd, disconnected, false, false), true)
		want(t, "end again", add(store.CallEnd, disconnected, false, false), false)
		want(t, "told", finishAll(), kinds)
		want(t, "what is known of connections", len(known()), 0)
	}

	// Its begin was only noted: it is told once somebody wants to hear of begins, and its end in any case.
	for _, told := range []bool{true, false} {
		want(t, "call", add(store.CallEvent, call, false, false), true)
		want(t, "silent begin behind a call", add(store.CallBegin, connected, true, false), true)
		want(t, "silent begin again", add(store.CallBegin, connected, true, false), false)
		kinds := []string{"call"}
		if told {
			want(t, "begin", add(store.CallBegin, connected, false, false), true)
			want(t, "begin again", add(store.CallBegin, connected, false, false), false)
			kinds = append(kinds, "connected")
		}
		want(t, "silent begin again", add(store.CallBegin, connected, true, false), false)
		want(t, "end", add(store.CallEnd, disconnected, false, false), true)
		want(t, "told", finishAll(), append(kinds, "disconnected"))
		want(t, "what is known of connections", len(known()), 0)
	}

	must(t, s.AddDue(ctx, p, wire.Due{Of: id(7, 1), Tries: 3, Since: 9}))
	due := a.next()
	c, ok := wire.ParseCall(due[0].Fields)
	want(t, "due", ok && *c.Due == wire.Due{Of: id(7, 1), Tries: 3, Since: 9}, true)
	for range 2 {
		must(t, s.DropCalls(ctx, due))
		want(t, "calls left", x.Client.XLen(ctx, Key(p, "calls")).Val(), 0)
	}
}

// calls full: only so many calls of one user wait.
func (x *suite) callsFull(t *testing.T) {
	const most = 256
	ctx, s := t.Context(), x.open(t, nil)
	user, other := targetIn(0, 0)[len("topic:"):], targetIn(0, 1)[len("topic:"):]
	p := s.Partition(wire.UserTarget(user))
	of := func(user string) *store.Calling {
		return &store.Calling{Of: store.CallEvent, Call: wire.Call{
			Kind: wire.CallKind, ID: "id", User: user, Conn: "c-" + user, Server: "g", Transport: "ws", Name: "n",
		}}
	}
	var list []*store.Calling
	for range most + 1 {
		list = append(list, of(user))
	}
	list = append(list, of(other))
	s.AddCalls(ctx, list)
	for i, one := range list {
		must(t, one.Err)
		want(t, fmt.Sprintf("call %d: done and full", i), []bool{one.Done, one.Full}, []bool{i != most, i == most})
	}
	first := x.Client.XRange(ctx, Key(p, "calls"), "-", "+").Val()[0].ID
	at, err := wire.ParseID(first)
	must(t, err)
	for range 2 { // the second time does nothing
		_, err = s.FinishCall(ctx, p, at, &list[0].Call, store.StateChange{})
		must(t, err)
	}
	again := []*store.Calling{of(user), of(user)}
	s.AddCalls(ctx, again)
	want(t, "after one is finished", []bool{again[0].Full, again[1].Full}, []bool{false, true})
	all, err := s.CallBacklogs(ctx)
	must(t, err)
	var waits int64
	for _, b := range all {
		waits += b.Lag
	}
	want(t, "backlog", []int64{int64(len(all)), waits, int64(all[p].Partition)}, []int64{16, most + 1, int64(s.CallsOf(p))})
}

// calls dead: a dead letter goes back with all that it was.
func (x *suite) callsDead(t *testing.T) {
	ctx, s := t.Context(), x.open(t, nil)
	call := wire.Call{Kind: wire.CallKind, ID: "call:u k", User: "u", Conn: "c", Server: "g", Transport: "ws", Device: "d", Seq: 7,
		Trace: "00-1", Ref: "r", Name: "n", Data: `{"a":1}`}
	fields := map[string]any{"to": "user:u", "status": "503", "answer": "not now"}
	f := call.Fields()
	for i := 0; i < len(f); i += 2 {
		fields[f[i]] = f[i+1]
	}
	must(t, s.Bury(ctx, []store.DeadLetter{letter(s.CallsOf(2), id(1, 1), "function_failed", fields)}))
	all, err := s.DeadLetters(ctx, "", 10)
	must(t, err)
	want(t, "stream", all[0].Stream, Key(2, "calls"))
	want(t, "status", all[0].Fields["status"], "503")
	must(t, s.Requeue(ctx, all[0].ID))
	back := x.Client.XRange(ctx, Key(2, "calls"), "-", "+").Val()
	want(t, "entries", len(back), 1)
	got, ok := wire.ParseCall(back[0].Values)
	want(t, "call", ok && got == call, true)
	want(t, "fields", len(back[0].Values), len(f)/2)
}

// calls lost: a connection whose session has ended, and whose gateway has not said so, is found.
func (x *suite) callsLost(t *testing.T) {
	ctx, s := t.Context(), x.open(t, func(c *store.Config) { c.SessionTTL = time.Second })
	user := targetIn(0, 0)[len("topic:"):]
	target := wire.UserTarget(user)
	p := s.Partition(target)
	var list []*store.Calling
	for _, conn := range []string{"lives", "lost", "left"} {
		list = append(list, &store.Calling{Of: store.CallBegin, Call: wire.Call{
			Kind: wire.ConnectedKind, ID: conn, User: user, Conn: conn, Server: "g", Transport: "sse",
		}})
	}
	list = append(list, &store.Calling{Of: store.CallEnd, Silent: true, Call: list[2].Call})
	s.AddCalls(ctx, list)
	for _, one := range list {
		want(t, "done", one.Done && one.Err == nil, true)
	}
	Eventually(t, func() error {
		_, err := s.Register(ctx, "g", s.NowMs()+60_000, []store.Session{{Target: target, Field: "lives"}})
		must(t, err)
		lost, _, err := s.Lost(ctx, p, 10)
		if err != nil || len(lost) == 0 {
			return fmt.Errorf("none is lost: %w", err)
		}
		want(t, "lost", lost, []wire.Call{{User: user, Conn: "lost", Server: "g", Transport: "sse"}})
		return nil
	})
	lost, looked, err := s.Lost(ctx, p, 10)
	must(t, err)
	want(t, "lost, until that is told", fmt.Sprint(len(lost), looked), "1 1")
}

// calls bad keys: of a connection whose user's sessions cannot be read nothing is said, of others that they are lost; and that a user has
// left is said when it can be.
func (x *suite) callsBad(t *testing.T) {
	ctx, s := t.Context(), x.open(t, func(c *store.Config) { c.SessionTTL = time.Second })
	const p = 0
	var list []*store.Calling
	users := []string{userLike("bad", p), userLike("good", p)}
	for _, user := range users {
		list = append(list, &store.Calling{Of: store.CallBegin, Presence: store.NotePresence, Silent: true, Call: wire.Call{
			Kind: wire.ConnectedKind, ID: user, User: user, Conn: "of-" + user, Server: "g", Transport: "sse",
		}})
	}
	s.AddCalls(ctx, list)
	bad := Key(p, "session:"+wire.UserTarget(users[0]))
	must(t, x.Client.Set(ctx, bad, "x", 0).Err())
	Eventually(t, func() error { // the bad one is behind the others, so it does not keep these from being looked for
		lost, _, err := s.Lost(ctx, p, 1)
		if err != nil {
			wantBad(t, "sessions of another type", err)
			want(t, "it names the key", strings.Contains(err.Error(), bad+" "), true)
		}
		if len(lost) != 1 {
			return fmt.Errorf("%d are lost", len(lost))
		}
		want(t, "lost", lost[0].User, users[1])
		return nil
	})
	must(t, x.Client.Del(ctx, bad).Err())
	Eventually(t, func() error {
		lost, _, err := s.Lost(ctx, p, 10)
		must(t, err)
		if len(lost) != 2 {
			return fmt.Errorf("%d are lost", len(lost))
		}
		return nil
	})

	for _, one := range list {
		one.Of = store.CallEnd
	}
	s.AddCalls(ctx, list)
	later := s.NowMs() + 60_000
	kept := x.Client.ZRangeWithScores(ctx, Key(p, "leaving"), 0, -1).Val()
	want(t, "leaving", len(kept), 2)
	for _, name := range []string{"calls", "leaving", "calling:" + wire.UserTarget(users[0])} {
		must(t, x.Client.Del(ctx, Key(p, name)).Err())
		must(t, x.Client.Set(ctx, Key(p, name), "x", 0).Err())
		gone, err := s.Gone(ctx, p, later, 10, true)
		wantBad(t, "users that have left, with a bad "+name, err)
		want(t, "it names the key", strings.Contains(err.Error(), Key(p, name)+" "), true)
		if name == "leaving" || name == "calls" {
			want(t, "gone", gone, 0)
			must(t, x.Client.Del(ctx, Key(p, name)).Err())
			must(t, x.Client.ZAdd(ctx, Key(p, "leaving"), kept...).Err())
			continue
		}
		want(t, "gone", gone, 1)
	}
	want(t, "told", x.Client.XLen(ctx, Key(p, "calls")).Val(), 1)
	must(t, x.Client.Del(ctx, Key(p, "watched")).Err())
	must(t, x.Client.Set(ctx, Key(p, "watched"), "x", 0).Err())
	_, _, err := s.Lost(ctx, p, 10)
	wantBad(t, "connections that are watched", err)
}

// functions: what they take is what was said last.
func (x *suite) functions(t *testing.T) {
	ctx, s := t.Context(), x.open(t, nil)
	for _, kinds := range [][]string{{}, {"call:a.*", "connected"}, {"call"}, {}} {
		must(t, s.SetFunctions(ctx, kinds))
		got, err := s.Functions(ctx)
		must(t, err)
		want(t, "kinds", got, kinds)
	}
}

// calls posted: one of a key is one call, until it has failed or its answer has given way.
func (x *suite) callsPosted(t *testing.T) {
	ctx, s := t.Context(), x.open(t, nil)
	user := targetIn(0, 0)[len("topic:"):]
	p := s.Partition(wire.UserTarget(user))
	of := func(key string) *wire.Call {
		return &wire.Call{Kind: wire.CallKind, ID: wire.CallID(user, key), User: user, Conn: "c", Server: "g", Transport: wire.TransportHTTP, Seq: 1, Name: "n"}
	}
	post := func(key string) store.PostedCall {
		t.Helper()
		got, err := s.PostCall(ctx, of(key))
		must(t, err)
		known, err := s.PostedCall(ctx, user, key)
		must(t, err)
		want(t, "known", known, store.PostedCall{Waits: got.Waits, Answered: got.Answered, Answer: got.Answer})
		return got
	}
	finish := func(key string, answer *string) {
		t.Helper()
		all := x.Client.XRange(ctx, Key(p, "calls"), "-", "+").Val()
		at, err := wire.ParseID(all[0].ID)
		must(t, err)
		for _, first := range []bool{true, false} {
			got, err := s.FinishCall(ctx, p, at, of(key), store.StateChange{Answer: answer})
			must(t, err)
			want(t, "first", got, first)
		}
	}
	waiting := func() int64 { return x.Client.XLen(ctx, Key(p, "calls")).Val() }
	for range 2 {
		want(t, "posted", post("a b"), store.PostedCall{Waits: true})
	}
	want(t, "entries", waiting(), 1)
	answer := `{"a": 1}`
	finish("a b", &answer)
	want(t, "posted again", post("a b"), store.PostedCall{Answered: true, Answer: answer})
	want(t, "posted", post("bytes"), store.PostedCall{Waits: true})
	finish("bytes", nil)
	want(t, "posted after it failed", post("bytes"), store.PostedCall{Waits: true})
	x.Client.Del(ctx, Key(p, "calls"))
	want(t, "posted after it was lost", post("bytes"), store.PostedCall{Waits: true})
	want(t, "entries", waiting(), 1)
	empty := ""
	finish("bytes", &empty)
	want(t, "posted again", post("bytes"), store.PostedCall{Answered: true})
	key := Key(p, "answers:"+wire.UserTarget(user))
	want(t, "it ends", x.Client.PTTL(ctx, key).Val() > 0, true)

	large := `"` + strings.Repeat("x", 200<<10) + `"`
	for i := range 6 { // more than is kept
		post(fmt.Sprint("large", i))
		finish(fmt.Sprint("large", i), &large)
	}
	want(t, "the oldest one", x.Client.HExists(ctx, key, ":a b").Val(), false)
	want(t, "the newest one", post("large5"), store.PostedCall{Answered: true, Answer: large})
	want(t, "bytes that are kept", x.Client.HGet(ctx, key, "bytes").Val() < "900000", true)
}

// calls of users: their first connection is told, and that they have none any more, after a while.
func (x *suite) callsPresence(t *testing.T) {
	ctx, s := t.Context(), x.open(t, nil)
	user := targetIn(0, 0)[len("topic:"):]
	p := s.Partition(wire.UserTarget(user))
	add := func(of store.CallOf, conn string, presence store.Presence) {
		t.Helper()
		one := &store.Calling{Of: of, Silent: true, Presence: presence, State: "7", Call: wire.Call{User: user, Conn: conn, Server: "g", Transport: "ws"}}
		s.AddCalls(ctx, []*store.Calling{one})
		must(t, one.Err)
	}
	told := func() (kinds []string) {
		t.Helper()
		for _, m := range x.Client.XRange(ctx, Key(p, "calls"), "-", "+").Val() {
			c, ok := wire.ParseCall(m.Values)
			want(t, "an event", ok && c.User == user, true)
			kinds = append(kinds, fmt.Sprint(c.ID, " ", c.Seq))
		}
		return kinds
	}
	gone := func(since int64) int {
		t.Helper()
		n, err := s.Gone(ctx, p, since, 10, true)
		must(t, err)
		return n
	}
	waits := func() bool {
		t.Helper()
		x.Client.Del(ctx, Key(p, "calls"))
		some, err := s.Waits(ctx, store.Calls)
		must(t, err)
		return some
	}
	later := s.NowMs() + 60_000
	add(store.CallBegin, "a", store.NoPresence)
	want(t, "untold", len(told()), 0)
	add(store.CallBegin, "a", store.TellPresence) // functions want to hear of it since
	add(store.CallBegin, "b", store.TellPresence)
	want(t, "told", told(), []string{"online:a 1"})
	want(t, "state", x.Client.HGet(ctx, Key(p, "calling:"+wire.UserTarget(user)), "b state").Val(), "7")
	add(store.CallEnd, "a", store.TellPresence)
	want(t, "waits", waits(), true)
	want(t, "gone with a connection", gone(later), 0)
	want(t, "waits", waits(), false)
	add(store.CallEnd, "b", store.TellPresence)
	want(t, "gone too early", gone(s.NowMs()-60_000), 0)
	add(store.CallBegin, "c", store.TellPresence)
	want(t, "gone and back", gone(later), 0)
	want(t, "told", len(told()), 0)
	add(store.CallEnd, "c", store.TellPresence)
	must(t, x.Client.XAdd(ctx, &redis.XAddArgs{Stream: Key(p, "calls"), ID: wire.MaxID.String(), Values: []string{"kind", "x"}}).Err()) // it takes no more
	_, err := s.Gone(ctx, p, later, 10, true)
	wantBad(t, "gone, and nobody can be told", err)
	must(t, x.Client.Del(ctx, Key(p, "calls")).Err())
	want(t, "gone", gone(later), 1)
	want(t, "gone again", gone(later), 0)
	want(t, "told", told(), []string{"offline:a 2"})
	add(store.CallBegin, "d", store.NotePresence)
	want(t, "told", told(), []string{"offline:a 2"})
	add(store.CallEnd, "d", store.NoPresence)
	want(t, "what is known", x.Client.Exists(ctx, Key(p, "calling:"+wire.UserTarget(user)), Key(p, "leaving")).Val(), 0)
}
