package storetest

import (
	"fmt"
	"testing"
	"time"

	"sluice/shared/store"
	"sluice/shared/wire"
)

func (x *suite) prepareClaims(t *testing.T) {
	ctx, s := t.Context(), x.open(t, nil)
	a := x.own(t, s, "a", 0)
	a.next()
	to, other := targetIn(0, 0), targetIn(0, 1)
	claim := func(to, k string, by wire.ID) *store.Claim {
		return &store.Claim{Partition: 0, To: to, Key: k, ID: by}
	}
	claims := []*store.Claim{claim(to, "k", id(5, 0)), claim(to, "k", id(6, 0)), claim(other, "k", id(7, 0)), claim(to, "", id(8, 0))}
	must(t, a.lane.Prepare(ctx, claims, nil, 90*time.Second))
	for i, first := range []wire.ID{id(5, 0), id(5, 0), id(7, 0), id(8, 0)} {
		want(t, fmt.Sprintf("first of claim %d", i), claims[i].First, first)
	}
	want(t, "value", x.Client.Get(ctx, Key(0, "idem:"+to+":k")).Val(), "5-0")
	if ttl := x.Client.PTTL(ctx, Key(0, "idem:"+to+":k")).Val(); ttl <= 80*time.Second || ttl > 90*time.Second {
		t.Fatalf("a claim for 90 s lives for %v", ttl)
	}
	// A repeat finds its own claim, and does not prolong it.
	must(t, a.lane.Prepare(ctx, claims[:2], nil, time.Hour))
	want(t, "own claim repeated", claims[0].First, id(5, 0))
	want(t, "other claim repeated", claims[1].First, id(5, 0))
	if ttl := x.Client.PTTL(ctx, Key(0, "idem:"+to+":k")).Val(); ttl > 90*time.Second {
		t.Fatalf("a repeated claim lives for %v", ttl)
	}
	// Two targets and keys that look alike when written one after the other are two.
	one := x.own(t, x.open(t, func(c *store.Config) { c.Prefix, c.Partitions = "one:", 1 }), "a", 0)
	one.next()
	claims = []*store.Claim{claim("topic:a", "b:c", id(1, 0)), claim("topic:a:b", "c", id(2, 0))}
	must(t, one.lane.Prepare(ctx, claims, nil, time.Minute))
	want(t, "claim that looks alike", claims[1].First, id(2, 0))
	// Of what is no claim nothing follows.
	a.next()
	must(t, x.Client.Set(ctx, Key(0, "idem:"+to+":odd"), "nonsense", 0).Err())
	must(t, x.Client.LPush(ctx, Key(0, "idem:"+to+":list"), "x").Err())
	claims = []*store.Claim{claim(to, "odd", id(9, 0)), claim(to, "list", id(9, 1))}
	must(t, a.lane.Prepare(ctx, claims, nil, time.Minute))
	want(t, "claim beside nonsense", claims[0].First, id(9, 0))
	want(t, "claim beside a list", claims[1].First, id(9, 1))
}

// claims far apart: a key's time counts from when its events were added, and whoever has had
// it is known also when everything is done again.
func (x *suite) prepareClaimsApart(t *testing.T) {
	ctx, s := t.Context(), x.open(t, nil)
	a := x.own(t, s, "a", 0)
	a.next()
	to, keep := targetIn(0, 0), time.Minute
	value := func() string { return x.Client.Get(ctx, Key(0, "idem:"+to+":k")).Val() }
	batch := func(pairs ...wire.ID) {
		t.Helper()
		var claims []*store.Claim
		for i := 0; i < len(pairs); i += 2 {
			claims = append(claims, &store.Claim{To: to, Key: "k", ID: pairs[i]})
		}
		must(t, a.lane.Prepare(ctx, claims, nil, keep))
		for i, c := range claims {
			want(t, "first of "+c.ID.String(), c.First, pairs[2*i+1])
		}
	}
	first, repeat, second, later, third := id(1000, 0), id(50_000, 0), id(61_000, 0), id(120_999, 0), id(500_000, 0)
	batch(first, first)
	for range 2 { // the second time it is the next owner, whose batch begins anywhere
		batch(repeat, first, second, second, later, second, third, third)
		want(t, "holders", value(), "1000-0 61000-0 500000-0")
	}
	batch(first, first, repeat, first)
	batch(later, second)
	batch(id(700_000, 0), id(700_000, 0))
	if ttl := x.Client.PTTL(ctx, Key(0, "idem:"+to+":k")).Val(); ttl <= 0 || ttl > keep {
		t.Fatalf("a key that was taken lives for %v", ttl)
	}
	// A dead letter gives up its own claim only.
	dead := letter(0, second, "r", nil)
	dead.Claim = &store.Claim{To: to, Key: "k", ID: second}
	must(t, s.Bury(ctx, []store.DeadLetter{dead}))
	want(t, "holders after a dead letter", value(), "1000-0 500000-0 700000-0")

	// What was forwarded has an id of its own, and the time of the intake.
	claims := []*store.Claim{
		{To: to, Key: "f", ID: id(9_000_000, 0), At: 1000}, {To: to, Key: "f", ID: id(9_000_000, 1), At: 2000},
		{To: to, Key: "f", ID: id(9_000_000, 2), At: 61_000}, {To: to, Key: "f", ID: id(9_000_001, 0)},
	}
	for range 2 {
		must(t, a.lane.Prepare(ctx, claims, nil, keep))
		for i, first := range []wire.ID{id(9_000_000, 0), id(9_000_000, 0), id(9_000_000, 2), id(9_000_001, 0)} {
			want(t, fmt.Sprint("first of forwarded ", i), claims[i].First, first)
		}
	}
}

func (x *suite) prepareEnds(t *testing.T) {
	ctx, s := t.Context(), x.open(t, nil)
	a := x.own(t, s, "a", 0)
	a.next()
	to := targetIn(0, 0)
	a.append(to, wire.ID{}, id(5, 1), id(5, 18446744073709551615))
	must(t, x.Client.Set(ctx, Key(0, "history:"+targetIn(0, 2)), "no stream", 0).Err())
	ends := []*store.End{{Target: to}, {Target: targetIn(0, 1)}, {Target: targetIn(0, 2)}}
	claims := []*store.Claim{{To: to, Key: "k", ID: id(6, 0)}}
	for range 2 { // with claims, and again without a read between
		must(t, a.lane.Prepare(ctx, claims, ends, time.Minute))
		want(t, "newest", ends[0].Newest, id(5, 18446744073709551615))
		want(t, "newest of nothing", ends[1].Newest, wire.ID{})
		want(t, "newest of no stream", ends[2].Newest, wire.ID{})
		claims = nil
	}
	a.append(to, id(5, 18446744073709551615), id(6, 0))
}

func (x *suite) appendFields(t *testing.T) {
	ctx, s := t.Context(), x.open(t, nil)
	a := x.own(t, s, "a", 0)
	a.next()
	to := targetIn(0, 0)
	events := []wire.Event{
		{To: to, ID: id(1, 1), Data: `{"a":1}`, Kind: wire.JSON, Name: "n", From: "user:x", Except: "c1", Trace: "00-1"},
		{To: to, ID: id(1, 2), Prev: id(1, 1), Data: "", Kind: wire.Text},
		{To: to, ID: id(2, 0), Prev: id(1, 2), Data: "\x00\xff\r\n", Kind: wire.Binary},
	}
	var appends []*store.Append
	for i := range events {
		e := events[i]
		appends = append(appends, &store.Append{Partition: 0, Event: &e})
	}
	must(t, a.lane.AppendAndRoute(ctx, appends, nil))
	q := &store.Query{Target: to, Limit: 10}
	must(t, s.History(ctx, q))
	want(t, "events", q.Page.Events, events)
	entry := x.Client.XRange(ctx, Key(0, "history:"+to), "1-1", "1-1").Val()[0]
	want(t, "fields", entry.Values, map[string]any{
		"prev": "0", "data": `{"a":1}`, "kind": "j", "event": "n", "from": "user:x", "except": "c1", "traceparent": "00-1",
	})
	must(t, a.lane.AppendAndRoute(ctx, nil, nil))
}

// repeat: Redis refuses an id that it has, and the entry that is there counts.
func (x *suite) appendRepeat(t *testing.T) {
	ctx, s := t.Context(), x.open(t, nil)
	a := x.own(t, s, "a", 0)
	a.next()
	to := targetIn(0, 0)
	a.append(to, wire.ID{}, id(5, 1), id(5, 2))
	again := append(appendsOf(s, to, id(4, 4), id(5, 1), id(5, 2)), appendsOf(s, to, id(5, 2), id(6, 0))...)
	again[0].Event.Data, again[1].Event.Prev = "another", wire.ID{}
	for range 2 {
		must(t, a.lane.AppendAndRoute(ctx, again, nil))
		for i, prev := range []wire.ID{{}, id(5, 1), id(5, 2)} {
			want(t, "error", again[i].Err, nil)
			want(t, "prev", again[i].Event.Prev, prev)
		}
		want(t, "first is a repeat", again[0].Repeat, true)
		want(t, "second is a repeat", again[1].Repeat, true)
	}
	want(t, "third is a repeat at the end", again[2].Repeat, true)
	ids, prevs := retained(t, s, to)
	want(t, "ids", ids, []wire.ID{id(5, 1), id(5, 2), id(6, 0)})
	want(t, "prevs", prevs, []wire.ID{{}, id(5, 1), id(5, 2)})
	q := &store.Query{Target: to, Limit: 1}
	must(t, s.History(ctx, q))
	want(t, "data", q.Page.Events[0].Data, `{"n":1}`)
}

// refused: an event that cannot be appended does not harm the others.
func (x *suite) appendRefused(t *testing.T) {
	ctx, s := t.Context(), x.open(t, nil)
	a := x.own(t, s, "a", 0)
	a.next()
	ordered, odd, good := targetIn(0, 0), targetIn(0, 1), targetIn(0, 2)
	a.append(ordered, wire.ID{}, id(5, 0), id(7, 0))
	must(t, x.Client.Set(ctx, Key(0, "history:"+odd), "no stream", 0).Err())
	for _, tried := range []bool{false, true} {
		batch := append(appendsOf(s, ordered, wire.ID{}, id(4, 0), id(6, 0), id(8, 0)), appendsOf(s, odd, wire.ID{}, id(9, 0))...)
		batch = append(batch, appendsOf(s, good, wire.ID{}, id(9, 1))...)
		batch[1].Tried = tried // it lies between two that are there, so nobody appended it
		routes := []*store.Route{{Target: odd}, {Target: good}}
		must(t, a.lane.AppendAndRoute(ctx, batch, routes))
		for i, refused := range []error{store.ErrOrder, store.ErrOrder, nil, store.ErrNotStream, nil} {
			wantError(t, fmt.Sprintf("event %d", i), batch[i].Err, refused)
		}
	}
	ids, _ := retained(t, s, ordered)
	want(t, "ids", ids, []wire.ID{id(5, 0), id(7, 0), id(8, 0)})
	ids, _ = retained(t, s, good)
	want(t, "ids of another target", ids, []wire.ID{id(9, 1)})
}

// trimmed: an event that was appended and trimmed since is a repeat, no error.
func (x *suite) appendTrimmed(t *testing.T) {
	ctx := t.Context()
	s := x.open(t, func(c *store.Config) { c.HistorySize = 2 })
	a := x.own(t, s, "a", 0)
	a.next()
	to := targetIn(0, 0)
	batch := func(tried bool) []*store.Append {
		all := appendsOf(s, to, wire.ID{}, id(1, 0), id(2, 0), id(3, 0), id(4, 0))
		for _, a := range all {
			a.Tried = tried
		}
		return all
	}
	must(t, a.lane.AppendAndRoute(ctx, batch(false), nil))
	again := batch(true)
	must(t, a.lane.AppendAndRoute(ctx, again, nil))
	for i, prev := range []wire.ID{id(1, 0), id(2, 0), id(2, 0), id(3, 0)} { // its own where it is gone
		want(t, "error", again[i].Err, nil)
		want(t, "repeat", again[i].Repeat, true)
		want(t, "prev", again[i].Event.Prev, prev)
	}
	again = batch(false)
	must(t, a.lane.AppendAndRoute(ctx, again, nil))
	wantError(t, "an event that nobody tried", again[0].Err, store.ErrOrder)
	want(t, "an event that is there", again[2].Repeat, true)

	must(t, x.Client.Del(ctx, Key(0, "history:"+to)).Err())
	a.append(to, wire.ID{}, id(5, 0)) // evicted, and it begins again
	again = batch(true)
	must(t, a.lane.AppendAndRoute(ctx, again, nil))
	for _, a := range again {
		want(t, "error below a history that begins again", a.Err, nil)
		want(t, "repeat below a history that begins again", a.Repeat, true)
		want(t, "prev below a history that begins again", a.Event.Prev, a.Event.ID)
	}
	again = batch(false)
	must(t, a.lane.AppendAndRoute(ctx, again, nil))
	wantError(t, "an event that nobody tried, below a history that begins again", again[0].Err, store.ErrOrder)

	if !x.real() {
		return // the embedded Redis forgets the highest id with the last entry
	}
	must(t, x.Client.XTrimMaxLen(ctx, Key(0, "history:"+to), 0).Err())
	again = batch(true)
	must(t, a.lane.AppendAndRoute(ctx, again, nil))
	want(t, "repeat with an empty history", again[3].Repeat, true)
	again = batch(false)
	must(t, a.lane.AppendAndRoute(ctx, again, nil))
	wantError(t, "an event that nobody tried, with an empty history", again[3].Err, store.ErrOrder)
}

// gone: events were appended, and their history has gone before they are tried again by an
// owner that knows its newest event. They begin it again, one after the other.
func (x *suite) appendGone(t *testing.T) {
	ctx, s := t.Context(), x.open(t, nil)
	a := x.own(t, s, "a", 0)
	a.next()
	to := targetIn(0, 0)
	again := appendsOf(s, to, wire.ID{}, id(5, 0), id(6, 0), id(7, 0))
	for _, one := range again {
		one.Event.Prev, one.Tried = id(7, 0), true
	}
	must(t, a.lane.AppendAndRoute(ctx, again, nil))
	ids, prevs := retained(t, s, to)
	want(t, "ids", ids, []wire.ID{id(5, 0), id(6, 0), id(7, 0)})
	want(t, "prevs", prevs, []wire.ID{{}, id(5, 0), id(6, 0)})
	for i, prev := range prevs {
		want(t, "error", again[i].Err, nil)
		want(t, "prev", again[i].Event.Prev, prev)
		want(t, "first", again[i].Event.First, i == 0)
	}
}

func (x *suite) appendBorders(t *testing.T) {
	ctx, s := t.Context(), x.open(t, nil)
	a := x.own(t, s, "a", 0)
	a.next()
	to := targetIn(0, 0)
	const most = 1<<64 - 1
	ids := []wire.ID{id(0, 1), id(9, most), id(10, 0), id(1<<53, 1), id(1<<53+1, 0), id(most, most-1), id(most, most)}
	for range 2 { // also at the highest id of all, after which Redis answers otherwise
		batch := appendsOf(s, to, wire.ID{}, ids...)
		must(t, a.lane.AppendAndRoute(ctx, batch, nil))
		for _, b := range batch {
			want(t, "error at "+b.Event.ID.String(), b.Err, nil)
		}
	}
	got, prevs := retained(t, s, to)
	want(t, "ids", got, ids)
	want(t, "prevs", prevs, append([]wire.ID{{}}, ids[:len(ids)-1]...))
	for after, count := range map[wire.ID]int{{}: 7, id(9, most-1): 6, id(9, most): 5, id(most, most-1): 1, id(most, most): 0} {
		q := &store.Query{Target: to, After: after, Limit: 10, Edges: true}
		must(t, s.History(ctx, q))
		want(t, "events after "+after.String(), len(q.Page.Events), count)
		want(t, "newest", q.Got.Newest, wire.MaxID)
	}
}

// size: small histories are exact, large ones may hold one block more.
func (x *suite) appendSize(t *testing.T) {
	for _, c := range []struct{ size, most int }{{1, 1}, {7, 7}, {499, 499}, {500, 600}, {600, 700}} {
		x.reset(t)
		s := x.open(t, func(cfg *store.Config) { cfg.HistorySize = c.size })
		a := x.own(t, s, "a", 0)
		a.next()
		to, prev := targetIn(0, 0), wire.ID{}
		for b := range 20 {
			var ids []wire.ID
			for i := range 50 {
				ids = append(ids, id(uint64(b+1), uint64(i)))
			}
			a.append(to, prev, ids...)
			prev = ids[len(ids)-1]
		}
		ids, prevs := retained(t, s, to)
		if len(ids) < c.size || len(ids) > c.most {
			t.Fatalf("a history of %d holds %d events, want at most %d", c.size, len(ids), c.most)
		}
		want(t, "newest", ids[len(ids)-1], prev)
		for i := 1; i < len(ids); i++ {
			want(t, "prev", prevs[i], ids[i-1])
		}
	}
}

func (x *suite) appendTouch(t *testing.T) {
	ctx := t.Context()
	s := x.open(t, func(c *store.Config) { c.HistoryTTL = 8 * time.Hour })
	want(t, "TouchEvery", s.TouchEvery(), time.Hour.Milliseconds())
	want(t, "HistoryTTLMs", s.HistoryTTLMs(), 8*time.Hour.Milliseconds())
	a := x.own(t, s, "a", 0)
	a.next()
	to, now := targetIn(0, 0), uint64(s.NowMs())
	old := now - uint64(8*time.Hour.Milliseconds()) - 1000
	var ids []wire.ID
	for i := range 250 { // blocks that are old as a whole
		ids = append(ids, id(old, uint64(i)))
	}
	a.append(to, wire.ID{}, ids...)
	young := id(old+100_000, 0)
	batch := appendsOf(s, to, ids[len(ids)-1], young, id(now, 0))
	batch[0].Touch, batch[1].Touch = true, true
	must(t, a.lane.AppendAndRoute(ctx, batch, nil))
	ttl := x.Client.PTTL(ctx, Key(0, "history:"+to)).Val()
	if ttl < 8*time.Hour || ttl > 9*time.Hour {
		t.Fatalf("a history of 8 h lives for %v", ttl)
	}
	got, _ := retained(t, s, to)
	if len(got) < 2 || len(got) > 102 {
		t.Fatalf("%d events are left of 250 old and 2 young ones", len(got))
	}
	want(t, "young events", got[len(got)-2:], []wire.ID{young, id(now, 0)})

	must(t, x.Client.Persist(ctx, Key(0, "history:"+to)).Err())
	a.append(to, id(now, 0), id(now, 1))
	want(t, "time to live without a touch", x.Client.PTTL(ctx, Key(0, "history:"+to)).Val(), -1)
}

func (x *suite) route(t *testing.T) {
	ctx, s := t.Context(), x.open(t, nil)
	a := x.own(t, s, "a", 0)
	a.next()
	now := s.NowMs()
	many, stale, none, odd := targetIn(0, 0), targetIn(0, 1), targetIn(0, 2), targetIn(0, 3)
	for _, server := range []string{"g1", "g2", "late"} {
		expires := now + time.Minute.Milliseconds()
		if server == "late" {
			expires = now - 1
		}
		var sessions []store.Session
		for device := range 3 {
			sessions = append(sessions, store.Session{Target: many, Field: fmt.Sprint(server, device)})
		}
		if server == "late" {
			sessions = append(sessions, store.Session{Target: stale, Field: server})
		}
		_, err := s.Register(ctx, server, expires, sessions)
		must(t, err)
	}
	must(t, x.Client.Set(ctx, Key(0, "session:"+odd), "no hash", 0).Err())
	routes := []*store.Route{{Target: many}, {Target: stale}, {Target: none}, {Target: odd, Servers: []string{"stale result"}, Expired: true}}
	must(t, a.lane.AppendAndRoute(ctx, nil, routes))
	got := map[string]bool{}
	for _, server := range routes[0].Servers {
		got[server] = true
	}
	want(t, "servers", got, map[string]bool{"g1": true, "g2": true})
	want(t, "servers, each once", len(routes[0].Servers), 2)
	want(t, "servers of expired sessions", len(routes[1].Servers), 0)
	want(t, "servers of nobody", len(routes[2].Servers), 0)
	want(t, "servers of no hash", len(routes[3].Servers), 0)
	for i, expired := range []bool{true, true, false, false} {
		want(t, "Expired", routes[i].Expired, expired)
	}
	// A field without a time, or with one that is no number, is nobody's.
	must(t, x.Client.HSet(ctx, Key(0, "session:"+none), "c", "g1", "d", "g1 soon", "e", "").Err())
	must(t, a.lane.AppendAndRoute(ctx, nil, routes[2:3]))
	want(t, "servers of malformed fields", len(routes[2].Servers), 0)
	want(t, "malformed fields are to be swept", routes[2].Expired, true)
}
