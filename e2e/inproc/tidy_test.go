package inproc_test

import (
	"fmt"
	"regexp"
	"slices"
	"testing"
)

// TestNothingStaysBehind: gateways, workers and clients come and go, and what Redis
// holds afterwards is the histories, and no more after the sixth time than after the
// second.
func TestNothingStaysBehind(t *testing.T) {
	t.Parallel()
	r := newRig(t, onePartition)
	sent := 0
	round := func() {
		g1, g2, w1, w2 := r.gateway(), r.gateway(), r.worker(), r.worker()
		c := dial(t, g1, "alice", topics("room"), asDevice("alice", "phone"))
		c.waitSubscribed("topic:room")
		r.add("direct", "topic:room", sent, 10)
		r.add("intake", "user:alice", sent, 10)
		sent += 10
		c.waitEvents(patience, "topic:room", 10)
		c.waitEvents(patience, "user:alice", 10)
		// The second one comes too soon after the first one to be trimmed by this worker.
		for _, id := range []string{c.all("topic:room")[1].ID, c.last("topic:room")} {
			c.send(msg{"type": "ack", "to": "topic:room", "id": id})
			eventually(t, patience, "everything is acknowledged", func() error {
				if cursor := r.rdb.HGet(ctx, r.key("user:alice", "cursor")+":user:alice", "phone topic:room").Val(); cursor != id {
					return fmt.Errorf("the cursor is %q", cursor)
				}
				return pendingOf(r)
			})
		}
		c.leave()
		for _, p := range []*process{g1.process, g2.process, w1, w2} {
			p.stop()
		}
	}
	round()
	round()
	r.trimmed()
	second := r.holds()
	for range 4 {
		round()
	}
	r.trimmed()
	if sixth := r.holds(); !slices.Equal(second, sixth) {
		t.Errorf("after two rounds:\n%q\nafter six:\n%q", second, sixth)
	}
}

// trimmed lets a worker take over what others have left, and waits until nothing is:
// of acks the last one stays.
func (r *rig) trimmed() {
	r.t.Helper()
	w := r.worker()
	for key, rest := range map[string]int64{"sluice:events": 0, r.key("user:alice", "events"): 0, r.key("user:alice", "acks"): 1} {
		eventually(r.t, patience, key+" is trimmed", func() error {
			if n := r.rdb.XLen(ctx, key).Val(); n > rest {
				return fmt.Errorf("%d entries", n)
			}
			return nil
		})
	}
	w.stop()
}

// holds lists what Redis has, without what is meant to grow with the events: keys with
// how many groups and consumers there are, and members of what is no history.
func (r *rig) holds() []string {
	r.t.Helper()
	var out []string
	name := regexp.MustCompile(`[0-9a-z]{8}-[0-9a-z-]{27}|[A-Z2-7]{12,}`) // given at random
	for _, key := range r.rdb.Keys(ctx, "*").Val() {
		kind := r.rdb.Type(ctx, key).Val()
		line := name.ReplaceAllString(key, "*") + " " + kind
		switch kind {
		case "stream":
			groups := r.rdb.XInfoGroups(ctx, key).Val()
			line += fmt.Sprint(" ", len(groups), " groups")
			for _, g := range groups {
				line += fmt.Sprintf(" %d consumers, %d pending", g.Consumers, g.Pending)
			}
			if len(groups) > 0 { // else a history
				line += fmt.Sprint(" ", r.rdb.XLen(ctx, key).Val(), " entries")
			}
		case "hash":
			line += fmt.Sprint(" ", r.rdb.HLen(ctx, key).Val())
		case "set":
			line += fmt.Sprint(" ", r.rdb.SCard(ctx, key).Val())
		case "zset":
			line += fmt.Sprint(" ", r.rdb.ZCard(ctx, key).Val())
		case "list":
			line += fmt.Sprint(" ", r.rdb.LLen(ctx, key).Val())
		}
		out = append(out, line)
	}
	slices.Sort(out)
	return out
}
