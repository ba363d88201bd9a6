package storetest

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"sluice/shared/store"
	"sluice/shared/wire"
)

// deed is something that a process does, and may do again when it does not know
// whether it was done.
type deed struct {
	name string
	do   func() error
	// done checks that it was done, once.
	done func()
}

// deeds are all that write, over one store, in an order in which they can be done.
func (x *suite) deeds(t *testing.T, s *store.Store) []deed {
	ctx, to := t.Context(), targetIn(0, 0)
	count := func(what string, got, n int64) {
		t.Helper()
		want(t, what, got, n)
	}
	a := x.own(t, s, "a", 0)
	ids := x.add(t, 0, to, 2)
	a.next()
	session := []store.Session{{Target: to, Field: "f"}}
	forwarding := []*store.Forwarding{{Partition: 1, Entries: []store.Entry{intakeEntry(id(5, 0), targetIn(1, 0))}}, {
		Partition: 2, Entries: []store.Entry{intakeEntry(id(5, 1), targetIn(2, 0))},
	}}
	claim := &store.Claim{To: to, Key: "k", ID: ids[0]}
	free := []int{3, 4, store.Intake}
	holding := func() (held int64) {
		for _, p := range free {
			lost, err := s.Renew(ctx, "b", leaseTTL, []int{p})
			must(t, err)
			held += int64(1 - len(lost))
		}
		return held
	}
	// A lane that lost its link needs a fresh term, as its worker would take one.
	generation := 0
	term := func(do func() error) func() error {
		return func() error {
			generation++
			if err := a.retake(fmt.Sprint("t", generation)); err != nil {
				return err
			}
			if _, err := a.commit(nil); err != nil {
				return err
			}
			return do()
		}
	}
	user := userIn(0)
	waits := func() []*store.Append {
		return []*store.Append{{Unread: time.Hour.Milliseconds(), MostUnread: 10, MostOfUser: 10, Event: &wire.Event{To: wire.UserTarget(user), ID: id(1, 1), Data: "1", Kind: wire.JSON}}}
	}
	return []deed{
		{"TakeOver", func() error { _, err := s.TakeOver(ctx, "b", "t", leaseTTL, free); return err },
			func() { count("leases", holding(), 3) }},
		{"Renew", func() error { _, err := s.Renew(ctx, "b", leaseTTL, free); return err },
			func() { count("leases", holding(), 3) }},
		{"Prepare", term(func() error { return a.lane.Prepare(ctx, []*store.Claim{claim}, nil, time.Minute) }),
			func() { want(t, "own claim", claim.First, ids[0]) }},
		{"AppendAndRoute", term(func() error { return a.lane.AppendAndRoute(ctx, appendsOf(s, to, wire.ID{}, ids...), nil) }),
			func() {
				got, prevs := retained(t, s, to)
				want(t, "ids", got, ids)
				want(t, "prevs", prevs, []wire.ID{{}, ids[0]})
			}},
		{"AppendAndRoute of what waits to be acknowledged", term(func() error { return a.lane.AppendAndRoute(ctx, waits(), nil) }),
			func() { count("events that wait", x.Client.ZCard(ctx, Key(0, "unread")).Val(), 1) }},
		{"TellUnread", func() error {
			due := redis.Z{Score: 1, Member: wire.UnreadKey(user, id(1, 1))}
			if err := x.Client.ZAddXX(ctx, Key(0, "unread"), due).Err(); err != nil {
				return err
			}
			_, err := s.TellUnread(ctx, 0, 10)
			return err
		},
			func() { count("calls", x.Client.XLen(ctx, Key(0, "calls")).Val(), 1) }},
		{"Forward", func() error { return s.Forward(ctx, forwarding) },
			func() {
				want(t, "partition 1", x.forwarded(t, 1), []string{"5-0"})
				want(t, "partition 2", x.forwarded(t, 2), []string{"5-1"})
			}},
		{"Forward of a lane", term(func() error { _, err := a.lane.Forward(ctx, forwarding, a.read); return err }),
			func() {
				want(t, "partition 1", x.forwarded(t, 1), []string{"5-0"})
				want(t, "partition 2", x.forwarded(t, 2), []string{"5-1"})
			}},
		{"Bury", func() error {
			return s.Bury(ctx, []store.DeadLetter{letter(0, ids[0], "r", nil), letter(0, ids[1], "r", nil)})
		},
			func() { count("dead letters", x.Client.XLen(ctx, "sluice:dead").Val(), 2) }},
		{"Bury with a claim", func() error {
			l := letter(0, id(1, 1), "r", nil)
			l.Claim = &store.Claim{To: to, Key: "k", ID: ids[0]}
			return s.Bury(ctx, []store.DeadLetter{l})
		},
			func() {
				count("claims", x.Client.Exists(ctx, Key(0, "idem:"+to+":k")).Val(), 0)
				count("dead letters", x.Client.XLen(ctx, "sluice:dead").Val(), 3)
			}},
		{"Register", func() error { _, err := s.Register(ctx, "g", 1000, session); return err },
			func() { count("fields", x.Client.HLen(ctx, Key(0, "session:"+to)).Val(), 1) }},
		{"Unregister", func() error {
			return s.Unregister(ctx, "g", []store.Unregistration{{Session: session[0], Expires: 1000}})
		},
			func() { count("fields", x.Client.HLen(ctx, Key(0, "session:"+to)).Val(), 0) }},
		{"Sweep", func() error {
			if err := x.Client.HSet(ctx, Key(0, "session:"+to), "old", "g 1").Err(); err != nil {
				return err
			}
			_, err := s.Sweep(ctx, []string{to})
			return err
		},
			func() { count("fields", x.Client.HLen(ctx, Key(0, "session:"+to)).Val(), 0) }},
		{"Trim", func() error { return s.Trim(ctx, map[int]wire.ID{0: ids[0]}) },
			func() { count("entries", x.Client.XLen(ctx, Key(0, "events")).Val(), 1) }},
		{"MoveCursors", func() error {
			_, err := s.MoveCursors(ctx, []*store.Cursor{cursorOf("u", "d", to, ids[0])}, time.Hour)
			return err
		},
			func() {
				cursors, _, err := s.Cursors(ctx, "u", "d")
				must(t, err)
				want(t, "cursors", cursors, map[string]string{to: ids[0].String()})
			}},
		{"TrimAcks", func() error { _, err := s.TrimAcks(ctx, []int{0}); return err }, func() {}},
		{"Announce", func() error { _, _, err := s.Announce(ctx, store.Servers, "g", time.Minute); return err },
			func() { count("members", x.Client.ZCard(ctx, "sluice:servers").Val(), 1) }},
		{"Leave", func() error { return s.Leave(store.Servers, "g") },
			func() { count("members", x.Client.ZCard(ctx, "sluice:servers").Val(), 0) }},
		{"Release", func() error { return s.Release(ctx, "b", free) },
			func() { count("leases", holding(), 0) }},
		{"Ready", func() error { return s.Ready(ctx) }, func() {}},
	}
}

// lost scripts: a server that lost its scripts, at any time, gets them again.
func (x *suite) lostScripts(t *testing.T) {
	s := x.open(t, nil)
	for _, d := range x.deeds(t, s) {
		for range 2 {
			x.each(t, "SCRIPT", "FLUSH")
			if err := d.do(); err != nil {
				t.Fatalf("%s: %v", d.name, err)
			}
		}
		d.done()
	}
}

// lost replies: a command that ran, and whose reply was lost, is not sent again by
// itself; whoever sent it repeats it without a second effect.
func (x *suite) lostReplies(t *testing.T) {
	if x.nodes != nil {
		t.Skip("a proxy stands before one node")
	}
	p, url := behindProxy(t, x.Backend)
	s := Open(t, url, nil)
	for _, d := range x.deeds(t, s) {
		p.lose.Store(true)
		err := d.do()
		if err == nil || store.IsReply(err) || p.lose.Load() {
			t.Fatalf("%s with a lost reply: %v, want a failure of the link", d.name, err)
		}
		if err := d.do(); err != nil {
			t.Fatalf("%s after a lost reply: %v", d.name, err)
		}
		d.done()
	}

	ctx, to := t.Context(), targetIn(5, 0)
	p.lose.Store(true)
	err := s.Publish(ctx, []store.Publication{{To: to, Fields: []string{"to", to, "data", "1"}}})[0]
	wantLink(t, "Publish with a lost reply", err)
	want(t, "entries", x.Client.XLen(ctx, Key(5, "events")).Val(), 1)

	// A read whose reply was lost has taken its entries: only the next term has them.
	a := x.own(t, s, "a", 5)
	a.next()
	ids := append([]wire.ID{}, x.add(t, 5, to, 2)...)
	p.lose.Store(true)
	_, err = a.commit(nil)
	wantLink(t, "Commit with a lost reply", err)
	for range 2 {
		_, err = a.commit(nil)
		wantError(t, "Commit after a lost reply", err, store.ErrFenced)
	}
	a.take("fresh", 5)
	entries := a.next()
	want(t, "entries of the next term", idsOf(entries)[len(entries)-2:], ids)
	want(t, "all that was not acknowledged", len(entries), 3)
}

// frozen: a server that does not answer is a failure of the link within the link's
// time limit, and nothing stays out of step when it goes on.
func (x *suite) frozen(t *testing.T) {
	const p = 15 // on a Cluster it lies with sluice:meta on the last node, so that Check is asked, too
	limit := 700 * time.Millisecond
	s := x.open(t, func(c *store.Config) {
		sep := "?"
		if strings.Contains(c.RedisURL, "?") {
			sep = "&"
		}
		c.RedisURL += sep + "read_timeout=" + limit.String()
	})
	ctx, to := t.Context(), targetIn(p, 0)
	a := x.own(t, s, "a", p)
	ids := x.add(t, p, to, 1)
	a.next()
	a.read.Block = time.Minute // a longer wait than the link's limit is cut
	want(t, "entries", len(a.next()), 0)

	node := x.at(Key(p, "events"))
	ofMeta := x.at("sluice:meta")
	node.Pause()
	defer node.Resume()
	start := time.Now()
	lane := func() error { // one after the other, as its worker would
		if _, err := a.commit(nil, ackOf(p, ids...)); err == nil || store.IsReply(err) {
			return err // not what is wanted
		}
		return a.lane.AppendAndRoute(ctx, appendsOf(s, to, wire.ID{}, ids...), nil)
	}
	works := map[string]func() error{
		"Commit, AppendAndRoute": lane,
		"Check":                  s.Check,
		"Publish": func() error {
			return s.Publish(ctx, []store.Publication{{To: to, Fields: []string{"to", to, "data", "1"}}})[0]
		},
		"Renew": func() error { _, err := s.Renew(ctx, "a", leaseTTL, []int{p}); return err },
	}
	if ofMeta != node {
		delete(works, "Check")
	}
	type outcome struct {
		name string
		err  error
	}
	outcomes := make(chan outcome, len(works))
	for name, do := range works {
		go func() { outcomes <- outcome{name, do()} }()
	}
	for range works {
		o := <-outcomes
		wantLink(t, o.name+" while Redis is frozen", o.err)
	}
	if took := time.Since(start); took > 10*limit {
		t.Fatalf("failures took %v with a limit of %v", took, limit)
	}
	node.Resume()
	Eventually(t, s.Check)
	generation := "fresh"
	Eventually(t, func() error {
		generation += "er"
		a.take(generation, p)
		batch := appendsOf(s, to, wire.ID{}, ids...)
		entries, err := a.commit(nil)
		return errors.Join(err, a.lane.AppendAndRoute(ctx, batch, nil), idsAreOf(entries, to))
	})
	got, _ := retained(t, s, to)
	want(t, "ids", got, ids)
}

// idsAreOf: an answer that belongs to another question would show here.
func idsAreOf(entries []store.Entry, to string) error {
	for _, e := range entries {
		if e.Fields["to"] != to {
			return fmt.Errorf("read %v, want an entry of %s", e, to)
		}
	}
	return nil
}
