package inproc_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"sluice/shared/store"
)

// stored waits until a target's history has n events.
func (r *rig) stored(target string, n int) {
	r.t.Helper()
	eventually(r.t, patience, "stored", func() error {
		if got := r.rdb.XLen(ctx, r.key(target, "history")).Val(); got != int64(n) {
			return fmt.Errorf("%d events of %s, want %d", got, target, n)
		}
		return nil
	})
}

// TestQuietTopic: a history has ended while its owner still knows its newest event, as
// after any time that is longer than it lives. Whoever is there, whatever way it came, gets
// the next event, and is told of a gap only if it had something before.
func TestQuietTopic(t *testing.T) {
	t.Parallel()
	const target = "topic:x"
	ends := map[string]func(r *rig, key string){
		"deleted": func(r *rig, key string) { r.rdb.Del(ctx, key) },
		"expired": func(r *rig, key string) {
			r.rdb.PExpire(ctx, key, time.Millisecond)
			eventually(r.t, patience, "expired", func() error {
				if r.rdb.Exists(ctx, key).Val() > 0 {
					return fmt.Errorf("%s is there", key)
				}
				return nil
			})
		},
	}
	ways := []struct {
		name string
		come func(t *testing.T, g *gatewayProcess, last string) *client
		gaps int
	}{
		{"subscribe", func(t *testing.T, g *gatewayProcess, _ string) *client { return subscribing(t, g, nil) }, 0},
		{"subscribe after 0", func(t *testing.T, g *gatewayProcess, _ string) *client { return subscribing(t, g, msg{"after": "0"}) }, 0},
		{"subscribe after earliest", func(t *testing.T, g *gatewayProcess, _ string) *client {
			return subscribing(t, g, msg{"after": "earliest"})
		}, 0},
		{"resume from 0", func(t *testing.T, g *gatewayProcess, _ string) *client {
			return dial(t, g, "alice", resuming("alice", map[string]string{target: "0"}))
		}, 0},
		{"resume from the last event", func(t *testing.T, g *gatewayProcess, last string) *client {
			return dial(t, g, "alice", resuming("alice", map[string]string{target: last}))
		}, 1}, // whether something followed it is not known
		{"by the query", func(t *testing.T, g *gatewayProcess, _ string) *client { return dial(t, g, "alice", topics("x")) }, 0},
	}
	for name, end := range ends {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, onePartition)
			g := r.gateway()
			r.worker()
			n := 0
			for _, way := range ways {
				before := join(t, g, "before", topics("x"))
				r.add("direct", target, n, 2)
				before.waitEvents(patience, target, 2)
				last := before.last(target)
				before.leave()
				end(r, r.key(target, "history"))

				c := way.come(t, g, last)
				position := c.waitSubscribed(target).Position
				if position != "0" {
					t.Errorf("%s: position %s in an empty history", way.name, position)
				}
				r.add("direct", target, n+2, 2)
				c.waitEvents(patience, target, 2)
				gaps := 0
				last = position
				for _, f := range c.all(target) {
					switch {
					case f.Type == "gap":
						gaps++
					case f.Type == "event" && f.Prev != last:
						t.Errorf("%s: %s has prev %s, want %s", way.name, f.Data, f.Prev, last)
						fallthrough
					case f.Type == "event":
						last = f.ID
					}
				}
				if gaps != way.gaps {
					t.Errorf("%s: %d gaps, want %d", way.name, gaps, way.gaps)
				}
				c.inOrder(target, n+2, n+4)
				c.leave()

				// The position that it was told holds also when it was away.
				back := dial(t, g, "alice", resuming("alice", map[string]string{target: position}))
				back.mustHave(patience, target, n+2, n+4)
				back.leave()
				n += 4
			}
		})
	}
}

// subscribing is a client that subscribes to topic:x by a frame.
func subscribing(t *testing.T, g *gatewayProcess, how msg) *client {
	t.Helper()
	c := join(t, g, "alice")
	frame := msg{"type": "subscribe", "to": "topic:x"}
	for k, v := range how {
		frame[k] = v
	}
	c.send(frame)
	return c
}

// TestQuietTopicHeard: clients that were there all the time, and others that come while
// the history has ended, have everything, and are told of no gap.
func TestQuietTopicHeard(t *testing.T) {
	t.Parallel()
	const target = "topic:x"
	r := newRig(t, onePartition)
	g := r.gateway()
	r.worker()
	all := join(t, g, "all", topics("x"))
	r.add("direct", target, 0, 3)
	all.waitEvents(patience, target, 3)
	r.rdb.Del(ctx, r.key(target, "history"))
	late := join(t, g, "late", topics("x"))
	r.add("direct", target, 3, 3)
	all.mustHave(patience, target, 0, 6)
	late.mustHave(patience, target, 3, 6)
	if n := g.metric("sluice_gateway_gaps_total"); n != 0 {
		t.Errorf("%v gaps were told", n)
	}
	if f := late.all(target)[1]; f.Prev != "0" {
		t.Errorf("who came to an empty history was told of %s before its first event", f.Prev)
	}
}

// TestQuietTopicForgotten: the history of a topic has ended, and its owner has forgotten it.
// Clients that were there all the time get the next event, and are told of no gap.
func TestQuietTopicForgotten(t *testing.T) {
	t.Parallel()
	const target = "topic:x"
	r := newRig(t, onePartition, func(c *store.Config) { c.HistoryTTL = time.Second })
	g := r.gateway()
	w := r.worker()
	c := join(t, g, "alice", topics("x"))
	for n := range 3 {
		r.add("direct", target, 2*n, 2)
		c.waitEvents(patience, target, 2*n+2)
		eventually(t, patience, "the history expires", func() error {
			if r.rdb.Exists(ctx, r.key(target, "history")).Val() > 0 {
				return fmt.Errorf("it is there")
			}
			return nil
		})
		w.stop()
		w = r.worker()
	}
	r.add("direct", target, 6, 2)
	c.waitEvents(patience, target, 8)
	c.inOrder(target, 0, 8)
	if n := g.metric("sluice_gateway_gaps_total"); n != 0 {
		t.Errorf("%v gaps were told", n)
	}
}

// TestHistoryBeginsAnewWithExpiry: also one that was deleted while its owner remembers when
// it renewed the expiry.
func TestHistoryBeginsAnewWithExpiry(t *testing.T) {
	t.Parallel()
	r := newRig(t, onePartition)
	r.gateway()
	r.worker()
	for n := range 2 {
		r.add("direct", "topic:x", n, 1)
		r.stored("topic:x", 1)
		key := r.key("topic:x", "history")
		if ttl := r.rdb.PTTL(ctx, key).Val(); ttl < r.cfg.HistoryTTL/2 {
			t.Errorf("life %d of the history has %v to live", n, ttl)
		}
		r.rdb.Del(ctx, key)
	}
}

// TestHistoryExpiresUnderLoad: histories that live for a second, with pauses that are
// longer, for clients that stay and others that come and go.
func TestHistoryExpiresUnderLoad(t *testing.T) {
	t.Parallel()
	r := newRig(t, onePartition, func(c *store.Config) { c.HistoryTTL = time.Second })
	g := r.gateway()
	r.worker()
	const target = "topic:x"
	stays := join(t, g, "stays", topics("x"))
	n := 0
	for range 4 {
		comes := join(t, g, "comes", topics("x"))
		begin := n
		for range 3 {
			r.add("direct", target, n, 1)
			n++
			stays.waitEvents(patience, target, n)
		}
		comes.mustHave(patience, target, begin, n)
		comes.leave()
		eventually(t, patience, "the history expires", func() error {
			if r.rdb.Exists(ctx, r.key(target, "history")).Val() > 0 {
				return fmt.Errorf("%v", r.rdb.PTTL(ctx, r.key(target, "history")).Val())
			}
			return nil
		})
	}
	stays.mustHave(patience, target, 0, n)
	if n := g.metric("sluice_gateway_gaps_total"); n != 0 {
		t.Errorf("%v gaps were told", n)
	}
}

// TestMiddleDeleted: somebody has deleted an event within a history. Who comes back is told
// of this one, and gets the others.
func TestMiddleDeleted(t *testing.T) {
	t.Parallel()
	r := newRig(t, onePartition)
	g := r.gateway()
	r.worker()
	const target = "topic:x"
	c := join(t, g, "alice", topics("x"))
	r.add("direct", target, 0, 5)
	c.mustHave(patience, target, 0, 5)
	had := c.all(target)
	r.rdb.XDel(ctx, r.key(target, "history"), had[3].ID)
	for _, onGap := range []string{"live", "retained"} {
		back := join(t, g, "alice")
		back.send(msg{"type": "subscribe", "to": target, "after": had[1].ID, "on_gap": onGap})
		back.waitEvents(patience, target, 3)
		got := back.all(target)
		want := []frame{
			{Type: "subscribed", Position: had[1].ID}, {Type: "event", ID: had[2].ID},
			{Type: "gap", After: had[2].ID, Position: had[3].ID, Oldest: had[4].ID, Reason: "trimmed"},
			{Type: "event", ID: had[4].ID}, {Type: "event", ID: had[5].ID},
		}
		for i, w := range want {
			if f := got[i]; f.Type != w.Type || f.ID != w.ID || f.Position != w.Position || f.After != w.After || f.Oldest != w.Oldest || f.Reason != w.Reason {
				t.Errorf("%s: frame %d is %+v, want %+v", onGap, i, f, w)
			}
		}
		back.leave()
	}
}

// TestPositionOfALostTail: Redis has lost the newest events and given higher ids since. A
// position among the lost ones is none of the history's.
func TestPositionOfALostTail(t *testing.T) {
	t.Parallel()
	r := newRig(t, onePartition)
	g := r.gateway()
	r.worker()
	const target = "topic:x"
	c := join(t, g, "alice", topics("x"))
	r.add("direct", target, 0, 3)
	c.mustHave(patience, target, 0, 3)
	lost := c.last(target)
	second := c.all(target)[2]
	c.leave()
	r.rdb.XDel(ctx, r.key(target, "history"), lost)
	if err := r.rdb.XAdd(ctx, &redis.XAddArgs{Stream: r.key(target, "history"), Values: []any{"prev", second.ID, "data", "3", "kind", "j"}}).Err(); err != nil {
		t.Fatal(err)
	}
	back := dial(t, g, "alice", resuming("alice", map[string]string{target: lost}))
	if f := back.waitSubscribed(target); f.Recovered {
		t.Errorf("%+v", f)
	}
	if f := back.all(target)[0]; f.Type != "gap" || f.Reason != "unknown" || f.After != lost {
		t.Errorf("%+v, want a gap", f)
	}
}

// TestTailDeletedWhileKept: the newest events have gone, deleted or lost in a failover, a moment after they were read for
// somebody. Who comes then may get them from what gateways keep of that, and is led back once, and not again and again.
func TestTailDeletedWhileKept(t *testing.T) {
	t.Parallel()
	r := newRig(t, onePartition)
	g := r.gateway()
	r.worker()
	for _, more := range []bool{false, true} {
		for _, choice := range []string{"live", "retained"} {
			target := fmt.Sprintf("topic:%s-%t", choice, more)
			c := join(t, g, "alice", topics(strings.TrimPrefix(target, "topic:")))
			r.add("direct", target, 0, 5)
			c.mustHave(patience, target, 0, 5)
			had := c.all(target) // subscribed, then event i at i+1
			resume := func() *client {
				return dial(t, g, "alice", onGap(choice), resuming("alice", map[string]string{target: had[1].ID}))
			}
			first := resume()
			first.waitEvents(patience, target, 4)
			first.leave()
			c.leave()
			r.rdb.XDel(ctx, r.key(target, "history"), had[1].ID, had[4].ID, had[5].ID)
			if more {
				if err := r.rdb.XAdd(ctx, &redis.XAddArgs{Stream: r.key(target, "history"), Values: []any{"prev", had[3].ID, "data", "9", "kind", "j"}}).Err(); err != nil {
					t.Fatal(err)
				}
			}
			back := resume()
			back.waitSubscribed(target)
			time.Sleep(300 * time.Millisecond) // it would go on at once, until the next event
			gaps := 0
			for _, f := range back.all(target) {
				if f.Type == "gap" {
					gaps++
				}
			}
			if frames := len(back.all(target)); gaps > 1 || frames > 12 {
				t.Errorf("on_gap=%s, newer events %t: %d gaps in %d frames", choice, more, gaps, frames)
			}
			r.add("direct", target, 5, 6)
			back.until(patience, "the next event", func(all []frame) bool {
				return slices.ContainsFunc(all, func(f frame) bool { return f.To == target && string(f.Data) == "5" })
			})
			back.leave()
		}
	}
}

// TestOnGap: what follows a gap at the begin of a history is the client's choice, when it
// comes back and when it was too slow.
func TestOnGap(t *testing.T) {
	t.Parallel()
	r := newRig(t, onePartition, func(c *store.Config) { c.HistorySize = 5 })
	g := r.gateway()
	r.worker()
	const target = "topic:x"
	c := join(t, g, "alice", topics("x", "y"))
	r.termSeen(c, "topic:y")
	r.add("direct", target, 0, 12)
	c.mustHave(patience, target, 0, 12)
	had := c.all(target) // subscribed, then event i at i+1
	for _, tc := range []struct {
		onGap    string
		position string
		first    int
	}{{"", had[12].ID, 12}, {"live", had[12].ID, 12}, {"retained", had[7].ID, 7}} {
		back := dial(t, g, "alice", onGap(tc.onGap), lastEventID(target+"="+had[2].ID))
		s := back.waitSubscribed(target)
		gap := back.all(target)[0]
		if gap.Type != "gap" || gap.After != had[2].ID || gap.Oldest != had[8].ID || gap.Position != tc.position || gap.Reason != "trimmed" {
			t.Errorf("on_gap=%s: %+v", tc.onGap, gap)
		}
		if s.Position != tc.position || s.Recovered {
			t.Errorf("on_gap=%s: %+v", tc.onGap, s)
		}
		// What follows is all that there is above the position.
		again := dial(t, g, "alice", lastEventID(target+"="+s.Position))
		again.mustHave(patience, target, tc.first, 12)
		back.waitEvents(patience, target, 12-tc.first)
		last := s.Position
		for _, f := range back.all(target)[2:] {
			if f.Prev != last {
				t.Errorf("on_gap=%s: %s follows %s, want %s", tc.onGap, f.ID, f.Prev, last)
			}
			last = f.ID
		}
		back.leave()
		again.leave()
	}
}

// TestEventThatWaited: an event waits for a worker for longer than histories live. It is not
// trimmed by itself, so that who came to the topic before it and nobody else is told of a gap
// when the next one comes.
func TestEventThatWaited(t *testing.T) {
	t.Parallel()
	r := newRig(t, onePartition, func(c *store.Config) { c.HistoryTTL = 10 * time.Second })
	g := r.gateway()
	const target = "topic:x"
	old := fmt.Sprint(time.Now().Add(-time.Minute).UnixMilli(), "-0")
	if err := r.rdb.XAdd(ctx, &redis.XAddArgs{Stream: r.key(target, "events"), ID: old, Values: []any{"to", target, "data", 0}}).Err(); err != nil {
		t.Fatal(err)
	}
	before := join(t, g, "before", topics("x"))
	r.worker()
	before.mustHave(patience, target, 0, 1)
	r.stored(target, 1)
	after := join(t, g, "after", topics("x"))
	r.add("direct", target, 1, 2)
	before.mustHave(patience, target, 0, 3)
	after.mustHave(patience, target, 1, 3)
	if n := g.metric("sluice_gateway_gaps_total"); n != 0 {
		t.Errorf("%v gaps were told", n)
	}
}
