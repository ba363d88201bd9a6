package binaries_test

import (
	"fmt"
	"testing"
	"time"
)

const (
	loadEvents  = 100_000
	shortEvents = 10_000 // with -short
	loadTargets = 50
	loadLimit   = 90 * time.Second
)

// TestLoad adds 100,000 events for 50 targets through the intake of two gateways and two workers with default settings,
// as fast as Redis takes them, and checks count, order and the chain of each target at each receiver. It runs alone.
func TestLoad(t *testing.T) {
	events := loadEvents
	if testing.Short() {
		events = shortEvents
	}
	c := newCluster(t, t, 2, 2)
	// 10 users, each on one gateway; 39 topics, the first 10 of them on both gateways; and all.
	const users, topics, both = 10, loadTargets - 10 - 1, 10
	type receiver struct {
		*client
		target string
	}
	var receivers []receiver
	var targets []string
	for i := range users {
		user := fmt.Sprintf("load-%d", i)
		s := join(t, c.gateways[i%2], user)
		targets = append(targets, "user:"+user)
		receivers = append(receivers, receiver{s, "user:" + user})
	}
	subscribers := []*client{join(t, c.gateways[0], "topics-0"), join(t, c.gateways[1], "topics-1")}
	for i := range topics {
		topic := fmt.Sprintf("topic:load-%d", i)
		targets = append(targets, topic)
		for j, s := range subscribers {
			if i < both || i%2 == j {
				s.subscribe(topic, "")
				receivers = append(receivers, receiver{s, topic})
			}
		}
	}
	targets = append(targets, "all")
	for _, s := range subscribers {
		receivers = append(receivers, receiver{s, "all"})
	}

	entries := make([]entry, events)
	for i := range entries {
		entries[i] = entry{c.intake(), fields(targets[i%loadTargets], number(i/loadTargets))}
	}
	start := time.Now()
	c.addAll(t, entries...)
	added := time.Since(start)
	each := events / loadTargets
	for _, r := range receivers {
		r.untilWithin(loadLimit-time.Since(start), fmt.Sprintf("%d events of %s", each, r.target), func() bool {
			return len(r.targets[r.target]) >= each
		})
	}
	took := time.Since(start)
	for _, r := range receivers {
		r.sync()
		requireNumbers(t, r.String()+" of "+r.target, r.targets[r.target], 0, each)
		requireNoGap(t, r.client)
	}
	t.Logf("%d events added in %v, delivered to %d receivers after %v: %.0f events/s with the race detector on",
		events, added.Round(time.Millisecond), len(receivers), took.Round(time.Millisecond), float64(events)/took.Seconds())
}
