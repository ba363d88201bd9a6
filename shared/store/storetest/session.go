package storetest

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"sluice/shared/store"
)

func (x *suite) sessions(t *testing.T) {
	ctx := t.Context()
	s := x.open(t, func(c *store.Config) { c.SessionTTL = 40 * time.Second })
	topic, user := targetIn(0, 0), "user:u"
	want(t, "field of a user's session", store.SessionField(user, "conn", "g"), "conn")
	want(t, "field of a topic's session", store.SessionField(topic, "conn", "g"), "g")
	want(t, "field of all's session", store.SessionField("all", "conn", "g"), "g")

	both := []store.Session{{Target: topic, Field: "g"}, {Target: user, Field: "c1"}}
	added, err := s.Register(ctx, "g", 1700, both)
	must(t, err)
	want(t, "added", added, []bool{true, true})
	added, err = s.Register(ctx, "g", 1800, append(both, store.Session{Target: user, Field: "c2"}))
	must(t, err)
	want(t, "added by a repeat", added, []bool{false, false, true})
	hash := Key(s.Partition(user), "session:"+user)
	want(t, "hash", x.Client.HGetAll(ctx, hash).Val(), map[string]string{"c1": "g 1800", "c2": "g 1800"})
	if ttl := x.Client.PTTL(ctx, hash).Val(); ttl <= 35*time.Second || ttl > 40*time.Second {
		t.Fatalf("a session hash lives for %v, want 40 s", ttl)
	}
	added, err = s.Register(ctx, "g", 1, nil)
	must(t, err)
	want(t, "added of nothing", len(added), 0)
}

// unregister: a removal that comes late does not hit a newer registration.
func (x *suite) unregister(t *testing.T) {
	ctx, s := t.Context(), x.open(t, nil)
	topic := targetIn(0, 0)
	hash := func() []string {
		fields := x.Client.HKeys(ctx, Key(0, "session:"+topic)).Val()
		slices.Sort(fields)
		return fields
	}
	register := func(server, field string, expires int64) {
		t.Helper()
		_, err := s.Register(ctx, server, expires, []store.Session{{Target: topic, Field: field}})
		must(t, err)
	}
	gone := func(server string, field string, expires int64) {
		t.Helper()
		u := store.Unregistration{Session: store.Session{Target: topic, Field: field}, Expires: expires}
		must(t, s.Unregister(ctx, server, []store.Unregistration{u}))
	}
	register("g1", "a", 100)
	register("g1", "b", 100)
	register("g2", "c", 100)
	gone("g1", "none", 100)
	gone("g2", "a", 100) // another gateway's
	gone("g1", "c", 100)
	want(t, "fields", hash(), []string{"a", "b", "c"})
	register("g1", "a", 200)
	gone("g1", "a", 100) // late
	want(t, "fields after a late removal", hash(), []string{"a", "b", "c"})
	gone("g1", "a", 1000) // the reply to its last registration was lost
	gone("g1", "a", 1000)
	want(t, "fields", hash(), []string{"b", "c"})
	must(t, s.Unregister(ctx, "g1", nil))
	must(t, s.Unregister(ctx, "g1", []store.Unregistration{
		{Session: store.Session{Target: topic, Field: "b"}, Expires: 100},
		{Session: store.Session{Target: "user:other", Field: "b"}, Expires: 100},
	}))
	want(t, "fields", hash(), []string{"c"})
}

func (x *suite) sweep(t *testing.T) {
	ctx, s := t.Context(), x.open(t, nil)
	topic, other := targetIn(0, 0), targetIn(1, 0)
	now := s.NowMs()
	for i := range 300 {
		expires := now - 1
		if i%3 == 0 {
			expires = now + time.Hour.Milliseconds()
		}
		_, err := s.Register(ctx, "g", expires, []store.Session{{Target: topic, Field: fmt.Sprint(i)}})
		must(t, err)
	}
	_, err := s.Register(ctx, "g", now-1, []store.Session{{Target: other, Field: "x"}})
	must(t, err)
	must(t, x.Client.HSet(ctx, Key(0, "session:"+topic), "odd", "no time", "empty", "").Err())
	removed, err := s.Sweep(ctx, []string{topic, other, targetIn(2, 0)})
	must(t, err)
	want(t, "removed", removed, 203)
	want(t, "left", x.Client.HLen(ctx, Key(0, "session:"+topic)).Val(), 100)
	removed, err = s.Sweep(ctx, []string{topic})
	must(t, err)
	want(t, "removed by a repeat", removed, 0)
	removed, err = s.Sweep(ctx, nil)
	must(t, err)
	want(t, "removed of nothing", removed, 0)
}

func (x *suite) members(t *testing.T) {
	ctx, s := t.Context(), x.open(t, nil)
	announce := func(kind store.Kind, id string, ttl time.Duration) ([]string, bool) {
		t.Helper()
		live, fresh, err := s.Announce(ctx, kind, id, ttl)
		must(t, err)
		slices.Sort(live)
		return live, fresh
	}
	live, fresh := announce(store.Workers, "w1", time.Minute)
	want(t, "live", live, []string{"w1"})
	want(t, "fresh", fresh, true)
	live, fresh = announce(store.Workers, "w1", time.Minute)
	want(t, "live", live, []string{"w1"})
	want(t, "fresh again", fresh, false)
	live, _ = announce(store.Workers, "w2", 100*time.Millisecond)
	want(t, "live", live, []string{"w1", "w2"})
	live, _ = announce(store.Servers, "g1", time.Minute)
	want(t, "live of another kind", live, []string{"g1"})
	want(t, "as it is documented", x.Client.ZRange(ctx, "sluice:workers", 0, -1).Val(), []string{"w2", "w1"})

	// Who is silent for too long is forgotten, by readers at once.
	Eventually(t, func() error {
		live, err := s.Live(ctx, store.Workers)
		if err == nil && len(live) != 1 {
			err = fmt.Errorf("live are %v", live)
		}
		return err
	})
	Eventually(t, func() error { // its clock is set anew each time, and may be a little earlier than the one before
		if live, _ := announce(store.Workers, "w1", time.Minute); len(live) != 1 {
			return fmt.Errorf("live are %v", live)
		}
		return nil
	})
	_, fresh = announce(store.Workers, "w2", time.Minute)
	want(t, "fresh after silence", fresh, true)

	must(t, s.Leave(store.Workers, "w2"))
	must(t, s.Leave(store.Workers, "w2"))
	live, err := s.Live(ctx, store.Workers)
	must(t, err)
	want(t, "live after leaving", live, []string{"w1"})

	x.each(t, "FLUSHALL")
	_, fresh = announce(store.Workers, "w1", time.Minute)
	want(t, "fresh after all was lost", fresh, true)
	want(t, "meta after all was lost", x.Client.HGetAll(ctx, "sluice:meta").Val(), metaHash)
}
