package inproc_test

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// TestResumeUnderLoad: clients come back in each of the ways, with 500 missed events
// to be replayed, while a thousand live ones come each second.
func TestResumeUnderLoad(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(c *config) { c.HistorySize = 100_000 })
	g1, g2, _, _ := r.pair()
	const target = "topic:busy"
	alice := join(t, g1, "alice", topics("busy"))
	p := r.produce(1000, 0, source{"direct", target})
	alice.waitEvents(patience, target, 100)
	alice.leave()
	had := events(alice.all(target), target)
	position := alice.last(target)
	// What comes back: a client that was away for 500 events at least.
	eventually(t, patience, "500 events missed", func() error {
		if n := p.sent(0); n < had+500 {
			return fmt.Errorf("%d of %d", n, had+500)
		}
		return nil
	})
	var back []*client
	for i, g := range []*gatewayProcess{g1, g2} {
		back = append(back,
			dial(t, g, fmt.Sprint("a", i), resuming(fmt.Sprint("a", i), map[string]string{target: position})),
			dial(t, g, fmt.Sprint("b", i), lastEventID("topic:busy="+position)),
			dial(t, g, fmt.Sprint("c", i)),
		)
		back[len(back)-1].send(msg{"type": "subscribe", "ref": "s", "to": target, "after": position})
	}
	live := p.sent(0) + 1000
	for _, c := range back {
		c.waitEvents(patience, target, live-had)
	}
	end := p.finish()[0]
	for _, c := range back {
		c.mustHave(patience, target, had, end)
		frames := c.all(target)
		if frames[0].Type != "subscribed" || !frames[0].Recovered {
			t.Errorf("%s: first frame %+v, want subscribed, recovered", c.name, frames[0])
		}
		if frames[1].Prev != position {
			t.Errorf("%s: the first event follows %s, the position was %s", c.name, frames[1].Prev, position)
		}
	}
	for _, g := range []*gatewayProcess{g1, g2} {
		if n := g.metric("sluice_gateway_gaps_total"); n != 0 {
			t.Errorf("%s told %v gaps", g.name, n)
		}
	}
}

// TestResumeFromNothing: a client that was there and had no event resumes from the
// position that it was told, and gets what came since: here the target's first events.
func TestResumeFromNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	g1, g2, _, _ := r.pair()
	c := join(t, g1, "alice", topics("quiet"))
	c.leave()
	positions := map[string]string{}
	for _, target := range []string{"user:alice", "all", "topic:quiet"} {
		positions[target] = c.last(target)
		if positions[target] != "0" {
			t.Errorf("position of %s is %q, want 0", target, positions[target])
		}
		r.add("intake", target, 0, 10)
	}
	c = dial(t, g2, "alice", resuming("alice", positions))
	for target := range positions {
		c.mustHave(patience, target, 0, 10)
	}
}

// TestManyComeBack: clients leave and come back to the other gateway all the time,
// and none of them misses or repeats anything.
func TestManyComeBack(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(c *config) { c.HistorySize = 100_000 })
	g1, g2, _, _ := r.pair()
	sources := []source{{"direct", "topic:a"}, {"intake", "topic:b"}, {"direct", "all"}}
	p := r.produce(300, 0, sources...)
	done := make(chan error, 4)
	for i := range cap(done) {
		c := join(t, g1, fmt.Sprint("u", i), topics("a", "b"))
		go func() { done <- wander(t, c, fmt.Sprint("u", i), sources, g2, g1, 6) }()
	}
	for range cap(done) {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	p.finish()
}

// TestTwoComeBack: one reads the history, then events come, then another one reads it
// with them and is live before the first one is. While they are still on their way on
// the channel, the first one joins: they are no repeats for it.
func TestTwoComeBack(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	g, other, _, _ := r.pair()
	const target = "topic:a"
	c := join(t, other, "before", topics("a"))
	r.add("direct", target, 0, 9)
	c.mustHave(patience, target, 0, 9)
	nine := c.last(target)
	r.add("direct", target, 9, 1)
	c.mustHave(patience, target, 0, 10)
	ten := c.last(target)
	g.via.freezePush()
	isLook := func(c command) bool { // the look at its ends, and what follows the position
		return c.is("EVALSHA") && len(c.args) > 3 && strings.HasSuffix(c.args[3], ":history:"+target)
	}
	second := join(t, g, "second")
	isRead, done := false, false
	read := g.via.between(func(f flight) bool {
		return f.has(isLook)
	}, func(_ int, c command) {
		if isRead && !isLook(c) && !done {
			done = true
			r.add("direct", target, 10, 2)
			second.send(msg{"type": "subscribe", "to": target, "after": nine})
			second.mustHave(patience, target, 9, 12)
		}
		isRead = isRead || isLook(c)
	})
	first := dial(t, g, "first", resuming("first", map[string]string{target: ten, "topic:y": "0", "topic:z": "0"}))
	read.wait(t)
	if !done {
		t.Fatal("nothing was read together with the target, and after it")
	}
	first.waitSubscribed(target)
	g.via.thaw()
	r.add("direct", target, 12, 3)
	first.mustHave(patience, target, 10, 15)
	second.mustHave(patience, target, 9, 15)
}

// wander reads a little, leaves without a word, and comes back to the next gateway
// with its positions; each target's events must continue where they were.
func wander(t *testing.T, c *client, user string, sources []source, next, after *gatewayProcess, times int) error {
	expect := make([]int, len(sources)) // number to come next, -1: not known yet
	for i := range expect {
		expect[i] = -1
	}
	positions := make(map[string]string)
	for range times {
		deadline := time.Now().Add(patience)
		for {
			c.mu.Lock()
			n := len(c.frames)
			c.mu.Unlock()
			if n > 60 {
				break
			}
			if err := c.ended(); err != nil || time.Now().After(deadline) {
				return fmt.Errorf("%s: %d frames, %w", c.name, n, err)
			}
			time.Sleep(5 * time.Millisecond)
		}
		c.kill()
		for i, s := range sources {
			frames := c.all(s.target)
			for _, f := range frames {
				if f.Type == "event" && expect[i] < 0 {
					expect[i] = number(f)
				}
			}
			var err error
			if expect[i] >= 0 {
				if expect[i], err = follow(frames, s.target, expect[i]); err != nil {
					return fmt.Errorf("%s: %w", c.name, err)
				}
			}
			if last := c.last(s.target); last != "" && (events(frames, s.target) > 0 || positions[s.target] == "") {
				positions[s.target] = last
			}
		}
		c = dial(t, next, user, resuming(user, positions))
		next, after = after, next
	}
	return nil
}
