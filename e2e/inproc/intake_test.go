package inproc_test

import (
	"fmt"
	"strings"
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

// TestIntakeRefused: Redis refuses what a batch of the intake needs (a dead letter has nowhere
// to go). What follows in the intake waits; what was forwarded before is delivered, and so is what
// comes to the partitions directly. Once that is mended, all goes on, in order and once.
func TestIntakeRefused(t *testing.T) {
	t.Parallel()
	r := newRig(t, onePartition)
	g := r.gateway()
	w := r.worker()
	const target, other = "topic:x", "topic:y"
	c := join(t, g, "alice", topics("x", "y"))
	r.add("intake", target, 0, 1)
	c.waitEvents(patience, target, 1)
	dead := []string{r.cfg.Prefix + "dead", r.cfg.Prefix + "{" + r.cfg.Prefix + "dead}:waiting"}
	if err := r.rdb.MSet(ctx, dead[0], "no stream", dead[1], "no list").Err(); err != nil {
		t.Fatal(err)
	}
	_, err := r.rdb.TxPipelined(ctx, func(pipe redis.Pipeliner) error { // one read of the worker's gets all
		r.entry(pipe, "intake", target, "1")
		pipe.XAdd(ctx, &redis.XAddArgs{Stream: r.intake(), Values: []string{"to", target}}) // has no data
		r.entry(pipe, "intake", target, "2")
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	c.waitEvents(patience, target, 3)
	r.add("intake", target, 3, 3)
	for n := range 5 {
		r.add("direct", other, n, 1)
		c.waitEvents(patience, other, n+1)
	}
	eventually(t, patience, "it is retried", func() error {
		if n := w.metric("sluice_worker_retries_total"); n < 2 {
			return fmt.Errorf("%v retries", n)
		}
		return nil
	})
	if n := w.metric("sluice_worker_failures_total"); n != 0 {
		t.Errorf("%v generations ended, want none", n)
	}
	if err := r.rdb.Del(ctx, dead...).Err(); err != nil {
		t.Fatal(err)
	}
	c.waitEvents(patience, target, 6)
	c.check(target, 0, 6)
	c.check(other, 0, 5)
	eventually(t, patience, "all is acknowledged", func() error { return pendingOf(r) })
	if letters := r.dead(); letters["no_data"] != 1 || len(letters) != 1 {
		t.Errorf("dead letters are %v, want one", letters)
	}
}

// TestIntakeHeldBack: a partition cannot take its entries, and more wait for it than are held
// back. The intake is read no more, and what comes to other partitions directly goes on. Once the
// partition's key is mended, all of it is delivered, in order and once.
func TestIntakeHeldBack(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(c *config) { c.Partitions = 2 })
	g := r.gateway()
	r.worker()
	x, y := r.targetOf(0, 0), r.targetOf(1, 0)
	c := join(t, g, "alice", topics(x, y))
	r.add("intake", x, 0, 1)
	r.add("intake", y, 0, 1)
	c.waitEvents(patience, x, 1)
	c.waitEvents(patience, y, 1)
	eventually(t, patience, "all is acknowledged", func() error { return pendingOf(r) })
	// The partition's mark cannot be read: nothing more can be forwarded to it.
	mark := r.keyOf(0, "forwarded")
	was := r.rdb.Get(ctx, mark).Val()
	if err := r.rdb.Set(ctx, mark, "nonsense", 0).Err(); err != nil {
		t.Fatal(err)
	}
	const many, heldBack = 400, 8 << 20
	pad := strings.Repeat("x", 60_000)
	for n := 1; n < many; n++ { // 24 MB
		values := []string{"to", x, "data", fmt.Sprintf(`{"n":%d,"pad":%q}`, n, pad)}
		if err := r.rdb.XAdd(ctx, &redis.XAddArgs{Stream: r.intake(), Values: values}).Err(); err != nil {
			t.Fatal(err)
		}
	}
	r.add("intake", y, 1, 1) // behind them
	left := func() (pending, lag int64) {
		groups, err := r.rdb.XInfoGroups(ctx, r.intake()).Result()
		if err != nil || len(groups) != 1 {
			t.Fatalf("%v, %v", groups, err)
		}
		return groups[0].Pending, groups[0].Lag
	}
	eventually(t, patience, "as much is read as is held back", func() error {
		if n, _ := left(); n < heldBack/70_000 {
			return fmt.Errorf("%d entries are read", n)
		}
		return nil
	})
	for n := range 50 { // a batch each, with which more of the intake would be read
		r.add("direct", y, n+1, 1)
		c.waitEvents(patience, y, n+2)
	}
	if pending, lag := left(); lag < many/4 {
		t.Errorf("%d entries of the intake are held back, and %d not read; want it to be read no more", pending, lag)
	}
	if err := r.rdb.Set(ctx, mark, was, 0).Err(); err != nil {
		t.Fatal(err)
	}
	c.mustHave(patience, x, 0, many)
	c.waitEvents(patience, y, 52)
	eventually(t, patience, "all is acknowledged", func() error { return pendingOf(r) })
	r.noDead()
}
