package storetest

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"sluice/shared/store"
	"sluice/shared/wire"
)

// refusedMemory: without memory Redis refuses writes. Nothing of a batch is done then,
// terms go on, and when there is memory again the repeat does everything once.
func (x *suite) refusedMemory(t *testing.T) {
	ctx, s := t.Context(), x.open(t, nil)
	memory := func(limit string) { x.each(t, "CONFIG", "SET", "maxmemory", limit) }
	defer memory("0")
	a := x.own(t, s, "a", 0)
	to := targetIn(0, 0)
	ids := x.add(t, 0, to, 3)
	entries := a.next()

	claims := []*store.Claim{{To: to, Key: "k1", ID: ids[0]}, {To: to, Key: "k1", ID: ids[1]}}
	batch := appendsOf(s, to, wire.ID{}, ids...)
	batch[1].Touch = true
	letters := []store.DeadLetter{{Entry: entries[0], Reason: "r"}, {Entry: entries[1], Reason: "r"}}
	forward := []*store.Forwarding{{Partition: 1, Entries: []store.Entry{
		{ID: id(1, 1), Fields: map[string]any{"to": targetIn(1, 0), "data": "1"}},
		{ID: id(1, 2), Fields: map[string]any{"to": targetIn(1, 0), "data": "2"}},
	}}}
	session := store.Session{Target: to, Field: "f"}
	var taken []store.Term
	work := []struct {
		name string
		do   func() error
	}{
		{"Prepare", func() error { return a.lane.Prepare(ctx, claims, nil, time.Minute) }},
		{"AppendAndRoute", func() error { return a.lane.AppendAndRoute(ctx, batch, nil) }},
		{"Bury", func() error { return s.Bury(ctx, letters) }},
		{"Forward", func() error { return s.Forward(ctx, forward) }},
		{"Forward of a lane", func() error { _, err := a.lane.Forward(ctx, forward, a.read); return err }},
		{"Publish", func() error {
			return s.Publish(ctx, []store.Publication{{To: to, Fields: []string{"to", to, "data", "1"}}})[0]
		}},
		{"Register", func() error { _, err := s.Register(ctx, "g", s.NowMs()+1000, []store.Session{session}); return err }},
		{"Announce", func() error { _, _, err := s.Announce(ctx, store.Servers, "g", time.Minute); return err }},
		{"TakeOver", func() (err error) { taken, err = s.TakeOver(ctx, "b", "t", leaseTTL, []int{2, 3}); return err }},
	}
	memory("1")
	for range 2 {
		for _, w := range work {
			wantReply(t, w.name+" without memory", w.do(), "OOM")
		}
	}
	for _, k := range []string{
		Key(0, "history:"+to), Key(0, "idem:"+to+":k1"), "sluice:dead", Key(1, "events"), Key(1, "forwarded"),
		Key(0, "session:"+to), Key(2, "lease"), Key(2, "epoch"), Key(2, "events"),
	} {
		want(t, "keys "+k+" without memory", x.Client.Exists(ctx, k).Val(), 0)
	}
	// What keeps a term alive and brings memory back needs none.
	lost, err := s.Renew(ctx, "a", leaseTTL, []int{0})
	must(t, err)
	want(t, "leases lost", len(lost), 0)
	want(t, "entries read again", len(a.next()), 0)
	must(t, s.Trim(ctx, map[int]wire.ID{5: id(1, 1)}))
	must(t, s.Release(ctx, "nobody", []int{0}))
	must(t, s.Unregister(ctx, "g", []store.Unregistration{{Session: session}}))
	must(t, s.Send(ctx, []store.Outgoing{{Server: "g", Payload: []byte("x")}}))

	memory("0")
	for range 2 {
		for _, w := range work {
			must(t, w.do())
		}
	}
	want(t, "first claim", claims[0].First, ids[0])
	want(t, "second claim", claims[1].First, ids[0])
	got, prevs := retained(t, s, to)
	want(t, "ids", got, ids)
	want(t, "prevs", prevs, []wire.ID{{}, ids[0], ids[1]})
	want(t, "dead letters", x.Client.XLen(ctx, "sluice:dead").Val(), 2)
	want(t, "forwarded entries", x.Client.XLen(ctx, Key(1, "events")).Val(), 2)
	want(t, "terms", []bool{taken[0].Taken, taken[1].Taken}, []bool{true, true})
	must(t, a.lane.AppendAndRoute(ctx, batch, nil))
	_, err = a.commit(nil, ackOf(0, ids...))
	must(t, err)
}

// refusedReplica: after a failover a lane may find itself on a replica. It works again under
// a fresh generation, as soon as its server takes writes.
func (x *suite) refusedReplica(t *testing.T) {
	if x.cluster() {
		t.Skip("the nodes of a Cluster do not become replicas by REPLICAOF")
	}
	ctx, s := t.Context(), x.open(t, nil)
	a := x.own(t, s, "a", 0)
	to := targetIn(0, 0)
	ids := x.add(t, 0, to, 1)
	a.next()
	must(t, x.Client.Do(ctx, "REPLICAOF", "127.0.0.1", "1").Err())
	defer x.Client.Do(ctx, "REPLICAOF", "NO", "ONE")
	batch := appendsOf(s, to, wire.ID{}, ids...)
	wantReply(t, "append to a replica", a.lane.AppendAndRoute(ctx, batch, nil), "READONLY")
	for n := range 3 {
		wantError(t, "append after that", a.lane.AppendAndRoute(ctx, batch, nil), store.ErrFenced)
		_, err := a.commit(nil, ackOf(0, ids...))
		wantError(t, "commit after that", err, store.ErrFenced)
		a.read.Generation = fmt.Sprint("of a replica", n)
		_, err = a.commit(nil, ackOf(0, ids...))
		wantReply(t, "commit on a replica", err, "READONLY")
	}
	must(t, x.Client.Do(ctx, "REPLICAOF", "NO", "ONE").Err())
	must(t, a.retake("again"))
	want(t, "entries read again", idsOf(a.next()), ids)
	must(t, a.lane.AppendAndRoute(ctx, batch, nil))
	_, err := a.commit(nil, ackOf(0, ids...))
	must(t, err)
	got, _ := retained(t, s, to)
	want(t, "ids", got, ids)
}

// refusedLogin: a server that refuses the connection itself (the password was changed, and
// the links are cut) has seen no command. Each says so: none counts as done, and no
// history as empty.
func (x *suite) refusedLogin(t *testing.T) {
	ctx := t.Context()
	login := func(rule ...any) {
		x.each(t, append([]any{"ACL", "SETUSER", "sluice", "on", "allkeys", "allchannels", "allcommands"}, rule...)...)
	}
	login("resetpass", ">old")
	s := Open(t, strings.Replace(x.URL, "redis://", "redis://sluice:old@", 1), nil)
	a := x.own(t, s, "a", 0)
	to, event := targetIn(0, 0), []string{"to", targetIn(0, 0), "data", "1"}
	ids := x.add(t, 0, to, 3)
	entries := a.next()
	a.append(to, wire.ID{}, ids...)
	want(t, "acknowledged and read on", len(a.ack(ids...)), 0)
	query := &store.Query{Target: to, Edges: true, Limit: 10}
	session := store.Session{Target: to, Field: "f"}
	work := []struct {
		name string
		do   func() error
	}{
		{"Publish", func() error { return s.Publish(ctx, []store.Publication{{To: to, Fields: event}})[0] }},
		{"AppendAcks", func() error {
			errs, _ := s.AppendAcks(ctx, []wire.Ack{{User: "u", To: to, ID: ids[0]}}, 10)
			return errs[0]
		}},
		{"History", func() error { return s.History(ctx, query) }},
		{"Holders", func() error { _, err := s.Holders(ctx, []string{to}); return err }},
		{"Backlogs", func() error { _, err := s.Backlogs(ctx); return err }},
		{"Prepare", func() error {
			return a.lane.Prepare(ctx, []*store.Claim{{To: to, Key: "k", ID: ids[0]}}, []*store.End{{Target: to}}, time.Minute)
		}},
		{"AppendAndRoute", func() error {
			return a.lane.AppendAndRoute(ctx, appendsOf(s, to, ids[2], id(ids[2].Ms+1000, 0)), nil)
		}},
		{"Commit", func() error { _, err := a.commit(nil, ackOf(0, ids...)); return err }},
		{"TakeOver", func() error { _, err := s.TakeOver(ctx, "a", "again", leaseTTL, []int{0}); return err }},
		{"Free", func() error { _, err := s.Free(ctx, "a", []int{0}); return err }},
		{"Renew", func() error { _, err := s.Renew(ctx, "a", leaseTTL, []int{0}); return err }},
		{"Forward", func() error {
			return s.Forward(ctx, []*store.Forwarding{{Partition: 1, Entries: []store.Entry{intakeEntry(id(5, 0), targetIn(1, 0))}}})
		}},
		{"Bury", func() error { return s.Bury(ctx, []store.DeadLetter{{Entry: entries[0], Reason: "r"}}) }},
		{"Trim", func() error { return s.Trim(ctx, map[int]wire.ID{0: ids[0]}) }},
		{"Register", func() error { _, err := s.Register(ctx, "g", s.NowMs()+1000, []store.Session{session}); return err }},
		{"Announce", func() error { _, _, err := s.Announce(ctx, store.Servers, "g", time.Minute); return err }},
		{"Send", func() error { return s.Send(ctx, []store.Outgoing{{Server: "g", Payload: []byte("x")}}) }},
		{"Ready", func() error { return s.Ready(ctx) }},
	}
	login("resetpass", ">new")
	for _, w := range work {
		x.each(t, "CLIENT", "KILL", "USER", "sluice")
		// The cut link may be the first that is seen, then the refusal of the next one.
		Eventually(t, func() error {
			err := w.do()
			if err == nil {
				t.Fatalf("%s counts as done, but the server refuses the login", w.name)
			}
			if errors.Is(err, store.ErrFenced) { // the lane has lost its link: a fresh generation makes another one
				a.read.Generation += "again"
				_, again := a.commit(nil)
				err = errors.Join(err, again)
			}
			if !store.IsReply(err) || !strings.Contains(err.Error(), "WRONGPASS") {
				return err
			}
			return nil
		})
	}
	want(t, "what was published", x.Client.XLen(ctx, Key(0, "events")).Val(), 3)
	login("resetpass", ">old")
	must(t, s.History(ctx, query))
	want(t, "events of the history", len(query.Page.Events), 3)
	for _, w := range work[:3] {
		must(t, w.do())
	}
}
