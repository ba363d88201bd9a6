package inproc_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"sluice/worker"
)

// TestLargeBatch has 18 MB wait, twice, in one batch by entries, where Redis cuts off who has
// 8 MiB in a transaction. They come in order, by both ways, and nobody is cut off.
func TestLargeBatch(t *testing.T) {
	t.Parallel()
	r := newRig(t, onePartition)
	if err := r.rdb.ConfigSet(ctx, "client-query-buffer-limit", "8388608").Err(); err != nil {
		t.Fatal(err)
	}
	const n = 300
	pad := strings.Repeat("x", 60_000)
	for _, way := range []string{"direct", "intake"} {
		for i := range n {
			if err := r.rdb.Do(ctx, "XADD", map[string]string{"direct": r.key("topic:direct", "events"), "intake": r.intake()}[way], "*",
				"to", "topic:"+way, "data", fmt.Sprintf(`{"n":%d,"pad":"%s"}`, i, pad)).Err(); err != nil {
				t.Fatal(err)
			}
		}
	}
	r.worker()
	for _, target := range []string{"topic:direct", "topic:intake"} {
		eventually(t, patience, "all of "+target, func() error {
			if got := r.rdb.XLen(ctx, r.key(target, "history")).Val(); got != n {
				return fmt.Errorf("%d of %d", got, n)
			}
			return nil
		})
		before := "0"
		for i, m := range r.rdb.XRange(ctx, r.key(target, "history"), "-", "+").Val() {
			if m.Values["prev"] != before || !strings.HasPrefix(m.Values["data"].(string), fmt.Sprintf(`{"n":%d,`, i)) {
				t.Fatalf("%s, entry %d: prev %v, want %s", target, i, m.Values["prev"], before)
			}
			before = m.ID
		}
	}
	if log := r.redis.process.Printed(); strings.Contains(log, "query buffer") {
		t.Errorf("Redis has cut a link: %s", log)
	}
	r.noDead()
}

// TestHistoryBoundedInBytes: large events leave a history by its bound in bytes, also when the
// owner has just begun and when its cache forgets; who wants what has gone is told so, and
// Redis hands out no entry for that.
func TestHistoryBoundedInBytes(t *testing.T) {
	t.Parallel()
	const bound, size, n, targets = 64 << 10, 6000, 25, 4
	r := newRig(t, onePartition, func(c *config) { c.HistoryBytes = bound })
	g := r.gateway()
	w := r.worker(func(c *worker.Config) { c.TargetCache = 2 })
	pad := strings.Repeat("x", size)
	for i := range n {
		if i == n/2 {
			w.stop()
			w = r.worker(func(c *worker.Config) { c.TargetCache = 2 })
		}
		for j := range targets {
			if err := r.rdb.XAdd(ctx, &redis.XAddArgs{Stream: r.key("topic:0", "events"), Values: []any{
				"to", fmt.Sprint("topic:", j), "data", fmt.Sprintf(`{"n":%d,"pad":"%s"}`, i, pad),
			}}).Err(); err != nil {
				t.Fatal(err)
			}
		}
		eventually(t, patience, "the events are in their histories", func() error { // one batch each: the cache forgets between them
			newest := r.rdb.XRevRangeN(ctx, r.key(fmt.Sprint("topic:", targets-1), "history"), "+", "-", 1).Val()
			if len(newest) == 0 || !strings.HasPrefix(newest[0].Values["data"].(string), fmt.Sprintf(`{"n":%d,`, i)) {
				return fmt.Errorf("not number %d", i)
			}
			return nil
		})
	}
	for j := range targets {
		kept := r.rdb.XRange(ctx, r.key(fmt.Sprint("topic:", j), "history"), "-", "+").Val()
		if held := len(kept) * size; held > bound || held < bound*3/4 {
			t.Errorf("topic:%d keeps %d events, %d bytes, of a bound of %d", j, len(kept), held, bound)
		}
	}
	c := join(t, g, "alice")
	c.send(msg{"type": "subscribe", "to": "topic:0", "after": "1-1"})
	gap := c.wait("a gap", func(f frame) bool { return f.Type == "gap" })
	if gap.Reason != "trimmed" {
		t.Errorf("the gap is %+v", gap)
	}
	output := func() (n int64) {
		_, _ = fmt.Sscan(r.rdb.InfoMap(ctx, "stats").Val()["Stats"]["total_net_output_bytes"], &n)
		return n
	}
	before := output()
	for i := range 20 {
		c.send(msg{"type": "subscribe", "ref": fmt.Sprint("gap", i), "to": "topic:0", "after": "1-1"})
		c.answer(fmt.Sprint("gap", i))
		c.send(msg{"type": "subscribe", "ref": fmt.Sprint("have", i), "to": "topic:0", "after": c.last("topic:0")})
		c.answer(fmt.Sprint("have", i))
	}
	if read := output() - before; read > 20*size {
		t.Errorf("Redis handed out %d bytes to a client that got no event", read)
	}
	r.noDead()
}
