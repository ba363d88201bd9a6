package inproc_test

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"sluice/gateway"
)

// steady waits until a counter has not changed for a while: nothing moves any more.
func (p *process) steady(name string) {
	p.t.Helper()
	last, since := p.metric(name), time.Now()
	eventually(p.t, patience, name+" stands still", func() error {
		if now := p.metric(name); now != last {
			last, since = now, time.Now()
		}
		if time.Since(since) < 200*time.Millisecond {
			return fmt.Errorf("it is %v", last)
		}
		return nil
	})
}

// heap returns the bytes in use without those of connections to Redis, whose number is chance: the buffers of the
// test's own link, and 32 KiB each way in go-redis.
func heap() int64 {
	runtime.GC()
	runtime.GC() // what finalizers and pools held
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc) - openLinks.Load()*(linkUp+linkDown+(64<<10))
}

// growsBy checks that the heap has grown by at most so many bytes. What is only kept for a while, as pages are, may go.
func growsBy(t *testing.T, before, limit int64) {
	t.Helper()
	eventually(t, patience, fmt.Sprintf("the heap has grown by at most %d KiB", limit>>10), func() error {
		grown := heap() - before
		t.Logf("the heap has grown by %d KiB", grown>>10)
		if grown > limit {
			return fmt.Errorf("it has grown by %d KiB", grown>>10)
		}
		return nil
	})
}

// TestSlowReplay: many clients ask for a long history and do not read. That costs no
// more memory than their queues; and when they read, they get everything. It is not
// parallel, since it looks at the memory.
func TestSlowReplay(t *testing.T) {
	r := newRig(t)
	g, _, _, _ := r.pair()
	const (
		target  = "topic:long"
		events  = 900
		size    = 2 << 10
		clients = 16
		live    = 60
	)
	pad := strings.Repeat("x", size)
	pipe := r.rdb.Pipeline()
	for i := range events {
		r.entry(pipe, "direct", target, fmt.Sprintf(`{"n":%d,"pad":"%s"}`, i, pad))
	}
	if _, err := pipe.Exec(ctx); err != nil {
		t.Fatal(err)
	}
	eventually(t, patience, "all are in the history", func() error {
		if n := r.rdb.XLen(ctx, r.key(target, "history")).Val(); n != events {
			return fmt.Errorf("%d are", n)
		}
		return nil
	})
	for i := range clients { // connections to Redis, buffers and pools are there from now on
		c := dial(t, g, fmt.Sprint("u", i), narrow)
		c.send(msg{"type": "subscribe", "to": target, "after": "0"})
		c.waitEvents(patience, target, 200)
		c.kill()
		c.frames = nil
	}
	before := heap()
	var slow []*client
	for i := range clients {
		c := dial(t, g, fmt.Sprint("u", i), narrow, silent)
		c.send(msg{"type": "subscribe", "to": target, "after": "0"})
		slow = append(slow, c)
	}
	g.steady("sluice_gateway_deliveries_total")
	for i := range live {
		pipe := r.rdb.TxPipeline()
		r.entry(pipe, "direct", target, fmt.Sprintf(`{"n":%d,"pad":"%s"}`, events+i, pad))
		if _, err := pipe.Exec(ctx); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, patience, "the live ones are in the history", func() error {
		if n := r.rdb.XLen(ctx, r.key(target, "history")).Val(); n != events+live {
			return fmt.Errorf("%d are", n)
		}
		return nil
	})
	g.steady("sluice_gateway_records_total")
	t.Logf("%d stalled clients, %d KiB each to come", clients, (events+live)*size>>10)
	growsBy(t, before, clients*(64<<10)*3) // a queue and what is around it for each client
	for _, c := range slow {
		if err := c.ended(); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		c.resume()
	}
	for _, c := range slow {
		c.mustHave(2*patience, target, 0, events+live)
		c.kill()
		c.frames, c.at = nil, nil // the next test looks at the memory too
	}
}

// TestSlowClientsPinNothing: what a stalled client's queue holds is a small part of
// the messages in which it came to the gateway. Those must not stay with it.
func TestSlowClientsPinNothing(t *testing.T) {
	r := newRig(t, onePartition, func(c *config) { c.HistorySize = 100_000 })
	g := r.gateway()
	r.worker()
	fast := join(t, g, "fast", topics("noise"))
	slow := join(t, g, "slow", topics("quiet"), narrow)
	slow.pause()
	const rounds, noise, size = 150, 60, 2 << 10
	pad := strings.Repeat("x", size)
	before := heap()
	for i := range rounds {
		pipe := r.rdb.TxPipeline()
		for range noise {
			r.entry(pipe, "direct", "topic:noise", `"`+pad+`"`)
		}
		r.entry(pipe, "direct", "topic:quiet", fmt.Sprintf(`{"n":%d,"pad":"%s"}`, i, pad[:700]))
		if _, err := pipe.Exec(ctx); err != nil {
			t.Fatal(err)
		}
		fast.waitEvents(patience, "topic:noise", noise)
		fast.mu.Lock()
		fast.frames, fast.at = nil, nil // the test's own memory
		fast.mu.Unlock()
	}
	t.Logf("%d KiB went past a stalled client with a queue of 64 KiB", rounds*noise*size>>10)
	growsBy(t, before, 6<<20)
	slow.resume()
	slow.mustHave(patience, "topic:quiet", 0, rounds)
}

func smallQueue(c *gateway.Config) { c.SendQueueBytes = 4096 }

// TestLaggingSubscriber: a live subscriber stops reading. Others do not notice; when it
// reads again it gets everything once and in order, on the same connection.
func TestLaggingSubscriber(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(c *config) { c.HistorySize = 100_000 })
	g1, g2 := r.gateway(smallQueue), r.gateway(func(c *gateway.Config) { c.SendQueueBytes = 16 << 20 }) // room for any burst
	w1, w2 := r.worker(), r.worker()
	r.waitOwners(patience, map[string]int{w1.name: 8, w2.name: 8})
	const target = "topic:busy"
	slow := join(t, g1, "slow", topics("busy"), narrow)
	fast := []*client{join(t, g1, "fast", topics("busy")), join(t, g2, "fast", topics("busy"))}
	p := r.produce(500, 300, source{"direct", target})
	for _, c := range append(fast, slow) {
		c.waitEvents(patience, target, 20)
	}
	const rounds, each = 2, 10
	var lossless [rounds]bool // nothing can have been lost on the channel, nor with a term
	for round := range rounds {
		losses := g2.metric("sluice_gateway_rereads_total")
		slow.pause()
		n := p.sent(0) + 300 // more than what the kernel and the queue hold
		for _, c := range fast {
			c.waitEvents(patience, target, n)
		}
		// Events without history come to the others; who lags may miss them.
		for i := range each {
			r.add("direct", target, 1_000_000+each*round+i, 1, "retain", "0")
		}
		added := p.sent(0)
		eventually(t, patience, "one more event", func() error {
			if p.sent(0) == added {
				return fmt.Errorf("%d still", added)
			}
			return nil
		})
		n = p.sent(0)
		for _, c := range fast {
			c.waitEvents(patience, target, n)
		}
		lossless[round] = g2.metric("sluice_gateway_rereads_total") == losses
		if got := events(slow.everything(), target); got > n-100 {
			t.Errorf("round %d: the client that does not read has %d of %d events: it was never slow", round, got, n)
		}
		slow.resume()
		n = p.sent(0)
		slow.waitEvents(patience, target, n)
	}
	p.settle(patience, append(fast, slow)...)
	if g1.metric("sluice_gateway_lagging_total") == 0 {
		t.Error("no subscription lagged")
	}
	if err := slow.ended(); err != nil {
		t.Errorf("the slow client's connection ended: %v", err)
	}
	live, last := [rounds]int{}, -1
	for _, f := range liveOnly(fast[1].all(target), target) {
		i := number(f) - 1_000_000
		if i <= last || i >= rounds*each {
			t.Fatalf("%s: event %d without history came after %d", fast[1].name, i, last)
		}
		last = i
		live[i/each]++
	}
	for round, n := range live {
		if n != each && lossless[round] {
			t.Errorf("%s: %d of %d events without history in round %d", fast[1].name, n, each, round)
		}
		t.Logf("round %d: %d events without history, lossless: %v", round, n, lossless[round])
	}
}

// TestLaggingInEverything: one connection lags with many targets at once.
func TestLaggingInEverything(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(c *config) { c.HistorySize = 100_000 })
	g := r.gateway(smallQueue)
	r.worker()
	var sources []source
	var names []string
	for i := range 12 {
		sources = append(sources, source{"direct", fmt.Sprint("topic:t", i)})
		names = append(names, fmt.Sprint("t", i))
	}
	slow := join(t, g, "slow", topics(names...), narrow)
	slow.pause()
	p := r.produce(1200, 200, sources...)
	eventually(t, patience, "all subscriptions lag", func() error {
		if n := g.metric("sluice_gateway_lagging_total"); n < 12 || p.sent(0) < 60 {
			return fmt.Errorf("%v lag", n)
		}
		return nil
	})
	slow.resume()
	p.settle(patience, slow)
}

// TestStuckClientComesBack: a client that takes nothing for two pings is closed, and
// gets everything when it comes back.
func TestStuckClientComesBack(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(c *config) { c.HistorySize = 100_000 })
	g := r.gateway(smallQueue, func(c *gateway.Config) { c.PingInterval = time.Second })
	r.worker()
	const target = "topic:busy"
	slow := join(t, g, "slow", topics("busy"), narrow)
	p := r.produce(500, 400, source{"direct", target})
	slow.waitEvents(patience, target, 20)
	slow.pause()
	eventually(t, patience, "the gateway closes it", func() error {
		// Which of the two it misses first, progress or the pong, depends on when the kernel's
		// buffers were full.
		if n := g.metric("sluice_gateway_closes_total", "code", "4001") + g.metric("sluice_gateway_closes_total", "code", "4002"); n == 0 {
			return fmt.Errorf("it did not")
		}
		return nil
	})
	slow.resume()
	_ = slow.waitClose(patience) // the code cannot reach a client whose link is full
	next, err := follow(slow.all(target), target, 0)
	if err != nil {
		t.Fatal(err)
	}
	again := dial(t, g, "slow", resuming("slow", map[string]string{target: slow.last(target)}))
	again.waitEvents(patience, target, p.sent(0)-next)
	again.mustHave(patience, target, next, p.finish()[0])
}

// TestHotTargetStarvesNothing: a client's link is too slow for one of its targets, and
// its events never end. The client's other targets have few, and those come.
func TestHotTargetStarvesNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(c *config) { c.HistorySize = 100_000 })
	g := r.gateway(smallQueue)
	r.worker()
	c := join(t, g, "alice", topics("hot", "calm"), narrow)
	c.pace(100) // frames a second
	r.produce(400, 500, source{"direct", "topic:hot"})
	eventually(t, patience, "the hot target lags", func() error {
		if g.metric("sluice_gateway_lagging_total") == 0 {
			return fmt.Errorf("it does not")
		}
		return nil
	})
	for n := range 8 {
		for _, target := range []string{"user:alice", "topic:calm", "all"} {
			r.add("direct", target, n, 1)
		}
		for _, target := range []string{"user:alice", "topic:calm", "all"} {
			c.mustHave(5*time.Second, target, 0, n+1)
		}
	}
}

// TestClientDiesWhileItResumes: clients ask for much when they connect, do not read,
// and go. The gateway forgets them, and can stop.
func TestClientDiesWhileItResumes(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name  string
		how   func(positions map[string]string) dialOption
		stays bool // it keeps the connection, and reads nothing for ever
	}{
		{"frame connect", func(p map[string]string) dialOption { return resuming("alice", p) }, false},
		{"frame connect, stays", func(p map[string]string) dialOption { return resuming("alice", p) }, true},
		{"query", func(p map[string]string) dialOption { return lastEventID(cursor(p)) }, false},
		{"query, stays", func(p map[string]string) dialOption { return lastEventID(cursor(p)) }, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			g := r.gateway(smallQueue, func(c *gateway.Config) {
				c.PingInterval, c.DrainTimeout = 500*time.Millisecond, time.Second
			})
			r.worker()
			positions := r.fill(40, 5, 900)
			c := dial(t, g, "alice", narrow, silent, tc.how(positions))
			g.steady("sluice_gateway_deliveries_total")
			if !tc.stays {
				c.kill()
			}
			eventually(t, patience, "the connection ends", func() error {
				if n := g.metric("sluice_gateway_connections"); n != 0 {
					return fmt.Errorf("%v connections", n)
				}
				return nil
			})
			r.noSession("user:alice")
		})
	}
}

// TestDrainWithClientThatResumes: the gateway stops while such a client is there.
func TestDrainWithClientThatResumes(t *testing.T) {
	t.Parallel()
	for _, how := range []func(p map[string]string) dialOption{
		func(p map[string]string) dialOption { return resuming("alice", p) },
		func(p map[string]string) dialOption { return lastEventID(cursor(p)) },
	} {
		t.Run("", func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			g := r.gateway(smallQueue, func(c *gateway.Config) { c.DrainTimeout = time.Second })
			r.worker()
			dial(t, g, "alice", narrow, silent, how(r.fill(40, 5, 900)))
			g.steady("sluice_gateway_deliveries_total")
			g.cancel()
			g.wait(8 * time.Second)
		})
	}
}

// TestResumeOverSlowLink: a client that reads slowly, but reads, resumes many targets.
// It takes a while, and the connection stays.
func TestResumeOverSlowLink(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	g := r.gateway(func(c *gateway.Config) { c.SendQueueBytes = 16 << 10 })
	r.worker()
	const each, size = 8, 2000
	positions := r.fill(30, each, size)
	c := dial(t, g, "alice", narrow, silent, resuming("alice", positions))
	c.pace(35) // frames a second, 70 KB/s: 240 events in 7 s
	c.resume()
	for target := range positions {
		c.mustHave(4*patience, target, 0, each)
	}
}

// fill gives n topics the same number of events in their histories, and returns the
// positions before them.
func (r *rig) fill(n, events, size int) map[string]string {
	r.t.Helper()
	positions := make(map[string]string)
	pad := strings.Repeat("x", size)
	pipe := r.rdb.TxPipeline()
	for i := range n {
		target := fmt.Sprint("topic:t", i)
		positions[target] = "0"
		for e := range events {
			r.entry(pipe, "direct", target, fmt.Sprintf(`{"n":%d,"pad":"%s"}`, e, pad))
		}
	}
	if _, err := pipe.Exec(ctx); err != nil {
		r.t.Fatal(err)
	}
	eventually(r.t, patience, "all are in the histories", func() error {
		for target := range positions {
			if n := r.rdb.XLen(ctx, r.key(target, "history")).Val(); n != int64(events) {
				return fmt.Errorf("%s has %d", target, n)
			}
		}
		return nil
	})
	return positions
}

func cursor(positions map[string]string) string {
	var parts []string
	for target, id := range positions {
		parts = append(parts, target+"="+id)
	}
	return strings.Join(parts, ",")
}

// TestAnswersWhileLagging: a client that lags asks for something. The answer has to
// wait like the events, and is no reason to close it.
func TestAnswersWhileLagging(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(c *config) { c.HistorySize = 100_000 })
	g := r.gateway(smallQueue)
	r.worker()
	const target, asks = "topic:busy", 10
	c := join(t, g, "alice", topics("busy"), narrow)
	c.pause()
	p := r.produce(1000, 0, source{"direct", target}) // small ones: they leave no room for an answer
	eventually(t, patience, "the subscription lags", func() error {
		if g.metric("sluice_gateway_lagging_total") == 0 {
			return fmt.Errorf("it does not")
		}
		return nil
	})
	g.steady("sluice_gateway_deliveries_total")
	for i := range asks {
		c.send(msg{"type": "publish", "ref": fmt.Sprint("p", i), "to": "topic:other", "data": i})
		c.send(msg{"type": "ping"})
	}
	eventually(t, patience, "the publishes are on their way", func() error {
		if n := r.rdb.XLen(ctx, r.key("topic:other", "history")).Val(); n != asks {
			return fmt.Errorf("%d are", n)
		}
		return nil
	})
	c.resume()
	for i := range asks {
		c.answer(fmt.Sprint("p", i))
	}
	c.wait("pong", func(f frame) bool { return f.Type == "pong" })
	p.settle(patience, c)
}
