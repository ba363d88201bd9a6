package inproc_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"
)

// segments checks what comes for a target between the answers to refs: numbered
// without a hole from first(ref) on; -1 means that nothing may come.
func segments(frames []frame, target string, first func(ref string) int) (broken []string, last int) {
	ref, next := "", 0
	for _, f := range frames {
		switch {
		case f.Ref != "":
			ref, next = f.Ref, first(f.Ref)
		case ref != "" && f.To == target && f.Type == "event":
			if number(f) != next {
				broken = append(broken, fmt.Sprintf("after %s: event %d (id %s) came, want %d", ref, number(f), f.ID, next))
				ref = "" // one complaint each
			}
			next++
		}
	}
	return broken, next
}

// TestSubscribeAgainWhileReplaying: a client moves its position over and over while
// its replay is under way. What comes behind an answer continues there, and nothing of
// the replay before is mixed in.
func TestSubscribeAgainWhileReplaying(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	g := r.gateway()
	r.worker()
	const target = "topic:t0"
	const events, rounds = 900, 100
	r.fill(1, events, 10)
	ids := make([]string, 0, events)
	for _, e := range r.rdb.XRange(ctx, r.key(target, "history"), "-", "+").Val() {
		ids = append(ids, e.ID)
	}
	c := join(t, g, "alice")
	first := func(ref string) int {
		var round int
		_, _ = fmt.Sscanf(ref, "r%d", &round)
		return (round*37)%(events/2) + 1
	}
	for round := range rounds {
		ref := fmt.Sprint("r", round)
		c.send(msg{"type": "subscribe", "ref": ref, "to": target, "after": ids[first(ref)-1]})
		if round%10 == 9 {
			c.answer(ref)
		}
	}
	last := fmt.Sprint("r", rounds-1)
	c.answer(last)
	eventually(t, patience, "the last replay", func() error {
		if broken, n := segments(c.everything(), target, first); n != events && len(broken) == 0 {
			return fmt.Errorf("%d events", n)
		}
		return nil
	})
	complain(t, c.everything(), target, first)
	for _, f := range c.everything() {
		if f.Type == "error" {
			t.Errorf("%s was refused: %s", f.Ref, f.Message)
		}
	}
}

// TestEveryRequestIsAnswered: a client that does not read asks for a replay, and moves it,
// asks where it is and ends it before it has come. Each has one answer.
func TestEveryRequestIsAnswered(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	g := r.gateway()
	r.worker()
	const target = "topic:t0"
	r.fill(1, 900, 4000)
	c := join(t, g, "alice", narrow)
	c.pause()
	var refs []string
	ask := func(kind string, n int, more msg) {
		for range n {
			ref := fmt.Sprint(kind, len(refs))
			refs = append(refs, ref)
			m := msg{"type": kind, "ref": ref, "to": target}
			maps.Copy(m, more)
			c.send(m)
		}
	}
	ask("subscribe", 1, msg{"after": "0"})
	ask("publish", 1, msg{"to": "topic:other", "data": 1}) // a moment for the replay to fill the socket
	ask("subscribe", 3, msg{"after": "0"})
	ask("subscribe", 3, nil)
	ask("subscribe", 30, msg{"after": "earliest"}) // more than may wait
	ask("unsubscribe", 1, nil)
	ask("subscribe", 1, msg{"after": "0"})
	ask("subscribe", 1, nil)
	c.resume()
	c.answer(refs[len(refs)-1])
	c.answer(refs[1])
	var got, refused []string
	for _, f := range c.everything() {
		if f.Ref == "" {
			continue
		}
		if f.Type == "error" {
			refused = append(refused, f.Ref)
			if f.Code != "unavailable" {
				t.Errorf("%s was refused with %s %q", f.Ref, f.Code, f.Message)
			}
		}
		got = append(got, f.Ref)
	}
	slices.Sort(got)
	want := slices.Sorted(slices.Values(refs))
	if !slices.Equal(got, want) {
		t.Errorf("answers came to\n%q, want\n%q", got, want)
	}
	t.Logf("%d of %d were refused", len(refused), len(refs))
}

// TestNothingAfterUnsubscribed: the answer to unsubscribe is the last that a client
// hears of a target, also in the middle of a replay.
func TestNothingAfterUnsubscribed(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	g := r.gateway()
	r.worker()
	const target = "topic:t0"
	const rounds = 100
	r.fill(1, 900, 10)
	c := join(t, g, "alice")
	for round := range rounds {
		c.send(msg{"type": "subscribe", "ref": fmt.Sprint("on", round), "to": target, "after": "0"})
		c.send(msg{"type": "ping"}) // a moment for the replay
		c.send(msg{"type": "unsubscribe", "ref": fmt.Sprint("off", round), "to": target})
		if round%10 == 9 {
			c.answer(fmt.Sprint("off", round))
		}
	}
	c.send(msg{"type": "subscribe", "ref": "last", "to": "all"}) // whatever was queued comes before its answer
	c.answer("last")
	complain(t, c.everything(), target, func(ref string) int {
		if strings.HasPrefix(ref, "on") {
			return 0
		}
		return -1
	})
}

func complain(t *testing.T, frames []frame, target string, first func(string) int) {
	t.Helper()
	broken, _ := segments(frames, target, first)
	for _, b := range broken[:min(3, len(broken))] {
		t.Error(b)
	}
	if len(broken) > 3 {
		t.Errorf("and %d more", len(broken)-3)
	}
}

// TestSubscribeChurn: clients of one topic leave it and come back to it all the time,
// while events come. Nobody misses or repeats anything, also when nobody else was
// there in between.
func TestSubscribeChurn(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(c *config) { c.HistorySize = 100_000 })
	g1, g2, _, _ := r.pair()
	const target = "topic:room"
	p := r.produce(500, 0, source{"direct", target})
	done := make(chan error, 4)
	for i, g := range []*gatewayProcess{g1, g1, g2, g2} {
		c := join(t, g, fmt.Sprint("u", i))
		go func() { done <- comeAndGo(c, target, 25) }()
	}
	for range cap(done) {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	p.finish()
}

func comeAndGo(c *client, target string, times int) error {
	after, expect, seen := "", -1, 0
	for i := range times {
		on, off := fmt.Sprint("on", i), fmt.Sprint("off", i)
		m := msg{"type": "subscribe", "ref": on, "to": target}
		if after != "" {
			m["after"] = after
		}
		c.send(m)
		if err := c.has(func(frames []frame) bool { return events(frames[seen:], target) > 3 }); err != nil {
			return fmt.Errorf("%s, round %d: %w", c.name, i, err)
		}
		c.send(msg{"type": "unsubscribe", "ref": off, "to": target})
		if err := c.has(func(frames []frame) bool {
			return slices.ContainsFunc(frames[seen:], func(f frame) bool { return f.Ref == off })
		}); err != nil {
			return fmt.Errorf("%s, round %d: %w", c.name, i, err)
		}
		frames := c.everything()
		for _, f := range frames[seen:] {
			if f.To != target || f.Type != "event" {
				continue
			}
			if expect >= 0 && number(f) != expect || after != "" && f.Prev != after {
				return fmt.Errorf("%s, round %d: event %d (prev %s) came when %d was next, after %s", c.name, i, number(f), f.Prev, expect, after)
			}
			expect, after = number(f)+1, f.ID
		}
		seen = len(frames)
	}
	return nil
}

// has waits for a condition; for goroutines beside the test's.
func (c *client) has(reached func([]frame) bool) error {
	for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		c.mu.Lock()
		ok, err := reached(c.frames), c.err
		c.mu.Unlock()
		switch {
		case ok:
			return nil
		case err != nil:
			return err
		case time.Now().After(deadline):
			return fmt.Errorf("not within %v", patience)
		}
	}
}
