package inproc_test

import (
	"fmt"
	"testing"

	"github.com/redis/go-redis/v9"
)

// TestIntakeBeginsBelow deletes the intake after somebody has appended an entry with an id
// of the future. What comes then has lower ids than what was forwarded: each event is
// delivered all the same, and once; also when nobody works at that time, and the next
// worker begins in the middle of it.
func TestIntakeBeginsBelow(t *testing.T) {
	t.Parallel()
	for _, away := range []bool{false, true} {
		t.Run(fmt.Sprintf("worker away %v", away), func(t *testing.T) {
			t.Parallel()
			r := newRig(t, func(c *config) { c.Partitions = 2 })
			g, w := r.gateway(), r.worker()
			x, y := r.targetOf(0, 0), r.targetOf(1, 0)
			c := join(t, g, "alice", topics(x, y))
			r.add("intake", x, 0, 3)
			future := &redis.XAddArgs{Stream: r.intake(), ID: "99999999999999-0", Values: []string{"to", x, "data", "3"}}
			if err := r.rdb.XAdd(ctx, future).Err(); err != nil {
				t.Fatal(err)
			}
			c.mustHave(patience, x, 0, 4)
			eventually(t, patience, "all is acknowledged", func() error { return pendingOf(r) })
			n := 4
			for range 3 {
				if away {
					w.stop()
				}
				if err := r.rdb.Del(ctx, r.intake()).Err(); err != nil {
					t.Fatal(err)
				}
				r.add("intake", x, n, 10)
				r.add("intake", y, n-4, 10)
				if n += 10; away {
					w = r.worker()
				}
				c.mustHave(patience, x, 0, n)
				c.mustHave(patience, y, 0, n-4)
				eventually(t, patience, "all is acknowledged", func() error { return pendingOf(r) })
			}
			// A mark that somebody sets is not above what is new, either.
			if err := r.rdb.Set(ctx, r.keyOf(0, "forwarded"), "99999999999999-0", 0).Err(); err != nil {
				t.Fatal(err)
			}
			r.add("intake", x, n, 10)
			c.mustHave(patience, x, 0, n+10)
			r.noDead()
		})
	}
}

// TestIntakeGroupLost deletes the group of a young intake, of which nothing has been
// trimmed: what was forwarded is not forwarded again.
func TestIntakeGroupLost(t *testing.T) {
	t.Parallel()
	r := newRig(t, onePartition)
	g, w := r.gateway(), r.worker()
	c := join(t, g, "alice", topics("x"))
	n := 0
	for range 20 {
		r.add("intake", "topic:x", n, 5)
		n += 5
		c.waitEvents(patience, "topic:x", n)
		groups, err := r.rdb.XInfoGroups(ctx, r.intake()).Result()
		if err != nil {
			t.Fatal(err)
		}
		for _, g := range groups {
			r.rdb.XGroupDestroy(ctx, r.intake(), g.Name)
		}
	}
	w.stop()
	r.worker()
	r.add("intake", "topic:x", n, 5)
	c.mustHave(patience, "topic:x", 0, n+5)
	c.check("topic:x", 0, n+5)
	if length := r.rdb.XLen(ctx, r.key("topic:x", "history")).Val(); length != int64(n+5) {
		t.Errorf("%d events in the history, want %d", length, n+5)
	}
	r.noDead()
}

// TestIntakeAfterAFailover: a new master has entries of the intake, but neither the last one
// nor that they were read. They have been forwarded, and are not again; what comes is.
func TestIntakeAfterAFailover(t *testing.T) {
	t.Parallel()
	r := newRig(t, onePartition)
	g := r.gateway()
	w := r.worker()
	const target = "topic:x"
	c := join(t, g, "alice", topics("x"))
	var ids []string
	for n := range 5 {
		id, err := r.rdb.XAdd(ctx, &redis.XAddArgs{Stream: r.intake(), Values: []any{"to", target, "data", n}}).Result()
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, id)
	}
	c.mustHave(patience, target, 0, 5)
	eventually(t, patience, "all is acknowledged", func() error { return pendingOf(r) })
	w.stop()
	groups, err := r.rdb.XInfoGroups(ctx, r.intake()).Result()
	if err != nil || len(groups) != 1 {
		t.Fatal(groups, err)
	}
	r.rdb.Del(ctx, r.intake())
	for n, id := range ids[:4] { // the last one is lost
		if err := r.rdb.XAdd(ctx, &redis.XAddArgs{Stream: r.intake(), ID: id, Values: []any{"to", target, "data", n}}).Err(); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.rdb.XGroupCreate(ctx, r.intake(), groups[0].Name, ids[1]).Err(); err != nil {
		t.Fatal(err)
	}
	r.worker()
	r.add("intake", target, 5, 3)
	c.mustHave(patience, target, 0, 8)
	if n := r.rdb.XLen(ctx, r.key(target, "history")).Val(); n != 8 {
		t.Errorf("%d events in the history, want 8", n)
	}
	r.noDead()
}
