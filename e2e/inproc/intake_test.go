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
			if err := r.rdb.Set(ctx, "sluice:{0}:forwarded", "99999999999999-0", 0).Err(); err != nil {
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
