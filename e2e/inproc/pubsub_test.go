package inproc_test

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"sluice/shared/wire"
)

// mended is how long a loss on Pub/Sub may last, without a new event on the target.
const mended = 3 * time.Second

// isBatch reports whether a message of a channel has records.
func isBatch(push []string) bool { return strings.HasPrefix(push[2], "B") }

// once lets a condition be true one time.
func once(cond func([]string) bool) func([]string) bool {
	var used atomic.Bool
	return func(push []string) bool { return cond(push) && used.CompareAndSwap(false, true) }
}

// TestPushLost swallows one message on its way to one gateway.
func TestPushLost(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		warm int // events before
	}{
		{"a later message of the term", 5},
		{"the first message to a gateway", 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			g1, g2, _, _ := r.pair()
			var clients [2][]*client
			targets := []string{"user:alice", "topic:room", "all"}
			for i, g := range []*gatewayProcess{g1, g2} {
				clients[i] = []*client{join(t, g, "alice", topics("room")), join(t, g, "alice", topics("room"))}
			}
			for _, target := range targets {
				r.add("direct", target, 0, tc.warm)
				for _, c := range append(clients[0], clients[1]...) {
					c.waitEvents(patience, target, tc.warm)
				}
			}
			for i, target := range targets {
				g1.via.swallowPush(once(isBatch))
				r.add("direct", target, tc.warm, 1)
				begin, limit := time.Now(), within(mended)
				for _, c := range clients[1] {
					c.waitEvents(patience, target, tc.warm+1)
				}
				for _, c := range clients[0] {
					c.waitEventsBy(limit, target, tc.warm+1)
				}
				t.Logf("%s was mended in %v", target, time.Since(begin).Round(time.Millisecond))
				if n := g1.metric("sluice_gateway_mended_total"); n < float64(i+1) {
					t.Errorf("nothing was mended: the message was not lost")
				}
			}
			for _, target := range targets {
				for _, c := range append(clients[0], clients[1]...) {
					c.check(target, 0, tc.warm+1)
				}
			}
		})
	}
}

// termSeen lets the reading of histories pass by which a gateway meets a worker's term, with two events: that may find an
// event just before it is published, or what was trimmed before it was.
func (r *rig) termSeen(c *client, target string) {
	r.t.Helper()
	for n := range 2 {
		r.add("direct", target, n, 1)
		c.mustHave(patience, target, 0, n+1)
	}
}

// TestPushLostBeforeAnother: the lost message is followed by one for another target of
// the same partition, so that the latest sequence number says nothing any more.
func TestPushLostBeforeAnother(t *testing.T) {
	t.Parallel()
	r := newRig(t, onePartition)
	g := r.gateway()
	r.worker()
	c := join(t, g, "alice", topics("a", "b"))
	r.termSeen(c, "topic:a")
	before := g.metric("sluice_gateway_mended_total")
	for n := range 3 {
		g.via.swallowPush(once(isBatch))
		r.add("direct", "topic:a", 2+n, 1)
		eventually(t, patience, "the first one is acknowledged", func() error { return pendingOf(r) })
		r.add("direct", "topic:b", n, 1)
		c.mustHave(mended, "topic:b", 0, n+1)
		c.mustHave(mended, "topic:a", 0, n+3)
	}
	if n := g.metric("sluice_gateway_mended_total") - before; n != 3 {
		t.Errorf("%v events were mended, want 3", n)
	}
}

// TestPushesLostAtRandom swallows every fifth message while events come, at a rate that a busy machine can keep up with, too:
// each loss is a look into the histories.
func TestPushesLostAtRandom(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	g1, g2, _, _ := r.pair()
	sources := fourSources(r)
	clients := watchers(t, sources, g1, g2)
	var n atomic.Int64
	for _, g := range []*gatewayProcess{g1, g2} {
		g.via.swallowPush(func(push []string) bool { return isBatch(push) && n.Add(1)%5 == 0 })
	}
	p := r.produce(150, 0, sources...)
	for range 4 {
		flows(p, clients)
		clients[0].waitEvents(patience, sources[0].target, p.sent(0)+20)
	}
	p.settle(mended, clients...)
	if n.Load() < 50 {
		t.Errorf("%d messages only", n.Load())
	}
}

// TestLastMessageOfATermLost: the message is lost, and so is its owner, before it
// could tell. Its successor has nothing to publish.
func TestLastMessageOfATermLost(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	g := r.gateway()
	w1 := r.worker()
	r.waitOwners(patience, map[string]int{w1.name: 16})
	c := join(t, g, "alice")
	r.add("direct", "user:alice", 0, 3)
	c.waitEvents(patience, "user:alice", 3)
	lost := make(chan struct{})
	first := once(isBatch)
	g.via.swallowPush(func(push []string) bool {
		if first(push) {
			close(lost)
		}
		return isBatch(push) || strings.HasPrefix(push[2], "S") // its beats, too
	})
	r.add("direct", "user:alice", 3, 1)
	<-lost
	w1.stop()
	g.via.swallowPush(nil)
	w2 := r.worker()
	r.waitOwners(patience, map[string]int{w2.name: 16})
	c.mustHave(mended, "user:alice", 0, 4)
}

// TestEpochsGrow: epochs are lost after many terms in a short time. A gateway that
// knows a higher one still sees what is lost on the channel, and gets live-only events.
func TestEpochsGrow(t *testing.T) {
	t.Parallel()
	r := newRig(t, onePartition)
	g := r.gateway()
	w := r.worker()
	r.waitOwners(patience, map[string]int{w.name: 1})
	c := join(t, g, "alice")
	fresh := func() {
		t.Helper()
		before := w.metric("sluice_worker_terms_total")
		groups, err := r.rdb.XInfoGroups(ctx, r.keyOf(0, "events")).Result()
		if err != nil {
			t.Fatal(err)
		}
		for _, g := range groups {
			r.rdb.XGroupDestroy(ctx, r.keyOf(0, "events"), g.Name)
		}
		eventually(t, patience, "a new term", func() error {
			if w.metric("sluice_worker_terms_total") == before {
				return fmt.Errorf("none")
			}
			return nil
		})
	}
	n := 0
	event := func() {
		t.Helper()
		r.add("direct", "user:alice", n, 1)
		n++
		c.waitEvents(mended, "user:alice", n)
	}
	event()
	for range 30 { // as a flapping link does
		fresh()
	}
	event() // the gateway knows the epoch
	if err := r.rdb.Del(ctx, r.keyOf(0, "epoch")).Err(); err != nil {
		t.Fatal(err)
	}
	fresh()
	event()
	r.add("direct", "user:alice", 0, 1, "retain", "0")
	c.until(patience, "an event without history", func(frames []frame) bool { return len(liveOnly(frames, "user:alice")) == 1 })
	g.via.swallowPush(once(isBatch))
	event()
	c.check("user:alice", 0, n)
}

// TestEpochFalls: Redis loses takeovers that a gateway has seen, by a failover. Another
// worker's epoch is above them by Redis's time; also when that has fallen, the gateway
// gets live-only events, and finds a lost push.
func TestEpochFalls(t *testing.T) {
	t.Parallel()
	r := newRig(t, onePartition)
	g := r.gateway()
	w := r.worker()
	r.waitOwners(patience, map[string]int{w.name: 1})
	c := join(t, g, "alice")
	r.add("direct", "user:alice", 0, 1)
	c.waitEvents(patience, "user:alice", 1)
	key := r.keyOf(0, "epoch")
	epoch := func() (n int64) {
		t.Helper()
		n, err := r.rdb.Get(ctx, key).Int64()
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	next := func(stored int64) { // the next worker's term, after Redis has lost some
		t.Helper()
		w.stop()
		if err := r.rdb.Set(ctx, key, stored, 0).Err(); err != nil {
			t.Fatal(err)
		}
		w = r.worker()
		r.waitOwners(patience, map[string]int{w.name: 1})
	}
	n, live := 1, 0
	works := func(what string) {
		t.Helper()
		eventually(t, patience, what+": live-only events come", func() error {
			r.add("direct", "user:alice", 0, 1, "retain", "0")
			if len(liveOnly(c.everything(), "user:alice")) == live {
				return fmt.Errorf("none")
			}
			return nil
		})
		live = len(liveOnly(c.everything(), "user:alice"))
		g.via.swallowPush(once(isBatch))
		r.add("direct", "user:alice", n, 1)
		n++
		c.waitEvents(mended, "user:alice", n)
		g.via.swallowPush(nil)
	}
	before := epoch()
	next(before - 1000)
	if now := epoch(); now <= before {
		t.Errorf("the epoch is %d, and was %d before Redis lost some", now, before)
	}
	stale := g.metric("sluice_gateway_drops_total", "reason", "stale_live")
	works("takeovers are lost")
	if now := g.metric("sluice_gateway_drops_total", "reason", "stale_live"); now != stale {
		t.Errorf("%v live-only events were dropped as of a term that is over", now-stale)
	}
	next(before + time.Hour.Milliseconds())
	works("the clock is ahead")
	next(before)
	works("the clock is set back")
	c.check("user:alice", 0, n)
}

// TestSubscriptionKilled cuts all subscriptions, over and over, while events come.
func TestSubscriptionKilled(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	g1, g2, _, _ := r.pair()
	sources := fourSources(r)
	clients := watchers(t, sources, g1, g2)
	p := r.produce(400, 0, sources...)
	begin := time.Now()
	for range 4 {
		flows(p, clients)
		n, err := r.rdb.Do(ctx, "CLIENT", "KILL", "TYPE", "pubsub").Int()
		if err != nil || n < 2 { // the workers' task queues have some, too
			t.Errorf("%d subscriptions were cut, %v, want 2 at least", n, err)
		}
		eventually(t, patience, "both gateways subscribe again", func() error {
			if n := r.rdb.PubSubNumSub(ctx, "sluice:server:"+g1.name, "sluice:server:"+g2.name).Val(); n["sluice:server:"+g1.name]*n["sluice:server:"+g2.name] != 1 {
				return fmt.Errorf("subscribers: %v", n)
			}
			return nil
		})
	}
	p.settle(mended, clients...)
	t.Logf("clients saw pauses of up to %v", longestPause(begin, sources, clients...))

	// The last event before silence.
	for _, target := range []string{sources[0].target, sources[1].target} {
		first := events(clients[0].all(target), target)
		r.rdb.Do(ctx, "CLIENT", "KILL", "TYPE", "pubsub")
		r.add("direct", target, first, 1)
		for _, c := range clients {
			c.mustHave(mended, target, 0, first+1)
		}
	}
}

// TestChannelSilent: the subscription's link is frozen, while others work. The
// heartbeat finds out.
func TestChannelSilent(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	g, _, _, _ := r.pair()
	c := join(t, g, "alice")
	r.add("direct", "user:alice", 0, 3)
	c.waitEvents(patience, "user:alice", 3)
	g.via.freezePush()
	begin := time.Now()
	r.add("direct", "user:alice", 3, 3)
	c.mustHave(6*time.Second, "user:alice", 0, 6)
	t.Logf("events came %v after the channel had fallen silent", time.Since(begin).Round(time.Millisecond))
	r.add("direct", "user:alice", 6, 3)
	c.mustHave(time.Second, "user:alice", 0, 9)
	g.via.thaw()
}

// TestGarbageOnTheChannel: what is no worker's message is dropped and harms nobody.
func TestGarbageOnTheChannel(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	g, _, _, _ := r.pair()
	c := join(t, g, "alice")
	head := string(wire.AppendHead(nil, wire.Head{Partition: wire.Partition("user:alice", 16), Epoch: 1 << 40, Seq: 1}))
	garbage := []string{
		"", "x", "B", "S", "H", "B\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", head + "e", head + "e\xff\xff\xff\x7f", head + "zzz",
		string(wire.AppendHead(nil, wire.Head{Partition: 999, Epoch: 1, Seq: 1})),
		string(wire.AppendBeats(nil, []wire.Head{{Partition: 999, Epoch: 1, Seq: 1}})),
	}
	before := g.metric("sluice_gateway_drops_total", "reason", "malformed")
	for _, text := range garbage {
		r.rdb.Publish(ctx, "sluice:server:"+g.name, text)
	}
	eventually(t, patience, "garbage is counted", func() error {
		if n := g.metric("sluice_gateway_drops_total", "reason", "malformed") - before; n < float64(len(garbage)-1) {
			return fmt.Errorf("%v of %d", n, len(garbage))
		}
		return nil
	})
	r.add("direct", "user:alice", 0, 3)
	c.mustHave(patience, "user:alice", 0, 3)
}

// TestRecordOfALostHistory: an event comes on the channel that no history has, nor what
// was before it, as after a FLUSHALL while it was on its way. It is dropped after one
// look, not looked for again and again, and what follows flows.
func TestRecordOfALostHistory(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	g, _, _, _ := r.pair()
	const target = "user:alice"
	c := join(t, g, "alice")
	r.add("direct", target, 0, 3)
	c.waitEvents(patience, target, 3)
	newest, err := wire.ParseID(c.last(target))
	if err != nil {
		t.Fatal(err)
	}
	drops := func() float64 { return g.metric("sluice_gateway_drops_total", "reason", "lost_history") }
	before := drops()
	head := wire.AppendHead(nil, wire.Head{Partition: wire.Partition(target, 16), Epoch: 1 << 45, Seq: 1})
	lost := wire.ID{Ms: newest.Ms, Seq: newest.Seq + 2}
	r.rdb.Publish(ctx, "sluice:server:"+g.name, string(wire.AppendRecord(head, &wire.Record{
		Kind: wire.RecEvent, To: target, ID: lost, Prev: wire.ID{Ms: newest.Ms, Seq: newest.Seq + 1},
		Frame: wire.EventFrame(&wire.Event{ID: lost, To: target, Data: `"lost"`, Kind: wire.JSON}),
	})))
	eventually(t, patience, "it is dropped", func() error {
		if n := drops() - before; n != 1 {
			return fmt.Errorf("%v were", n)
		}
		return nil
	})
	r.add("direct", target, 3, 3)
	c.mustHave(patience, target, 0, 6)
}
