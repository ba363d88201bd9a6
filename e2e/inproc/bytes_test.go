package inproc_test

import (
	"fmt"
	"strings"
	"testing"
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
	if log := r.redis.out.String(); strings.Contains(log, "query buffer") {
		t.Errorf("Redis has cut a link: %s", log)
	}
	r.noDead()
}
