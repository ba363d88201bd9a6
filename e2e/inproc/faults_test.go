package inproc_test

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"sluice/gateway"
	"sluice/gateway/auth"
)

// longestPause is the longest time for which a client got no event of one of the sources,
// from a moment on.
func longestPause(since time.Time, sources []source, clients ...*client) (longest time.Duration) {
	for _, c := range clients {
		c.mu.Lock()
		last := map[string]time.Time{}
		for _, s := range sources {
			last[s.target] = since
		}
		for i, f := range c.frames {
			if before, ours := last[f.To]; ours && f.Type == "event" && c.at[i].After(since) {
				longest = max(longest, c.at[i].Sub(before))
				last[f.To] = c.at[i]
			}
		}
		c.mu.Unlock()
	}
	return longest.Round(time.Millisecond)
}

// TestWorkerKilled kills a worker before each command of its work. Another one goes on
// within five seconds.
func TestWorkerKilled(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		at   func(flight) bool
		next func(command) bool // it dies just before it
	}{
		{"claim", isClaim, func(c command) bool { return c.is("SET") }},
		{"append", isAppend, func(c command) bool { return c.is("XADD") }},
		{"append, EXEC", isAppend, func(c command) bool { return c.is("EXEC") }},
		{"publish", isCommit, func(c command) bool { return c.is("PUBLISH") }},
		{"acknowledge", isCommit, func(c command) bool { return c.is("XACK") }},
		{"read", isCommit, func(c command) bool { return c.is("XREADGROUP") }},
		{"forward", isForward, func(command) bool { return true }},
		{"intake, acknowledge", isIntakeCommit, func(c command) bool { return c.is("XACK") }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			g := r.gateway()
			w1 := r.worker()
			r.waitOwners(patience, map[string]int{w1.name: 16})
			sources := fourSources(r)
			clients := watchers(t, sources, g)
			p := r.produceKeyed(100, sources...)
			flows(p, clients)
			w2 := r.worker()
			r.waitOwners(patience, map[string]int{w1.name: 8, w2.name: 8})
			var once sync.Once
			died := make(chan *process, 1)
			for _, w := range []*process{w1, w2} { // whoever comes to it first
				w.via.between(tc.at, func(_ int, c command) {
					if tc.next(c) {
						once.Do(func() {
							w.crash()
							died <- w
						})
					}
				})
			}
			dead, came := await(died, patience)
			if !came {
				t.Fatal("the command did not come")
			}
			begin := time.Now()
			eventually(t, 5*time.Second, "the other one owns everything", func() error { return r.without(dead) })
			took := time.Since(begin).Round(time.Millisecond)
			flows(p, clients)
			t.Logf("taken over after %v; clients saw a pause of %v", took, longestPause(begin, sources, clients...))
			p.settle(patience, clients...)
			r.noDead()
		})
	}
}

// TestWorkerStopsUnderLoad: the partitions of a worker that stops are another's within a
// second.
func TestWorkerStopsUnderLoad(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	g1, g2, w1, w2 := r.pair()
	sources := fourSources(r)
	clients := watchers(t, sources, g1, g2)
	p := r.produceKeyed(200, sources...)
	for _, w := range []*process{w1, w2} {
		flows(p, clients)
		begin := time.Now()
		w.cancel()
		eventually(t, time.Second, "others own everything", func() error { return r.without(w) })
		took := time.Since(begin).Round(time.Millisecond)
		flows(p, clients)
		t.Logf("taken over after %v; clients saw a pause of %v", took, longestPause(begin, sources, clients...))
		w.wait(patience)
		r.worker()
	}
	p.settle(patience, clients...)
	r.noDead()
}

// TestAllGatewaysKilled: all die at once, and others come. Clients that return get what
// they missed.
func TestAllGatewaysKilled(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	g1, g2, _, _ := r.pair()
	sources := fourSources(r)
	clients := watchers(t, sources, g1, g2)
	p := r.produceKeyed(100, sources...)
	flows(p, clients)
	g1.crash()
	g2.crash()
	next := make([]map[string]int, len(clients))
	positions := make([]map[string]string, len(clients))
	for i, c := range clients {
		c.kill()
		next[i], positions[i] = map[string]int{}, map[string]string{}
		for _, s := range sources {
			n, err := follow(c.all(s.target), s.target, 0)
			if err != nil {
				t.Error(err)
			}
			next[i][s.target], positions[i][s.target] = n, c.last(s.target)
		}
	}
	begin := time.Now()
	fresh := r.gateway()
	for i, c := range clients {
		user, _, _ := strings.Cut(c.name, "@")
		clients[i] = dial(t, fresh, user, resuming(user, positions[i]))
	}
	for i, c := range clients {
		for j, s := range sources {
			n := p.sent(j)
			c.waitEvents(patience, s.target, n-next[i][s.target])
		}
	}
	t.Logf("clients had everything %v after the gateways had died", time.Since(begin).Round(time.Millisecond))
	counts := p.finish()
	for i, c := range clients {
		for j, s := range sources {
			c.mustHave(patience, s.target, next[i][s.target], counts[j])
		}
	}
	r.noDead()
}

// TestLinks: the weather on the links to Redis of a gateway and of a worker, one after
// the other.
func TestLinks(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name  string
		begin func(*proxy)
		felt  bool // it lasts until its end has given the link up
	}{
		{"cut", func(p *proxy) { p.cut() }, false},
		{"slow", func(p *proxy) { p.change(weather{delay: 80 * time.Millisecond}) }, false},
		{"in pieces", func(p *proxy) { p.change(weather{pieces: true}) }, false},
		{"stalled to Redis", func(p *proxy) { p.stall(toRedis) }, true},
		{"stalled from Redis", func(p *proxy) { p.stall(fromRedis) }, true},
		{"half-open", func(p *proxy) { p.darken() }, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			g1, g2, w1, _ := r.pair()
			sources := fourSources(r)
			clients := watchers(t, sources, g1, g2)
			p := r.produceKeyed(100, sources...)
			for _, end := range []struct {
				what string
				via  *proxy
				felt func() error
			}{
				{"worker", w1.via, func() error { return r.without(w1) }},
				{"gateway", g1.via, func() error {
					if g1.ready() == nil {
						return fmt.Errorf("it is ready")
					}
					return nil
				}},
			} {
				flows(p, clients)
				begin := time.Now()
				tc.begin(end.via)
				if tc.felt {
					eventually(t, patience, "the "+end.what+" has given its link up", end.felt)
					end.via.change(weather{})
				}
				for range 3 {
					flows(p, clients)
				}
				end.via.change(weather{})
				t.Logf("%s's link %s: clients saw a pause of %v", end.what, tc.name, longestPause(begin, sources, clients...))
			}
			p.settle(patience, clients...)
			r.noDead()
		})
	}
}

// TestProducersAreToldOfFullMemory: Redis refuses writes. Who publishes is told, who
// connects waits, and all goes on when there is memory again.
func TestProducersAreToldOfFullMemory(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	g, _, _, _ := r.pair()
	c := join(t, g, "alice", topics("room"))
	publish := func(n int, ref string) frame {
		t.Helper()
		c.send(msg{"type": "publish", "ref": ref, "to": "topic:room", "data": n, "id": fmt.Sprint("key-", n)})
		return c.answer(ref)
	}
	for n := range 3 {
		if f := publish(n, fmt.Sprint("before-", n)); f.Type != "published" {
			t.Fatalf("%+v", f)
		}
	}
	r.rdb.ConfigSet(ctx, "maxmemory", "1")
	if f := publish(3, "refused"); f.Type != "error" || f.Code != "unavailable" {
		t.Errorf("published without memory: %+v, want unavailable", f)
	}
	if err := r.entry(r.rdb.Pipeline(), "direct", "topic:room", "4").Err(); err != nil {
		t.Fatal(err) // only queued
	}
	late := dial(t, g, "bob", topics("room"))
	failures := g.metric("sluice_gateway_session_failures_total")
	eventually(t, patience, "the session of a new client is refused", func() error {
		if g.metric("sluice_gateway_session_failures_total") == failures {
			return fmt.Errorf("it is not")
		}
		return nil
	})
	begin := time.Now()
	r.rdb.ConfigSet(ctx, "maxmemory", "0")
	late.waitSubscribed("topic:room")
	t.Logf("a client that came meanwhile was welcome %v after there was memory", time.Since(begin).Round(time.Millisecond))
	if f := publish(3, "again"); f.Type != "published" || f.Duplicate {
		t.Errorf("published again: %+v", f)
	}
	c.mustHave(patience, "topic:room", 0, 4)
	r.noDead()
}

// TestHistoryEvicted: a target's history is deleted while clients are there and away. Who
// has all goes on; who was away is told that it cannot have what it missed.
func TestHistoryEvicted(t *testing.T) {
	t.Parallel()
	r := newRig(t, onePartition)
	g := r.gateway()
	r.worker()
	const target = "topic:room"
	here := join(t, g, "here", topics("room"))
	r.add("direct", target, 0, 5)
	here.mustHave(patience, target, 0, 5)
	newest := here.last(target)
	early := here.all(target)[1].ID // subscribed, then the first event
	looks := g.metric("sluice_gateway_looks_total")
	r.rdb.Del(ctx, r.key(target, "history"))

	back := func(after string) (*client, frame) {
		t.Helper()
		c := dial(t, g, "back", resuming("back", map[string]string{target: after}))
		return c, c.waitSubscribed(target)
	}
	// Nothing is left: nobody knows whether there was something after the newest.
	c, f := back(newest)
	if first := c.all(target)[0]; f.Recovered || first.Type != "gap" || first.Reason != "unknown" {
		t.Errorf("back at the newest, with an empty history: %+v, %+v", first, f)
	}
	r.add("direct", target, 5, 3)
	here.waitEvents(patience, target, 8)
	if g.metric("sluice_gateway_looks_total") == looks {
		here.check(target, 0, 8) // no gap: it had all
	} else { // on a busy machine; then it may be told that there may have been more
		here.inOrder(target, 0, 8)
		if n := gaps(here); n > 1 {
			t.Errorf("who had all was told of %d gaps", n)
		}
	}
	c, f = back(newest)
	if !f.Recovered {
		t.Errorf("back at the newest, and the history goes on from there: %+v", f)
	}
	c.mustHave(patience, target, 5, 8)
	c, f = back(early)
	if first := c.all(target)[0]; f.Recovered || first.Type != "gap" || first.Reason != "trimmed" {
		t.Errorf("back before what is left: %+v, %+v", first, f)
	}
}

// TestWrongClocks: the clocks of all gateways and workers are a minute behind Redis's,
// or ahead. Delivery, sessions, leases and tokens are what they are otherwise.
func TestWrongClocks(t *testing.T) {
	t.Parallel()
	for _, by := range []time.Duration{time.Minute, -time.Minute} {
		t.Run(by.String(), func(t *testing.T) {
			t.Parallel()
			const ttl = 4 * time.Second
			r := newRigBehind(t, by, func(c *config) { c.SessionTTL = ttl })
			now := func() time.Time { return r.rdb.Time(ctx).Val() }
			if off := time.Until(now()) - by; off < -5*time.Second || off > 5*time.Second {
				t.Fatalf("Redis's clock is %v off what it should be", off)
			}
			g1, g2 := r.gateway(fastPing), r.gateway(fastPing)
			w1, w2 := r.worker(), r.worker()
			r.waitOwners(patience, map[string]int{w1.name: 8, w2.name: 8})
			sources := fourSources(r)
			clients := watchers(t, sources, g1, g2)
			p := r.produceKeyed(100, sources...)
			flows(p, clients)
			for _, target := range []string{sources[0].target, "user:watcher-" + g1.name, "all"} {
				for field, value := range r.sessions(target) {
					_, text, _ := strings.Cut(value, " ")
					ms, _ := strconv.ParseInt(text, 10, 64)
					if left := time.UnixMilli(ms).Sub(now()); left < 0 || left > ttl+time.Second {
						t.Errorf("the session of %s at %s ends in %v by Redis's clock", target, field, left)
					}
				}
			}
			begin := time.Now()
			w1.crash()
			eventually(t, 5*time.Second, "the other worker owns everything", func() error { return r.without(w1) })
			flows(p, clients)
			t.Logf("clients saw a pause of %v when a worker died", longestPause(begin, sources, clients...))
			// A gateway that dies is forgotten when its sessions end, neither sooner nor later.
			user := "user:watcher-" + g2.name
			g2.crash()
			clients[1].kill()
			eventually(t, ttl+time.Second, "the session of the dead has ended", func() error {
				for field, value := range r.sessions(user) {
					_, text, _ := strings.Cut(value, " ")
					if ms, _ := strconv.ParseInt(text, 10, 64); ms >= now().UnixMilli() {
						return fmt.Errorf("%s ends in %v", field, time.UnixMilli(ms).Sub(now()))
					}
				}
				return nil
			})
			p.settle(patience, clients[0])
			r.noDead()

			// A token ends by Redis's clock, whatever the gateway's is.
			const secret = "0123456789abcdef0123456789abcdef"
			g3 := r.gateway(fastPing, func(c *gateway.Config) { c.Auth = auth.Config{Mode: auth.ModeJWT, JWTSecret: secret} })
			begin = time.Now()
			c := dial(t, g3, "carol", token(secret, "carol", now().Add(3*time.Second)))
			c.waitSubscribed("user:carol")
			if code := c.waitClose(patience); code != 4401 {
				t.Errorf("closed with %d, want 4401", code)
			}
			if took := time.Since(begin); took < 2*time.Second {
				t.Errorf("a token for three seconds was good for %v", took)
			}
			if code := dial(t, g3, "carol", token(secret, "carol", now().Add(-10*time.Second))).waitClose(patience); code != 4401 {
				t.Errorf("a token of ten seconds ago: closed with %d, want 4401", code)
			}
		})
	}
}

// TestGapIsNotForNewcomers: a target's history begins again, and somebody subscribes to
// what there is now before the gateway has found out. Only who was there before is told.
func TestGapIsNotForNewcomers(t *testing.T) {
	t.Parallel()
	r := newRig(t, onePartition)
	g := r.gateway()
	w := r.worker()
	const target = "topic:room"
	alice := join(t, g, "alice", topics("room"))
	r.add("direct", target, 0, 5)
	alice.mustHave(patience, target, 0, 5)
	w.stop()
	r.rdb.Del(ctx, r.key(target, "history"))
	g.via.swallowPush(isBatch)
	held, release := make(chan struct{}), make(chan struct{})
	reread := g.via.between(func(f flight) bool {
		return f.has(func(c command) bool { return c.is("XRANGE") && strings.HasSuffix(c.args[1], ":history:"+target) })
	}, func(i int, _ command) {
		if i == 0 {
			close(held)
			<-release
		}
	})
	r.worker() // its term makes the gateway look
	<-held
	r.add("direct", target, 5, 1)
	eventually(t, patience, "the event is retained", func() error { return pendingOf(r) })
	bob := join(t, g, "bob", topics("room"))
	close(release)
	reread.wait(t)
	alice.wait("a gap", func(f frame) bool { return f.Type == "gap" && f.To == target })
	g.via.swallowPush(nil)
	r.add("direct", target, 6, 3)
	bob.until(patience, "later events", func(frames []frame) bool { return events(frames, target) == 3 })
	bob.check(target, 6, 9)
	if n := gaps(alice); n != 1 {
		t.Errorf("who was there was told of %d gaps, want 1", n)
	}
}

// TestLookAtAnEvictedHistory: a history is deleted, and the gateway looks at it before the
// next event comes. Who had all is told that there may have been more, since nobody
// knows. The events that come after that follow what it had, and are no second gap.
func TestLookAtAnEvictedHistory(t *testing.T) {
	t.Parallel()
	for name, lost := range map[string]bool{"live": false, "lost on the channel": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, onePartition)
			g := r.gateway()
			r.worker()
			const target = "topic:room"
			c := join(t, g, "alice", topics("room"))
			r.add("direct", target, 0, 5)
			c.mustHave(patience, target, 0, 5)
			r.rdb.Del(ctx, r.key(target, "history"))
			if err := r.rdb.Do(ctx, "CLIENT", "KILL", "TYPE", "pubsub").Err(); err != nil {
				t.Fatal(err)
			}
			c.wait("a gap", func(f frame) bool { return f.Type == "gap" && f.To == target && f.Reason == "unknown" })
			if lost {
				g.via.swallowPush(isBatch)
			}
			r.add("direct", target, 5, 3)
			if lost {
				eventually(t, patience, "the events are retained", func() error { return pendingOf(r) })
				g.via.swallowPush(nil)
			}
			c.waitEvents(patience, target, 8)
			r.add("direct", target, 8, 2)
			c.waitEvents(patience, target, 10)
			c.inOrder(target, 0, 10)
			if n := gaps(c); n != 1 {
				t.Errorf("it was told of %d gaps, want 1", n)
			}
		})
	}
}
