package storetest

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"sluice/shared/store"
	"sluice/shared/wire"
)

// kicks: a kick is kept once, keeps its user out for as long as it says, and is in no history.
func (x *suite) kicks(t *testing.T) {
	ctx, s := t.Context(), x.open(t, nil)
	const user = "user:u"
	p := s.Partition(user)
	a := x.own(t, s, "a", p)
	a.next()
	_, err := s.Register(ctx, "g", s.NowMs()+60_000, []store.Session{{Target: user, Field: "c"}})
	must(t, err)
	now := uint64(s.NowMs())
	kick := func(k wire.Kick) *store.Append {
		t.Helper()
		done, route := &store.Append{Partition: p, Kick: &k}, &store.Route{Partition: p, Target: user}
		must(t, a.lane.AppendAndRoute(ctx, []*store.Append{done}, []*store.Route{route}))
		want(t, "who is told", route.Servers, []string{"g"})
		return done
	}
	kept := func() []*wire.Kick {
		t.Helper()
		all, err := s.Kicks(ctx, []int{p, (p + 1) % 16})
		must(t, err)
		return all
	}
	barred := func() (string, bool) {
		t.Helper()
		reason, barred, err := s.Barred(ctx, "u")
		must(t, err)
		return reason, barred
	}
	first := wire.Kick{User: "u", Device: "d", Conn: "c", Reason: "bye", At: now}
	want(t, "error", kick(first).Err, nil)
	kick(first) // a repeat
	want(t, "kept", kept(), []*wire.Kick{&first})
	_, out := barred()
	want(t, "kept out without being asked to", out, false)
	if ttl := x.Client.PTTL(ctx, Key(p, "kicks")).Val(); ttl <= 59*time.Minute || ttl > time.Hour {
		t.Fatalf("kicks live for %v, want an hour", ttl)
	}

	kick(wire.Kick{User: "u", Reason: "out", For: time.Hour, At: now - 1000})
	reason, out := barred()
	want(t, "kept out", []any{reason, out}, []any{"out", true})
	if ttl := x.Client.PTTL(ctx, Key(p, "barred:user:u")).Val(); ttl <= 59*time.Minute || ttl > time.Hour-time.Second {
		t.Fatalf("the user is kept out for %v, want an hour from when it was asked for", ttl)
	}
	kick(wire.Kick{User: "u", At: now}) // says nothing of that
	_, out = barred()
	want(t, "still kept out", out, true)
	kick(wire.Kick{User: "u", Reason: "earlier", For: time.Second, At: now - 2000}) // it was asked for before the other one, and is over
	kick(wire.Kick{User: "u", Reason: "earlier", For: time.Minute, At: now - 1001})
	reason, out = barred()
	want(t, "kept out by what was asked for last", []any{reason, out}, []any{"out", true})
	kick(wire.Kick{User: "u", For: time.Second, At: now - 1000}) // the last one counts, and is over
	_, out = barred()
	want(t, "kept out when that is over", out, false)
	kick(wire.Kick{User: "u", For: time.Hour, At: now - 1001})
	_, out = barred()
	want(t, "kept out by what was asked for before that", out, false)
	must(t, x.Client.Set(ctx, Key(p, "barred:user:u asked"), now+60_000, 0).Err()) // the clock was set back
	kick(wire.Kick{User: "u", Reason: "back", For: time.Minute, At: now})
	reason, out = barred()
	want(t, "kept out when the clock was set back", []any{reason, out}, []any{"back", true})
	kick(wire.Kick{User: "u", For: time.Minute, At: 1 << 60}) // an id that somebody gave by hand
	_, out = barred()
	want(t, "kept out by an id far in the future", out, true)
	if _, other, err := s.Barred(ctx, "v"); other || err != nil {
		t.Fatalf("another user is kept out: %t, %v", other, err)
	}
	want(t, "histories", x.Client.Exists(ctx, Key(p, "history:"+user)).Val(), 0)
}

// kicksOdd: how many are kept, who may write them, and keys of another type.
func (x *suite) kicksOdd(t *testing.T) {
	ctx, s := t.Context(), x.open(t, nil)
	const user = "user:u"
	p := s.Partition(user)
	a := x.own(t, s, "a", p)
	a.next()
	now := uint64(s.NowMs())
	must(t, x.Client.ZAdd(ctx, Key(p, "kicks"), redis.Z{Score: float64(now - 3_700_000), Member: "old"}, redis.Z{Score: float64(now), Member: "odd"}).Err())
	many := make([]*store.Append, 1100)
	for i := range many {
		many[i] = &store.Append{Partition: p, Kick: &wire.Kick{User: "u", Conn: fmt.Sprint("c", i), At: now + uint64(i)}}
	}
	must(t, a.lane.AppendAndRoute(ctx, many, nil))
	all, err := s.Kicks(ctx, []int{p})
	must(t, err)
	want(t, "kept", len(all), 1000)
	for _, k := range all {
		if k.At < now+100 {
			t.Fatalf("a kick at %d is kept, and a later one was dropped", k.At-now)
		}
	}

	must(t, x.Client.Set(ctx, Key(p, "kicks"), "no set", 0).Err())
	a.next()
	kick := &store.Append{Partition: p, Kick: &wire.Kick{User: "u", For: time.Minute, At: now}}
	event := appendsOf(s, user, wire.ID{}, id(1, 1))[0]
	must(t, a.lane.AppendAndRoute(ctx, []*store.Append{kick, event}, nil))
	var bad *store.BadKey
	if !errors.As(kick.Err, &bad) || event.Err != nil {
		t.Fatalf("a kick that cannot be kept: %v, the event beside it: %v", kick.Err, event.Err)
	}
	_, out, err := s.Barred(ctx, "u")
	must(t, err)
	want(t, "kept out all the same", out, true)
	all, err = s.Kicks(ctx, []int{p})
	must(t, err)
	want(t, "kicks of a key of another type", len(all), 0)
	must(t, x.Client.LPush(ctx, Key(s.Partition("user:w"), "barred:user:w"), "no string").Err())
	if _, _, err := s.Barred(ctx, "w"); err == nil {
		t.Fatal("a key of another type says that the user is not kept out")
	}

	// A deposed owner keeps nobody out.
	a.next()
	must(t, x.Client.Incr(ctx, Key(p, "epoch")).Err())
	late := &store.Append{Partition: p, Kick: &wire.Kick{User: "late", For: time.Minute, At: now}}
	wantError(t, "a kick of a deposed owner", a.lane.AppendAndRoute(ctx, []*store.Append{late}, nil), store.ErrFenced)
	want(t, "users kept out", x.Client.Exists(ctx, Key(p, "barred:user:late")).Val(), 0)
}

// connections: those of a user, with what their gateways say of them.
func (x *suite) connections(t *testing.T) {
	ctx, s := t.Context(), x.open(t, nil)
	const user = "user:u"
	p, now := s.Partition(user), s.NowMs()
	list := func() []store.Connection {
		t.Helper()
		all, err := s.Connections(ctx, "u")
		must(t, err)
		return all
	}
	want(t, "connections of nobody", len(list()), 0)
	both := []store.Session{{Target: user, Field: "b"}, {Target: "all", Field: "g"}}
	_, err := s.Register(ctx, "g", now+60_000, both, "1 ws phone", "")
	must(t, err)
	_, err = s.Register(ctx, "h", now+60_000, []store.Session{{Target: user, Field: "a"}})
	must(t, err)
	_, err = s.Register(ctx, "g", now-1, []store.Session{{Target: user, Field: "over"}}, "1 ws")
	must(t, err)
	want(t, "connections", list(), []store.Connection{{ID: "a", Gateway: "h"}, {ID: "b", Gateway: "g", About: "1 ws phone"}})
	about := Key(p, "about:"+user)
	if ttl := x.Client.PTTL(ctx, about).Val(); ttl <= 0 || ttl > s.Config().SessionTTL {
		t.Fatalf("what is known of connections lives for %v", ttl)
	}
	_, err = s.Sweep(ctx, []string{user})
	must(t, err)
	must(t, s.Unregister(ctx, "h", []store.Unregistration{{Session: store.Session{Target: user, Field: "b"}, Expires: now + 60_000}})) // not its own
	want(t, "known after a sweep", x.Client.HGetAll(ctx, about).Val(), map[string]string{"b": "1 ws phone"})
	must(t, s.Unregister(ctx, "g", []store.Unregistration{{Session: both[0], Expires: now + 60_000}}))
	want(t, "known after the end", x.Client.Exists(ctx, about).Val(), 0)

	must(t, x.Client.Set(ctx, about, "no hash", 0).Err())
	_, err = s.Register(ctx, "g", now+60_000, both, "1 ws", "")
	must(t, err)
	must(t, s.Unregister(ctx, "g", []store.Unregistration{{Session: both[0], Expires: now + 60_000}}))
	want(t, "fields", x.Client.HKeys(ctx, Key(p, "session:"+user)).Val(), []string{"a"})
}
