package inproc_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"sluice/gateway"
)

// TestPositionIsWhereItStands: what `subscribed` says is a position from which nothing is
// missing and nothing comes twice, whatever the client asked for.
func TestPositionIsWhereItStands(t *testing.T) {
	t.Parallel()
	r := newRig(t, onePartition)
	g := r.gateway()
	r.worker()
	const target = "topic:x"
	live := join(t, g, "live", topics("x"))
	r.add("direct", target, 0, 5)
	live.mustHave(patience, target, 0, 5)
	had := live.all(target)
	for _, tc := range []struct {
		after    any
		position string
		first    int
	}{{nil, had[5].ID, 5}, {"earliest", "0", 0}, {"0", "0", 0}, {had[2].ID, had[2].ID, 2}, {had[5].ID, had[5].ID, 5}} {
		c := join(t, g, "alice")
		c.send(msg{"type": "subscribe", "ref": "s", "to": target, "after": tc.after})
		f := c.answer("s")
		c.kill() // before it has seen any event
		if f.Position != tc.position || !f.Recovered {
			t.Errorf("after %v: %+v, want position %s", tc.after, f, tc.position)
		}
		back := dial(t, g, "alice", resuming("alice", map[string]string{target: f.Position}))
		back.waitSubscribed(target)
		back.waitEvents(patience, target, 5-tc.first)
		back.inOrder(target, tc.first, 5)
		back.leave()
	}
}

// TestPositionOfALaggard: a client that is subscribed already, and behind, is told where
// it stands, not where the history ends.
func TestPositionOfALaggard(t *testing.T) {
	t.Parallel()
	r := newRig(t, onePartition)
	g := r.gateway()
	r.worker()
	const target = "topic:x"
	c := join(t, g, "alice", topics("x", "noise"), narrow)
	c.pause()
	pad := strings.Repeat("x", 4000)
	large := func(topic string, n int) {
		pipe := r.rdb.Pipeline()
		for i := range n {
			r.entry(pipe, "direct", topic, fmt.Sprintf(`{"n":%d,"pad":"%s"}`, i, pad))
		}
		if _, err := pipe.Exec(ctx); err != nil {
			t.Fatal(err)
		}
	}
	large("topic:noise", 200)
	eventually(t, patience, "lags", func() error {
		if g.metric("sluice_gateway_lagging_total") == 0 {
			return fmt.Errorf("no")
		}
		return nil
	})
	large(target, 3)
	r.stored(target, 3)
	c.send(msg{"type": "subscribe", "ref": "again", "to": target})
	c.resume()
	f := c.answer("again")
	c.waitEvents(patience, target, 3)
	last := "0"
	for _, g := range c.all(target) {
		if g.Type == "subscribed" && g.Ref == "again" {
			break
		}
		if g.Type == "event" {
			last = g.ID
		}
	}
	if f.Position != last {
		t.Errorf("position %s, and up to then it had %s", f.Position, last)
	}
}

// TestFailedMove: a subscription that cannot be moved, since Redis does not answer, goes
// on where it was, the client's own user included.
func TestFailedMove(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	g := r.gateway()
	r.worker()
	c := join(t, g, "alice", topics("x"))
	targets := []string{"topic:x", "user:alice"}
	for _, target := range targets {
		r.add("direct", target, 0, 1)
		c.mustHave(patience, target, 0, 1)
	}
	g.via.freeze()
	for _, target := range targets {
		c.send(msg{"type": "subscribe", "ref": target, "to": target, "after": "0"})
		if f := c.answer(target); f.Type != "error" || f.Code != "unavailable" {
			t.Errorf("%s: %+v", target, f)
		}
	}
	g.via.thaw()
	eventually(t, patience, "ready", func() error { return g.ready() })
	for _, target := range targets {
		r.add("direct", target, 1, 3)
		c.mustHave(patience, target, 0, 4)
	}
	for _, target := range targets { // and it can be moved again
		c.send(msg{"type": "subscribe", "ref": "again " + target, "to": target, "after": "0"})
		if f := c.answer("again " + target); f.Type != "subscribed" || f.Position != "0" {
			t.Errorf("%s: %+v", target, f)
		}
		c.waitEvents(patience, target, 8)
	}
}

// TestBareIDInTheMiddle: a client that keeps one id for all its topics loses its link in
// the middle of what it missed, at each event, and comes back with the id that it had last.
func TestBareIDInTheMiddle(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	g := r.gateway()
	r.worker()
	targets := []string{r.targetOf(1, 0), r.targetOf(2, 0), r.targetOf(3, 0)}
	watch := join(t, g, "watch", topics(slices.Clone(targets)...))
	begin := time.Now().Add(-5 * time.Minute)
	at := func(i int) time.Time { return begin.Add(time.Duration(i) * 5 * time.Second) }
	const n = 36
	for i := range n { // the first topic has two runs, the others are between and after it
		target := targets[[]int{0, 0, 1, 1, 1, 2, 0, 2, 1}[i%9]]
		if err := r.rdb.XAdd(ctx, &redis.XAddArgs{Stream: r.key(target, "events"), ID: fmt.Sprint(at(i).UnixMilli(), "-*"), Values: []any{"to", target, "data", i}}).Err(); err != nil {
			t.Fatal(err)
		}
	}
	seen := func(c *client) (ids []string, got map[int]bool) {
		got = make(map[int]bool)
		for _, f := range c.everything() {
			if f.Type == "event" {
				ids, got[number(f)] = append(ids, f.ID), true
			}
		}
		return ids, got
	}
	eventually(t, patience, "all events", func() error {
		if _, got := seen(watch); len(got) != n {
			return fmt.Errorf("%d", len(got))
		}
		return nil
	})
	bare := fmt.Sprint(begin.UnixMilli()-1, "-0")
	c := dial(t, g, "alice", topics(slices.Clone(targets)...), lastEventID(bare))
	eventually(t, patience, "all events", func() error {
		if _, got := seen(c); len(got) != n {
			return fmt.Errorf("%d", len(got))
		}
		return nil
	})
	ids, _ := seen(c)
	for cut := 1; cut < len(ids); cut += 5 {
		back := dial(t, g, "alice", topics(slices.Clone(targets)...), lastEventID(ids[cut-1]))
		for _, target := range targets {
			back.waitSubscribed(target)
		}
		had := make(map[int]bool)
		for _, f := range c.everything() {
			if f.Type == "event" {
				if had[number(f)] = true; f.ID == ids[cut-1] {
					break
				}
			}
		}
		eventually(t, patience, "the rest", func() error {
			_, got := seen(back)
			for i := range had {
				got[i] = true
			}
			if len(got) != n {
				return fmt.Errorf("after a cut behind event %d it has %d of %d", cut, len(got), n)
			}
			return nil
		})
		back.leave()
	}
}

// TestResumeOfMany: a client with as many targets as it may have comes back while Redis is
// far away: as long as there is progress it goes on.
func TestResumeOfMany(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	g := r.gateway()
	r.worker()
	positions := map[string]string{}
	for i := range 998 {
		positions[fmt.Sprintf("topic:t%d", i)] = "0"
	}
	r.add("direct", "topic:t5", 0, 3)
	r.stored("topic:t5", 3)
	g.via.change(weather{delay: 50 * time.Millisecond})
	c := dial(t, g, "alice", resuming("alice", positions))
	c.until(time.Minute, "1,000 subscriptions", func(frames []frame) bool {
		n := 0
		for _, f := range frames {
			if f.Type == "subscribed" {
				n++
			}
		}
		return n == 1000
	})
	c.mustHave(patience, "topic:t5", 0, 3)
}

// TestSlowReaderOfMany: a client that reads all the time, but more slowly than it is given,
// is not closed while it comes back, and holds nobody else up.
func TestSlowReaderOfMany(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	g := r.gateway(func(c *gateway.Config) { c.PingInterval = 2 * time.Second })
	r.worker()
	const topicsN, eventsN = 200, 5
	pad := strings.Repeat("x", 1000)
	cursor := make([]string, topicsN)
	for i := range topicsN {
		pipe := r.rdb.Pipeline()
		for n := range eventsN {
			r.entry(pipe, "direct", fmt.Sprintf("topic:t%03d", i), fmt.Sprintf(`{"n":%d,"pad":"%s"}`, n, pad))
		}
		if _, err := pipe.Exec(ctx); err != nil {
			t.Fatal(err)
		}
		cursor[i] = fmt.Sprintf("topic:t%03d=0", i)
	}
	r.stored(fmt.Sprintf("topic:t%03d", topicsN-1), eventsN)
	slow := dial(t, g, "alice", lastEventID(strings.Join(cursor, ",")), narrow)
	slow.pace(150)
	join(t, g, "bob").leave()
	for i := range topicsN {
		slow.mustHave(time.Minute, fmt.Sprintf("topic:t%03d", i), 0, eventsN)
	}
}
