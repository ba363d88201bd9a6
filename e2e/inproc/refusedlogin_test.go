package inproc_test

import (
	"fmt"
	"testing"
)

// TestLoginRefused changes the password of Redis and cuts all links, so that every new
// one is refused before Redis has seen a command. Nothing counts as done meanwhile: who
// publishes is told, and who comes back is told no gap but waits, or is sent away. When
// the password is right again, everything goes on by itself.
func TestLoginRefused(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	login := func(rule string) {
		t.Helper()
		if err := r.rdb.Do(ctx, "ACL", "SETUSER", "sluice", "on", "allkeys", "allchannels", "allcommands", "resetpass", rule).Err(); err != nil {
			t.Fatal(err)
		}
	}
	login(">old")
	r.bare, r.cfg.RedisURL = true, "redis://sluice:old@"+r.redis.addr
	g := r.gateway()
	r.worker()
	c := join(t, g, "alice", topics("room"))
	r.add("direct", "topic:room", 0, 3)
	c.mustHave(patience, "topic:room", 0, 3)
	first := c.all("topic:room")[1]
	if first.Type != "event" {
		t.Fatalf("want the first event: %+v", first)
	}

	login(">new")
	cut := func() {
		t.Helper()
		if err := r.rdb.Do(ctx, "CLIENT", "KILL", "USER", "sluice").Err(); err != nil {
			t.Fatal(err)
		}
	}
	cut()
	for n := range 3 {
		ref := fmt.Sprint("refused-", n)
		c.send(msg{"type": "publish", "ref": ref, "to": "topic:room", "data": 3, "id": "key"})
		if f := c.answer(ref); f.Type != "error" || f.Code != "unavailable" {
			t.Errorf("published while Redis refuses the login: %+v, want unavailable", f)
		}
		cut()
	}
	back := dial(t, g, "bob", resuming("bob", map[string]string{"topic:room": first.ID}))
	eventually(t, patience, "the gateway says that it is not ready", func() error {
		if g.ready() == nil {
			return fmt.Errorf("it is ready")
		}
		return nil
	})
	login(">old")
	eventually(t, patience, "the gateway is ready", g.ready)
	eventually(t, patience, "bob is back, or sent away to come back", func() error {
		for _, f := range back.everything() {
			if f.Type == "subscribed" && f.To == "topic:room" {
				return nil
			}
		}
		if back.ended() != nil {
			back = dial(t, g, "bob", resuming("bob", map[string]string{"topic:room": first.ID}))
		}
		return fmt.Errorf("%+v", back.everything())
	})
	for _, f := range back.everything() {
		if f.Type == "gap" {
			t.Errorf("told of a gap in a history that was there all the time: %+v", f)
		}
	}
	back.waitEvents(patience, "topic:room", 2)
	c.send(msg{"type": "publish", "ref": "again", "to": "topic:room", "data": 3, "id": "key"})
	if f := c.answer("again"); f.Type != "published" || f.Duplicate {
		t.Errorf("published again: %+v", f)
	}
	c.mustHave(patience, "topic:room", 0, 4)
	r.noDead()
}
