package binaries_test

import (
	"fmt"
	"slices"
	"syscall"
	"testing"
)

// TestWorkersAbsent: gateways alone take connections and publishes; when workers come, everything arrives.
func TestWorkersAbsent(t *testing.T) {
	t.Parallel()
	c := newCluster(t, t, 2, 0)
	user, topic := "user:early", "topic:early"
	early := join(t, c.gateways[0], "early")
	early.subscribe(topic, "")
	const events = 100
	for _, target := range []string{user, topic, "all"} {
		c.addAll(t, numbered(c.intake(), target, 0, events)...)
	}
	c.addAll(t, numbered(c.ingress("topic:direct"), "topic:direct", 0, events)...)
	early.send(msg{"type": "publish", "ref": "later", "to": "topic:waiting", "data": msg{"n": 0}})
	for _, f := range early.sync() {
		if f.Type == "published" || f.Type == "event" {
			t.Errorf("without a worker: %s", f)
		}
	}

	c.startWorker(t)
	c.startWorker(t)
	late := join(t, c.gateways[1], "late")
	for _, target := range []string{"topic:direct", "topic:waiting"} {
		late.subscribe(target, "earliest")
	}
	for _, target := range []string{user, topic, "all"} {
		early.waitEvents(target, events)
		requireNumbers(t, target, early.syncEvents(target), 0, events)
	}
	requireNumbers(t, "direct", late.waitEvents("topic:direct", events), 0, events)
	requireNumbers(t, "waiting", late.waitEvents("topic:waiting", 1), 0, 1)
	early.wait("published", func(f frame) bool { return f.Type == "published" && f.Ref == "later" })
}

// TestPartitionsAreShared looks at the leases, and at the lists of who lives.
func TestPartitionsAreShared(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	eventually(t, func() error {
		if err := c.sharedOut(); err != nil {
			return err
		}
		if n := c.ZCard(ctx, "sluice:workers").Val(); n != int64(len(c.workers)) {
			return fmt.Errorf("sluice:workers has %d members", n)
		}
		live := c.ZRange(ctx, "sluice:servers", 0, -1).Val()
		for _, g := range c.gateways {
			if !slices.Contains(live, g.id) {
				return fmt.Errorf("%s is not in sluice:servers: %v", g.id, live)
			}
		}
		return nil
	})
}

// sharedOut is nil when each worker owns its share of the partitions.
func (c *cluster) sharedOut() error {
	share := map[string]int{}
	for p := range c.partitions {
		owner, err := c.Get(ctx, c.partitionKey(p, "lease")).Result()
		if err != nil {
			return fmt.Errorf("the lease of partition %d: %w", p, err)
		}
		share[owner]++
	}
	for owner, n := range share {
		if fair := c.partitions / len(c.workers); len(share) != len(c.workers) || n < fair-1 || n > fair+1 {
			return fmt.Errorf("not a fair share among %d workers: %s holds %d partitions, all: %v", len(c.workers), owner, n, share)
		}
	}
	return nil
}

// TestWorkersChangeUnderLoad starts a second worker, kills the first, starts a third and stops the second, while events
// come: each is delivered once and in order.
func TestWorkersChangeUnderLoad(t *testing.T) {
	t.Parallel()
	c := newCluster(t, t, 1, 1, "SLUICE_HISTORY_SIZE=5000")
	s := join(t, c.gateways[0], "reader")
	targets := []string{"user:reader", "all"}
	for i := range 14 {
		topic := fmt.Sprintf("topic:load-%d", i)
		s.subscribe(topic, "")
		targets = append(targets, topic)
	}
	// Order is promised among events that take the same way: each target keeps to one.
	producer := c.pace(t, 500, 1<<20, func(i int) entry {
		place := i % len(targets)
		stream := c.intake()
		if place%2 == 0 {
			stream = c.ingress(targets[place])
		}
		return entry{stream, fields(targets[place], number(i/len(targets)))}
	})
	received := func() (n int) {
		for _, target := range targets {
			n += len(s.targets[target])
		}
		return n
	}
	// more waits until the flow goes on, for every target.
	more := func(stage string) {
		t.Helper()
		goal := map[string]int{}
		for _, target := range targets {
			goal[target] = len(s.targets[target]) + 15
		}
		s.until("15 more events of each target "+stage, func() bool {
			for target, n := range goal {
				if len(s.targets[target]) < n {
					return false
				}
			}
			return true
		})
	}

	more("at the start")
	second := c.startWorker(t)
	more("with a second worker")
	c.workers[0].Kill()
	s.collect() // what came before the kill does not count
	more("after the first was killed")
	c.startWorker(t)
	more("with a third worker")
	second.Signal(t, syscall.SIGTERM)
	if code := second.ExitCode(t, patience); code != 0 {
		t.Errorf("a worker exits with %d on SIGTERM\n%s", code, second.Tail())
	}
	s.collect()
	more("after the second was stopped")

	producer.stop()
	total := producer.finish(t)
	s.until(fmt.Sprintf("all %d events", total), func() bool { return received() >= total })
	s.sync()
	for i, target := range targets {
		requireNumbers(t, target, s.targets[target], 0, (total+len(targets)-1-i)/len(targets))
	}
	if n := c.Exists(ctx, c.dead()).Val(); n != 0 {
		t.Errorf("there are %d dead letters", c.XLen(ctx, c.dead()).Val())
	}
}
