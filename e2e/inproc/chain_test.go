package inproc_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"sluice/worker"
)

// TestChainOfManyTargets has many more targets than the worker remembers, in batches that
// make it forget some while it works on them. Each event's prev is the one before it.
func TestChainOfManyTargets(t *testing.T) {
	t.Parallel()
	r := newRig(t, onePartition)
	w := r.worker(func(c *worker.Config) { c.TargetCache = 20 })
	r.waitOwners(patience, map[string]int{w.name: 1})
	const targets, total = 60, 6000
	name := func(i int) string { return fmt.Sprint("topic:", i) }
	for range total / 200 {
		pipe := r.rdb.Pipeline()
		for range 200 {
			r.entry(pipe, "direct", name(rand.IntN(targets)), "0")
		}
		if _, err := pipe.Exec(ctx); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, patience, "all events are processed", func() error {
		if n := w.metric("sluice_worker_events_total"); n < total {
			return fmt.Errorf("%v of %d", n, total)
		}
		return nil
	})
	entries, broken := 0, 0
	for i := range targets {
		history, err := r.rdb.XRange(ctx, r.key(name(i), "history"), "-", "+").Result()
		if err != nil {
			t.Fatal(err)
		}
		before := "0"
		for _, m := range history {
			if m.Values["prev"] != before {
				broken++
			}
			entries, before = entries+1, m.ID
		}
	}
	if entries != total || broken > 0 {
		t.Errorf("%d of %d entries are retained, %d have a prev that is not the entry before", entries, total, broken)
	}
	r.noDead()
}
