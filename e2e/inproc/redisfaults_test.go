package inproc_test

import (
	"fmt"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"sluice/gateway"
)

// TestFlushAll empties Redis under everything that runs. Clients that had events are
// told of a gap, and later events flow; nothing is started again.
func TestFlushAll(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	g1, g2, w1, w2 := r.pair()
	sources := fourSources(r)
	clients := watchers(t, sources, g1, g2)
	idle := join(t, g1, "idle", topics("quiet"))
	p := r.produce(300, 0, sources...)
	flows(p, clients)
	position := clients[0].last(sources[1].target)
	for range 2 {
		before := make([]int, len(clients))
		for i, c := range clients {
			before[i] = gaps(c)
		}
		if err := r.rdb.FlushAll(ctx).Err(); err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		for i, c := range clients {
			eventually(t, 5*time.Second, c.name+" is told of a gap for each target", func() error {
				if n := gaps(c) - before[i]; n < len(sources) {
					return fmt.Errorf("%d gaps", n)
				}
				return nil
			})
		}
		t.Logf("all clients were told of a gap for all targets within %v", time.Since(begin).Round(time.Millisecond))
		for i, s := range sources { // later events flow
			n := p.sent(i) + 5
			for _, c := range clients {
				c.until(patience, "later events of "+s.target, func(frames []frame) bool {
					for j := len(frames) - 1; j >= 0; j-- {
						if frames[j].To == s.target && frames[j].Type == "event" {
							return number(frames[j]) >= n
						}
					}
					return false
				})
			}
		}
		r.waitOwners(5*time.Second, map[string]int{w1.name: 8, w2.name: 8})
	}
	counts := p.finish()
	for _, c := range clients {
		for i, s := range sources {
			eventually(t, patience, c.name+" has the last event", func() error {
				told, last, err := followGaps(c.all(s.target), s.target)
				if err == nil && (last != counts[i]-1 || told != 2) {
					err = fmt.Errorf("%s: the last of %d events is %d, after %d gaps, want 2", s.target, counts[i], last, told)
				}
				return err
			})
		}
		for _, f := range c.all(sources[0].target) {
			if f.Type == "gap" && f.Reason != "unknown" {
				t.Errorf("%s: gap with reason %s, want unknown", c.name, f.Reason)
			}
		}
	}
	// Whoever comes back with a position from before is told.
	back := dial(t, g2, "back", resuming("back", map[string]string{sources[1].target: position}))
	if f := back.waitSubscribed(sources[1].target); f.Recovered {
		t.Errorf("resumed from before: %+v, want recovered false", f)
	}
	if f := back.all(sources[1].target)[0]; f.Type != "gap" || f.Reason != "unknown" || f.After != position {
		t.Errorf("resumed from before: %+v, want gap, unknown", f)
	}
	// Whoever had nothing has lost nothing.
	r.add("direct", "topic:quiet", 0, 3)
	idle.mustHave(patience, "topic:quiet", 0, 3)
	r.noDead()
}

func gaps(c *client) (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, f := range c.frames {
		if f.Type == "gap" {
			n++
		}
	}
	return n
}

// TestRedisRestart kills Redis and starts it again with its append-only file: what
// was acknowledged comes, once and in order, on the same connections.
func TestRedisRestart(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	g1, g2, _, _ := r.pair()
	sources := fourSources(r)
	clients := watchers(t, sources, g1, g2)
	p := r.produceKeyed(150, sources...)
	for range 3 {
		flows(p, clients)
		r.redis.stop()
		if err := r.redis.start(t); err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		flows(p, clients)
		t.Logf("events of all targets came %v after Redis was back", time.Since(begin).Round(time.Millisecond))
	}
	flows(p, clients)
	p.settle(patience, clients...)
	r.noDead()
	for _, c := range clients {
		if err := c.ended(); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// lasts waits until something that began then has gone on for so long.
func lasts(t *testing.T, begin time.Time, d time.Duration, what string) {
	t.Helper()
	eventually(t, patience, what, func() error {
		if since := time.Since(begin); since < d {
			return fmt.Errorf("for %v", since)
		}
		return nil
	})
}

// TestRedisAway: Redis is not there for longer than leases and heartbeats live.
func TestRedisAway(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	g1, g2, w1, w2 := r.pair()
	sources := fourSources(r)
	clients := watchers(t, sources, g1, g2)
	p := r.produceKeyed(150, sources...)
	flows(p, clients)
	begin := time.Now()
	r.redis.stop()
	lasts(t, begin, 4*time.Second, "the gateways have been without Redis for a while")
	if err := r.redis.start(t); err != nil {
		t.Fatal(err)
	}
	r.waitOwners(5*time.Second, map[string]int{w1.name: 8, w2.name: 8})
	flows(p, clients)
	p.settle(patience, clients...)
	r.noDead()
}

// TestRedisRefusesWrites: Redis answers, and refuses every write for longer than leases live, as with a full disk (MISCONF) or
// without its replicas (NOREPLICAS).
func TestRedisRefusesWrites(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	g1, g2, _, _ := r.pair()
	sources := fourSources(r)
	clients := watchers(t, sources, g1, g2)
	p := r.produceKeyed(150, sources...)
	flows(p, clients)
	begin := time.Now()
	r.rdb.ConfigSet(ctx, "min-replicas-to-write", "1")
	lasts(t, begin, 4*time.Second, "Redis has refused writes for a while")
	late := dial(t, g1, "late", topics("late"))
	r.rdb.ConfigSet(ctx, "min-replicas-to-write", "0")
	begin = time.Now()
	flows(p, clients)
	t.Logf("events of all targets came %v after Redis took writes again", time.Since(begin).Round(time.Millisecond))
	late.waitSubscribed("topic:late")
	p.settle(patience, clients...)
	r.noDead()
	for _, c := range clients {
		if err := c.ended(); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		if n := gaps(c); n > 0 {
			t.Errorf("%s was told of %d gaps", c.name, n)
		}
	}
}

// TestOutOfMemory lets Redis refuse writes from the middle of a batch's appends on,
// and then takes the limit away: nothing is lost, or in another order, or a dead letter.
func TestOutOfMemory(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		at   func(flight) bool
		cmd  string
	}{
		{"append", isAppend, "XADD"},
		{"claim", isClaim, "SET"},
		{"exec", isAppend, "EXEC"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, onePartition)
			g1, g2 := r.gateway(), r.gateway()
			w := r.worker()
			r.waitOwners(patience, map[string]int{w.name: 1})
			sources := []source{{"direct", "topic:a"}, {"direct", "topic:b"}}
			clients := watchers(t, sources, g1, g2)
			n := 0 // of the command within the flight
			refuse := w.via.between(tc.at, func(_ int, c command) {
				if !c.is(tc.cmd) {
					return
				}
				switch n++; {
				case n == 2 || tc.cmd == "EXEC":
					r.rdb.ConfigSet(ctx, "maxmemory", "1")
				case n == 4:
					r.rdb.ConfigSet(ctx, "maxmemory", "0")
				}
			})
			pipe := r.rdb.TxPipeline()
			for i := range 10 {
				for _, s := range sources {
					r.entry(pipe, s.way, s.target, strconv.Itoa(i), "id", "key-"+strconv.Itoa(i))
				}
			}
			if _, err := pipe.Exec(ctx); err != nil {
				t.Fatal(err)
			}
			refuse.wait(t)
			r.rdb.ConfigSet(ctx, "maxmemory", "0")
			for _, c := range clients {
				for _, s := range sources {
					c.mustHave(patience, s.target, 0, 10)
				}
			}
			r.noDead()
		})
	}
}

// TestKeysDeleted takes keys away from under an installation that works.
func TestKeysDeleted(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		harm func(r *rig) error
	}{
		{"group", func(r *rig) error {
			groups, err := r.rdb.XInfoGroups(ctx, r.keyOf(0, "events")).Result()
			for _, g := range groups {
				err = r.rdb.XGroupDestroy(ctx, r.keyOf(0, "events"), g.Name).Err()
			}
			return err
		}},
		{"group of the intake", func(r *rig) error {
			groups, err := r.rdb.XInfoGroups(ctx, "sluice:events").Result()
			for _, g := range groups {
				err = r.rdb.XGroupDestroy(ctx, "sluice:events", g.Name).Err()
			}
			return err
		}},
		{"epoch", func(r *rig) error { return r.rdb.Del(ctx, r.keyOf(0, "epoch")).Err() }},
		{"epoch of the intake", func(r *rig) error { return r.rdb.Del(ctx, "sluice:{sluice:events}:epoch").Err() }},
		{"lease", func(r *rig) error { return r.rdb.Del(ctx, r.keyOf(0, "lease")).Err() }},
		{"lease of the intake", func(r *rig) error { return r.rdb.Del(ctx, "sluice:{sluice:events}:lease").Err() }},
		{"history", func(r *rig) error { return r.rdb.Del(ctx, r.keyOf(0, "history:topic:a")).Err() }},
		{"sessions", func(r *rig) error {
			return r.rdb.Del(ctx, r.keyOf(0, "session:topic:a"), r.keyOf(0, "session:topic:b")).Err()
		}},
		{"lists of the living", func(r *rig) error { return r.rdb.Del(ctx, "sluice:workers", "sluice:servers").Err() }},
		{"meta", func(r *rig) error { return r.rdb.Del(ctx, "sluice:meta").Err() }},
		{"scripts", func(r *rig) error { return r.rdb.ScriptFlush(ctx).Err() }},
		{"connections", func(r *rig) error { return r.rdb.Do(ctx, "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes").Err() }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, onePartition, func(c *config) { c.SessionTTL = 3 * time.Second })
			ping := func(c *gateway.Config) { c.PingInterval = time.Second }
			g1, g2 := r.gateway(ping), r.gateway(ping)
			r.worker()
			r.worker()
			sources := []source{{"direct", "topic:a"}, {"intake", "topic:b"}}
			clients := watchers(t, sources, g1, g2)
			p := r.produceKeyed(100, sources...)
			for range 3 {
				flows(p, clients)
				if err := tc.harm(r); err != nil {
					t.Fatal(err)
				}
			}
			flows(p, clients)
			p.settle(patience, clients...)
			r.noDead()
		})
	}
}

// TestStreamDeleted: a partition's stream, with everything in it delivered, is
// deleted. So is the intake.
func TestStreamDeleted(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	g1, g2, _, _ := r.pair()
	sources := fourSources(r)
	clients := watchers(t, sources, g1, g2)
	for round := range 3 {
		for _, s := range sources {
			r.add(s.way, s.target, 10*round, 10)
			for _, c := range clients {
				c.mustHave(patience, s.target, 0, 10*round+10)
			}
		}
		eventually(t, patience, "all is acknowledged", func() error { return pendingOf(r) })
		if err := r.rdb.Del(ctx, r.intake(), r.key(sources[1].target, "events"), r.key(sources[2].target, "events")).Err(); err != nil {
			t.Fatal(err)
		}
	}
	r.noDead()
}

// TestPendingTrimmed: entries that a worker has read disappear from the stream before
// it is done with them, and so does the worker. The next owner goes on.
func TestPendingTrimmed(t *testing.T) {
	t.Parallel()
	r := newRig(t, onePartition)
	g := r.gateway()
	w1 := r.worker()
	r.waitOwners(patience, map[string]int{w1.name: 1})
	c := join(t, g, "alice")
	r.add("direct", "user:alice", 0, 5)
	c.waitEvents(patience, "user:alice", 5)
	stalled := w1.via.on(freezeAt, isAppend)
	r.add("direct", "user:alice", 100, 5)
	stalled.wait(t)
	if err := r.rdb.XTrimMaxLen(ctx, r.keyOf(0, "events"), 0).Err(); err != nil {
		t.Fatal(err)
	}
	w1.crash()
	w2 := r.worker()
	r.waitOwners(5*time.Second, map[string]int{w2.name: 1})
	r.add("direct", "user:alice", 5, 5)
	c.mustHave(patience, "user:alice", 0, 10)
	r.noDead()
}

// TestFarFutureID: an entry with an explicit id far in the future. All later ones are
// above it; clients resume across it.
func TestFarFutureID(t *testing.T) {
	t.Parallel()
	for _, id := range []string{"99999999999999-7", "18446744073709551000-0", "18446744073709551615-5"} {
		t.Run(id, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, onePartition)
			g1, g2 := r.gateway(), r.gateway()
			r.worker()
			r.worker()
			sources := []source{{"direct", "topic:a"}, {"intake", "topic:b"}}
			clients := watchers(t, sources, g1, g2)
			n := 0
			add := func(way string) {
				t.Helper()
				for _, s := range sources {
					r.add(way, s.target, n, 10)
				}
				n += 10
				for _, c := range clients {
					for _, s := range sources {
						c.mustHave(patience, s.target, 0, n)
					}
				}
			}
			add("direct")
			before := clients[0].last("topic:a")
			for _, s := range []struct{ stream, target string }{{r.keyOf(0, "events"), "topic:a"}, {"sluice:events", "topic:b"}} {
				if err := r.rdb.XAdd(ctx, &redis.XAddArgs{Stream: s.stream, ID: id,
					Values: []string{"to", s.target, "data", strconv.Itoa(n)}}).Err(); err != nil {
					t.Fatal(err)
				}
			}
			n++
			for _, c := range clients {
				for _, s := range sources {
					c.mustHave(patience, s.target, 0, n)
				}
			}
			add("direct")
			add("intake")
			for _, position := range []string{before, clients[0].last("topic:a")} {
				back := dial(t, g2, "back", resuming("back", map[string]string{"topic:a": position}))
				if f := back.waitSubscribed("topic:a"); !f.Recovered {
					t.Errorf("resumed from %s: %+v, want recovered", position, f)
				}
				if position == before {
					back.mustHave(patience, "topic:a", 10, n)
				}
			}
			r.noDead()
		})
	}
}

// TestPoison: one target's history is no stream. Its events become dead letters, and
// the others of the same batch go on, also when its gateway reads histories again.
func TestPoison(t *testing.T) {
	t.Parallel()
	r := newRig(t, onePartition)
	g := r.gateway()
	r.worker()
	sources := []source{{"direct", "topic:a"}, {"direct", "topic:b"}}
	c := join(t, g, "alice", topics("a", "b", "bad"))
	if err := r.rdb.Set(ctx, r.keyOf(0, "history:topic:bad"), "x", 0).Err(); err != nil {
		t.Fatal(err)
	}
	batch := func(first int) {
		t.Helper()
		pipe := r.rdb.TxPipeline()
		for i := first; i < first+10; i++ {
			for _, target := range []string{"topic:a", "topic:bad", "topic:b"} {
				r.entry(pipe, "direct", target, strconv.Itoa(i))
			}
			pipe.XAdd(ctx, &redis.XAddArgs{Stream: r.keyOf(0, "events"), Values: []string{"what", "is this"}})
		}
		if _, err := pipe.Exec(ctx); err != nil {
			t.Fatal(err)
		}
		for _, s := range sources {
			c.mustHave(patience, s.target, 0, first+10)
		}
	}
	batch(0)
	batch(10)
	eventually(t, patience, "dead letters", func() error {
		if dead := r.dead(); dead["history_failed"] != 20 || dead["no_to"] != 20 || len(dead) != 2 {
			return fmt.Errorf("%v, want 20 history_failed and 20 no_to", dead)
		}
		return nil
	})
	// A loss that concerns all three.
	g.via.swallowPush(once(isBatch))
	batch(20)
	c2 := join(t, g, "bob", topics("bad", "a"))
	if err := r.rdb.Del(ctx, r.keyOf(0, "history:topic:bad")).Err(); err != nil {
		t.Fatal(err)
	}
	r.add("direct", "topic:bad", 0, 3)
	c2.mustHave(patience, "topic:bad", 0, 3)
	c.mustHave(patience, "topic:bad", 0, 3)
}

// TestForeignEntry: somebody wrote into a history by hand. The targets that are read
// with it are not harmed.
func TestForeignEntry(t *testing.T) {
	t.Parallel()
	r := newRig(t, onePartition)
	g := r.gateway()
	r.worker()
	c := join(t, g, "alice", topics("a", "bad"))
	for _, target := range []string{"topic:a", "topic:bad"} {
		r.add("direct", target, 0, 3)
		c.mustHave(patience, target, 0, 3)
	}
	if err := r.rdb.XAdd(ctx, &redis.XAddArgs{Stream: r.keyOf(0, "history:topic:bad"), Values: []string{"by", "hand"}}).Err(); err != nil {
		t.Fatal(err)
	}
	g.via.swallowPush(once(isBatch))
	r.add("direct", "topic:a", 3, 1)
	c.mustHave(mended, "topic:a", 0, 4)
	back := dial(t, g, "bob", resuming("bob", map[string]string{"topic:a": "0", "topic:bad": "0"}))
	back.mustHave(patience, "topic:a", 0, 4)
	back.waitSubscribed("topic:bad")
}

// TestSmallHistoryRepeated: a batch has more events of a target than its history
// keeps, and has to be done again. What was appended and trimmed since is no dead
// letter, and keeps its idempotency key.
func TestSmallHistoryRepeated(t *testing.T) {
	t.Parallel()
	for name, at := range map[string]func(flight) bool{"append": isAppend, "commit": isCommit} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, onePartition, func(c *config) { c.HistorySize = 5 })
			g := r.gateway()
			w := r.worker()
			r.waitOwners(patience, map[string]int{w.name: 1})
			c := join(t, g, "alice")
			r.add("direct", "user:alice", 0, 2)
			c.mustHave(patience, "user:alice", 0, 2)
			// The append's reply is lost, or the commit does not reach Redis at all.
			f := loseReply
			if name == "commit" {
				f = cutBefore
			}
			l := w.via.on(f, at)
			batch := func() {
				t.Helper()
				pipe := r.rdb.TxPipeline()
				for i := 2; i < 22; i++ {
					r.entry(pipe, "direct", "user:alice", strconv.Itoa(i), "id", "key-"+strconv.Itoa(i))
				}
				if _, err := pipe.Exec(ctx); err != nil {
					t.Fatal(err)
				}
			}
			batch()
			l.wait(t)
			eventually(t, patience, "the batch is done", func() error { return pendingOf(r) })
			batch() // duplicates, all of them
			r.add("direct", "user:alice", 22, 2)
			c.until(patience, "later events", func(frames []frame) bool {
				last := frames[len(frames)-1]
				return last.Type == "event" && number(last) == 23
			})
			told, last, err := followGaps(c.all("user:alice"), "user:alice")
			if err != nil || last != 23 || told > 1 {
				t.Errorf("%d gaps, last event %d, %v", told, last, err)
			}
			if n := w.metric("sluice_worker_duplicates_total"); n != 20 {
				t.Errorf("%v duplicates, want 20", n)
			}
			r.noDead()
		})
	}
}

// TestRedisFrozen: Redis stands still for longer than leases and time limits, and all
// links stay. What was sent to it meanwhile is executed when it moves again.
func TestRedisFrozen(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	g1, g2, w1, w2 := r.pair()
	sources := fourSources(r)
	clients := watchers(t, sources, g1, g2)
	p := r.produceKeyed(150, sources...)
	flows(p, clients)
	r.redis.signal(syscall.SIGSTOP)
	t.Cleanup(func() { r.redis.signal(syscall.SIGCONT) })
	eventually(t, patience, "everybody has given up at least once", func() error {
		for _, g := range []*gatewayProcess{g1, g2} {
			if err := g.ready(); err == nil {
				return fmt.Errorf("%s is ready", g.name)
			}
		}
		for _, w := range []*process{w1, w2} {
			if w.metric("sluice_worker_failures_total") == 0 {
				return fmt.Errorf("%s has not", w.name)
			}
		}
		return nil
	})
	r.redis.signal(syscall.SIGCONT)
	begin := time.Now()
	flows(p, clients)
	t.Logf("events of all targets came %v after Redis went on", time.Since(begin).Round(time.Millisecond))
	r.waitOwners(patience, map[string]int{w1.name: 8, w2.name: 8})
	flows(p, clients)
	p.settle(patience, clients...)
	r.noDead()
}

// TestPubSubBufferLimit: a gateway does not read its channel, and Redis cuts it off.
func TestPubSubBufferLimit(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(c *config) { c.HistorySize = 100_000 })
	g1, g2, _, _ := r.pair()
	if err := r.rdb.ConfigSet(ctx, "client-output-buffer-limit", "pubsub 64kb 32kb 1").Err(); err != nil {
		t.Fatal(err)
	}
	sources := []source{{"direct", "topic:big"}, {"direct", "topic:wide"}}
	clients := watchers(t, sources, g1, g2)
	p := r.produce(1000, 3000, sources...)
	flows(p, clients)
	before := g1.metric("sluice_gateway_subscriptions_total")
	g1.via.freezePush()
	eventually(t, patience, "the gateway subscribes again", func() error {
		if g1.metric("sluice_gateway_subscriptions_total") == before {
			return fmt.Errorf("it does not")
		}
		return nil
	})
	g1.via.thaw()
	p.finish()
	p.settle(patience, clients...)
}

// TestFarFutureThenLost: a target had an event with an id far in the future, and Redis
// lost everything. Later events have lower ids, and come all the same.
func TestFarFutureThenLost(t *testing.T) {
	t.Parallel()
	for _, lagging := range []bool{false, true} {
		t.Run(fmt.Sprintf("lagging=%v", lagging), func(t *testing.T) {
			t.Parallel()
			r := newRig(t, onePartition)
			g := r.gateway(smallQueue)
			r.worker()
			const target = "topic:a"
			c := join(t, g, "alice", topics("a"), narrow)
			if err := r.rdb.XAdd(ctx, &redis.XAddArgs{Stream: r.keyOf(0, "events"), ID: "99999999999999-0",
				Values: []string{"to", target, "data", "0"}}).Err(); err != nil {
				t.Fatal(err)
			}
			c.mustHave(patience, target, 0, 1)
			if lagging {
				c.pause()
				pad := strings.Repeat("x", 2000)
				for i := 1; g.metric("sluice_gateway_lagging_total") == 0; i++ {
					pipe := r.rdb.Pipeline()
					r.entry(pipe, "direct", target, fmt.Sprintf(`{"n":%d,"pad":"%s"}`, i, pad))
					if _, err := pipe.Exec(ctx); err != nil || i > 2000 {
						t.Fatalf("%d events, %v", i, err)
					}
				}
			}
			rereads := g.metric("sluice_gateway_rereads_total")
			if err := r.rdb.FlushAll(ctx).Err(); err != nil {
				t.Fatal(err)
			}
			eventually(t, patience, "the gateway has registered again and knows of the new term", func() error {
				if len(r.sessions(target)) == 0 || g.metric("sluice_gateway_rereads_total") == rereads {
					return fmt.Errorf("%d sessions", len(r.sessions(target)))
				}
				return nil
			})
			c.resume()
			c.wait("a gap", func(f frame) bool { return f.Type == "gap" && f.To == target })
			r.add("direct", target, 1_000_000, 3)
			c.until(patience, "later events", func(frames []frame) bool {
				last := frames[len(frames)-1]
				return last.Type == "event" && number(last) == 1_000_002
			})
		})
	}
}

// TestBadEntriesLeaveLittle: bad entries come for ever. What Redis keeps of them is
// bounded.
func TestBadEntriesLeaveLittle(t *testing.T) {
	t.Parallel()
	r := newRig(t, onePartition)
	r.worker()
	const n = 300
	pipe := r.rdb.Pipeline()
	for range n {
		pipe.XAdd(ctx, &redis.XAddArgs{Stream: r.keyOf(0, "events"), Values: []string{"what", "is this"}})
	}
	if _, err := pipe.Exec(ctx); err != nil {
		t.Fatal(err)
	}
	eventually(t, patience, "dead letters", func() error {
		if dead := r.dead()["no_to"]; dead != n {
			return fmt.Errorf("%d", dead)
		}
		return nil
	})
	keys := r.rdb.Keys(ctx, "*:mark:*").Val()
	longest := time.Duration(0)
	for _, k := range keys {
		longest = max(longest, r.rdb.TTL(ctx, k).Val())
	}
	// At a thousand a second, each of about 200 bytes, an hour is 700 MB.
	if len(keys) > n/2 && longest > time.Hour {
		t.Errorf("%d dead letters leave %d keys for up to %v; the stream of dead letters itself is bounded to 10,000", n, len(keys), longest)
	}
}
