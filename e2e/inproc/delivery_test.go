package inproc_test

import (
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"sluice/shared/wire"
)

// TestDelivery brings events for a user, a topic and all over two gateways and two
// workers, by both ways.
func TestDelivery(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	g1, g2, _, _ := r.pair()
	devices := []*client{
		join(t, g1, "alice", topics("room")),
		join(t, g1, "alice"),
		join(t, g2, "alice", topics("room")),
	}
	bob := join(t, g2, "bob", topics("room"))
	const n = 40
	for _, way := range []struct {
		name  string
		first int
	}{{"intake", 0}, {"direct", n}} {
		for _, target := range []string{"user:alice", "topic:room", "all", "user:bob"} {
			r.add(way.name, target, way.first, n)
		}
		for _, c := range devices { // the two ways have no order between them
			c.waitEvents(patience, "user:alice", way.first+n)
		}
		for _, c := range append(devices, bob) {
			c.waitEvents(patience, "all", way.first+n)
		}
		for _, c := range []*client{devices[0], devices[2], bob} {
			c.waitEvents(patience, "topic:room", way.first+n)
		}
	}
	for _, c := range devices {
		c.check("user:alice", 0, 2*n)
		c.check("all", 0, 2*n)
		c.check("user:bob", 0, 0)
	}
	bob.mustHave(patience, "user:bob", 0, 2*n)
	bob.check("user:alice", 0, 0)
	for _, c := range []*client{devices[0], devices[2], bob} {
		c.check("topic:room", 0, 2*n)
	}
	devices[1].check("topic:room", 0, 0)
	r.noDead()
}

// traffic is what workers send to Redis.
type traffic struct {
	mu      sync.Mutex
	flights []flight
	links   []int
}

func (tr *traffic) add(link int, f flight) {
	tr.mu.Lock()
	tr.flights, tr.links = append(tr.flights, f), append(tr.links, link)
	tr.mu.Unlock()
}

// batches are the messages with records among the publications of a flight: their
// channels and partitions.
func batches(f flight) (channels []string, partitions []int) {
	for _, c := range f {
		if !c.is("PUBLISH") || !strings.HasPrefix(c.args[2], "B") {
			continue
		}
		m, err := wire.ParseMessage(c.args[2])
		if err != nil {
			panic(err)
		}
		channels, partitions = append(channels, c.args[1]), append(partitions, m.Head.Partition)
	}
	return channels, partitions
}

// TestOnePublishPerGateway counts what a topic with many subscribers costs.
func TestOnePublishPerGateway(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	g1, g2, w1, w2 := r.pair()
	var subscribers []*client
	for i := range 20 {
		subscribers = append(subscribers, join(t, g1, "u"+strconv.Itoa(i), topics("news")),
			join(t, g2, "v"+strconv.Itoa(i), topics("news")))
	}
	for i, n := range []int{1, 30} {
		var tr traffic
		w1.via.record(tr.add)
		w2.via.record(tr.add)
		first := i // one event before, then thirty
		r.add("direct", "topic:news", first, n)
		for _, c := range subscribers {
			c.mustHave(patience, "topic:news", 0, first+n)
		}
		// A gateway may have read them from the history; what is acknowledged has been published.
		eventually(t, patience, "they are acknowledged", func() error { return pendingOf(r) })
		tr.mu.Lock()
		got := make(map[string]int)
		for _, f := range tr.flights {
			channels, _ := batches(f)
			for _, c := range channels {
				got[c]++
			}
		}
		tr.mu.Unlock()
		want := map[string]int{"sluice:server:" + g1.name: 1, "sluice:server:" + g2.name: 1}
		if len(got) != 2 || got["sluice:server:"+g1.name] != 1 || got["sluice:server:"+g2.name] != 1 {
			t.Errorf("%d events for 40 subscribers: messages %v, want %v", n, got, want)
		}
	}
}

// TestTwoRoundTrips counts what a batch over all partitions costs.
func TestTwoRoundTrips(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	g1, g2 := r.gateway(), r.gateway()
	w := r.worker()
	r.waitOwners(patience, map[string]int{w.name: 16})
	targets := make([]string, 16)
	for p := range targets {
		targets[p] = r.targetOf(p, 0)
	}
	c1, c2 := join(t, g1, "alice", topics(append([]string(nil), targets...)...)), join(t, g2, "bob", topics(append([]string(nil), targets...)...))
	all := func(first, n int) {
		pipe := r.rdb.TxPipeline()
		for i := range n {
			for _, target := range targets {
				r.entry(pipe, "direct", target, strconv.Itoa(first+i))
			}
		}
		if _, err := pipe.Exec(ctx); err != nil {
			t.Fatal(err)
		}
		for _, c := range []*client{c1, c2} {
			for _, target := range targets {
				c.mustHave(patience, target, 0, first+n)
			}
		}
	}
	all(0, 1) // the owner has to look the histories' ends up once
	const rounds = 5
	widest := 0
	for round := range rounds {
		var tr traffic
		w.via.record(tr.add)
		all(1+3*round, 3)
		eventually(t, patience, "the last batch is acknowledged", func() error { return pendingOf(r) })
		tr.mu.Lock()
		widest = max(widest, r.checkSteps(tr.flights, tr.links))
		tr.mu.Unlock()
		w.via.record(nil)
	}
	// Redis answers a waiting read as soon as one stream has something: the first batch
	// has one partition, the next one all others.
	if widest < 15 {
		t.Errorf("no batch had more than %d partitions", widest)
	}
}

// checkSteps checks the flights of the lane of the partitions: appends and commits in
// turn, and nothing else. It returns the most partitions in one batch.
func (r *rig) checkSteps(flights []flight, links []int) (widest int) {
	r.t.Helper()
	lane := 0
	for i, f := range flights {
		if f.has(func(c command) bool { // beside the intake's and the one for acks
			return c.is("XREADGROUP") && slices.Contains(c.args, r.keyOf(0, "events"))
		}) {
			lane = links[i]
		}
	}
	appended := false
	for i, f := range flights {
		if links[i] != lane {
			if channels, _ := batches(f); len(channels) > 0 || f.hasName("XACK") && f.has(func(c command) bool {
				return c.is("XACK") && c.args[1] != "sluice:events"
			}) {
				r.t.Errorf("work beside the lane: %s", f)
			}
			continue
		}
		acks := 0
		for _, c := range f {
			if c.is("XACK") {
				acks++
			}
		}
		switch {
		case f.hasName("XADD"):
			if appended || f.hasName("XREADGROUP") {
				r.t.Errorf("two appends in a step: %s", f)
			}
			appended = true
		case f.hasName("XREADGROUP"):
			if appended != (acks > 0) {
				r.t.Errorf("%d acknowledgements, appended before: %v: %s", acks, appended, f)
			}
			appended = false
			channels, partitions := batches(f)
			seen := make(map[string]bool)
			for j := range channels {
				place := channels[j] + " " + strconv.Itoa(partitions[j])
				if seen[place] {
					r.t.Errorf("two messages for %s in one batch", place)
				}
				seen[place] = true
			}
			if len(channels) != 2*acks {
				r.t.Errorf("%d messages for %d partitions on two gateways", len(channels), acks)
			}
			widest = max(widest, acks)
		default:
			r.t.Errorf("a third round trip in a step: %s", f)
		}
	}
	return widest
}

func pendingOf(r *rig) error {
	for p := range r.cfg.Partitions {
		groups, err := r.rdb.XInfoGroups(ctx, r.key(r.targetOf(p, 0), "events")).Result()
		if err != nil {
			return err
		}
		for _, g := range groups {
			if g.Pending > 0 || g.Lag > 0 {
				return errPending
			}
		}
	}
	return nil
}

// TestLiveOnly: events without history come to who is there, and leave no trace.
func TestLiveOnly(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	g1, g2, _, _ := r.pair()
	c1, c2 := join(t, g1, "alice", topics("game")), join(t, g2, "bob", topics("game"))
	r.add("direct", "topic:game", 0, 20, "retain", "0")
	for _, c := range []*client{c1, c2} {
		c.until(patience, "20 events without history", func(frames []frame) bool { return len(liveOnly(frames, "topic:game")) == 20 })
		for i, f := range c.all("topic:game")[1:] {
			if number(f) != i || f.ID != "" || f.Prev != "" {
				t.Errorf("%s: %+v, want number %d without id", c.name, f, i)
			}
		}
	}
	if n := r.rdb.Exists(ctx, r.key("topic:game", "history")).Val(); n != 0 {
		t.Error("a history was written")
	}
}
