package inproc_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// kick asks for one, by the intake.
func (r *rig) kick(user string, fields ...string) {
	r.t.Helper()
	values := append([]string{"to", "user:" + user, "control", "kick"}, fields...)
	if err := r.rdb.XAdd(ctx, &redis.XAddArgs{Stream: r.intake(), Values: values}).Err(); err != nil {
		r.t.Fatal(err)
	}
}

func (c *client) mustClose(limit time.Duration, code int) {
	c.t.Helper()
	if got := c.waitClose(limit); got != code {
		c.t.Fatalf("%s: closed with %d, want %d", c.name, got, code)
	}
}

// device connects with a device's name.
func device(name string) dialOption { return func(d *dialing) { d.query.Set("device", name) } }

// TestKick ends the connections of a user that are meant, on all gateways, behind the events that were added before, and
// nobody who comes later, however often it is looked for.
func TestKick(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	g1, g2, _, _ := r.pair()
	phone1, phone2 := join(t, g1, "alice", device("phone")), join(t, g2, "alice", device("phone"))
	tablet, other := join(t, g1, "alice", device("tablet")), join(t, g2, "bob", device("phone"))
	r.add("intake", "user:alice", 0, 5)
	r.kick("alice", "device", "phone", "reason", "lost")
	r.add("intake", "user:alice", 5, 1)
	for _, c := range []*client{phone1, phone2} {
		c.mustClose(patience, 4503)
		if text := c.ended().Error(); !strings.Contains(text, "lost") {
			t.Errorf("the reason is not told: %s", text)
		}
		n := events(c.everything(), "user:alice")
		if n < 5 {
			t.Errorf("%d of 5 events came before the end", n)
		}
		c.check("user:alice", 0, n)
	}
	tablet.mustHave(patience, "user:alice", 0, 6)
	if n := r.rdb.XLen(ctx, r.key("user:alice", "history:user:alice")).Val(); n != 6 {
		t.Errorf("the history has %d entries, want the 6 events", n)
	}

	begin := time.Now()
	r.kick("alice", "conn", tablet.wait("welcome", func(f frame) bool { return f.Type == "welcome" }).Conn)
	tablet.mustClose(patience, 4503)
	t.Logf("ended after %v", time.Since(begin).Round(time.Millisecond))

	// Who comes back is not meant, also when the gateway looks for what it may have lost. (It knows Redis's clock only so well.)
	eventually(t, patience, "a later time", func() error {
		if now, err := r.rdb.Time(ctx).Result(); err != nil || now.Sub(begin) < 500*time.Millisecond {
			return fmt.Errorf("it is %v, %w", now, err)
		}
		return nil
	})
	again := join(t, g1, "alice", device("phone"))
	before := g1.metric("sluice_gateway_rereads_total")
	if err := r.rdb.Do(ctx, "CLIENT", "KILL", "TYPE", "pubsub").Err(); err != nil {
		t.Fatal(err)
	}
	eventually(t, patience, "the gateway looks for losses", func() error {
		if n := g1.metric("sluice_gateway_rereads_total") - before; n < 16 {
			return fmt.Errorf("%v rereads", n)
		}
		return nil
	})
	r.kick("nobody") // what was looked for has been done when this one's partition has
	r.add("intake", "user:alice", 6, 1)
	again.mustHave(patience, "user:alice", 6, 7)
	r.add("intake", "user:bob", 0, 1)
	other.mustHave(patience, "user:bob", 0, 1)
	r.kick("bob")
	other.mustClose(patience, 4503)
	if n := r.rdb.XLen(ctx, r.cfg.Prefix+"dead").Val(); n != 0 {
		t.Errorf("%d dead letters", n)
	}
}

// TestKickFarAhead: a kick whose id is far ahead, as all are behind such a one, does not mean who comes back, also when the gateway looks
// for what it may have lost.
func TestKickFarAhead(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	g := r.gateway()
	r.worker()
	c := join(t, g, "alice")
	ahead := time.Now().Add(24 * time.Hour).UnixMilli()
	kick := &redis.XAddArgs{Stream: r.key("user:alice", "events"), ID: fmt.Sprint(ahead, "-0"), Values: []any{"to", "user:alice", "control", "kick"}}
	if err := r.rdb.XAdd(ctx, kick).Err(); err != nil {
		t.Fatal(err)
	}
	c.mustClose(patience, 4503)
	kept := r.rdb.ZRangeWithScores(ctx, r.key("user:alice", "kicks"), 0, -1).Val()
	now := r.rdb.Time(ctx).Val()
	if len(kept) != 1 || int64(kept[0].Score) > now.UnixMilli() {
		t.Fatalf("at %d these kicks are kept: %v", now.UnixMilli(), kept)
	}
	time.Sleep(500 * time.Millisecond) // it knows Redis's clock only so well
	again := join(t, g, "alice")
	before := g.metric("sluice_gateway_rereads_total")
	if err := r.rdb.Do(ctx, "CLIENT", "KILL", "TYPE", "pubsub").Err(); err != nil {
		t.Fatal(err)
	}
	eventually(t, patience, "the gateway looks for losses", func() error {
		if n := g.metric("sluice_gateway_rereads_total") - before; n < 16 {
			return fmt.Errorf("%v rereads", n)
		}
		return nil
	})
	r.add("direct", "user:alice", 0, 1)
	again.mustHave(patience, "user:alice", 0, 1)
	if err := again.ended(); err != nil {
		t.Errorf("who came back was ended: %v", err)
	}
}

// TestKickPushLost: the message with the kick is lost on its way to the gateway.
func TestKickPushLost(t *testing.T) {
	t.Parallel()
	r := newRig(t, onePartition)
	g := r.gateway()
	r.worker()
	c := join(t, g, "alice")
	r.add("direct", "user:alice", 0, 1)
	c.mustHave(patience, "user:alice", 0, 1)
	lost := once(isBatch)
	g.via.swallowPush(lost)
	r.kick("alice")
	c.mustClose(patience, 4503)
	if lost([]string{"", "", "B"}) {
		t.Error("no message was lost")
	}
}

// TestKeptOut: a kick that says for how long keeps the user out on all gateways, others not; and who cannot be asked
// about is not let in.
func TestKeptOut(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	g1, g2, _, _ := r.pair()
	c := join(t, g1, "alice")
	r.kick("alice", "for", "3600")
	c.mustClose(patience, 4503)
	for _, g := range []*gatewayProcess{g1, g2} {
		for range 3 {
			back := dial(t, g, "alice")
			back.mustClose(patience, 4503)
			if n := len(back.everything()); n > 0 {
				t.Errorf("kept out, and got %d frames", n)
			}
		}
		join(t, g, "bob")
	}
	r.kick("alice", "for", "1") // the last one counts
	eventually(t, patience, "the user may come back", func() error {
		if back := dial(t, g2, "alice"); !back.letIn() {
			return fmt.Errorf("still kept out")
		}
		return nil
	})

	if err := r.rdb.LPush(ctx, r.key("user:carol", "barred:user:carol"), "no string").Err(); err != nil {
		t.Fatal(err)
	}
	dial(t, g1, "carol").mustClose(patience, 1013)
	join(t, g1, "dave")
}

// letIn waits for the first frame, or for the end.
func (c *client) letIn() (in bool) {
	c.t.Helper()
	eventually(c.t, patience, "welcome or the end", func() error {
		if in = len(c.everything()) > 0; !in && c.ended() == nil {
			return fmt.Errorf("neither")
		}
		return nil
	})
	return in
}
