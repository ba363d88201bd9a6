package inproc_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/redis/go-redis/v9"
)

// fillable is a small Redis with the usual bounds.
func fillable(t *testing.T) *rig {
	r := newRig(t, func(c *config) { c.HistoryBytes, c.MemoryPercent = 2<<20, 80 })
	if err := r.rdb.ConfigSet(ctx, "maxmemory", "32mb").Err(); err != nil {
		t.Fatal(err)
	}
	return r
}

// flowsAgain waits until an event goes through, and nothing waits any more.
func (r *rig) flowsAgain(c *client, target string) {
	r.t.Helper()
	n := 0
	eventually(r.t, patience, "a client can publish again", func() error {
		n++
		ref := fmt.Sprint("again", n)
		c.send(msg{"type": "publish", "ref": ref, "to": target, "data": "again", "id": "again"})
		if f := c.answer(ref); f.Type != "published" {
			return fmt.Errorf("%s %s", f.Type, f.Code)
		}
		return nil
	})
	c.waitEvents(patience, target, 1)
	eventually(r.t, patience, "nothing waits for workers", func() error {
		for p := range r.cfg.Partitions {
			if n := r.rdb.XLen(ctx, r.keyOf(p, "events")).Val(); n > 0 {
				return fmt.Errorf("%d entries in partition %d", n, p)
			}
		}
		return nil
	})
}

// TestClientsCannotFillRedis: clients publish more than Redis can hold. They are refused before
// it is full, histories become shorter, everything that was answered `published` and is younger
// than the begin of its history is in it, and all flows again after they left.
func TestClientsCannotFillRedis(t *testing.T) {
	t.Parallel()
	r := fillable(t)
	g1, g2, _, _ := r.pair()
	other := join(t, g1, "other", topics("quiet"))
	const floods, topicsOf, window = 4, 5, 16
	pad := strings.Repeat("x", 60_000)
	var mu sync.Mutex
	published, refused, done := 0, 0, map[string][]string{}
	enough := func() bool {
		mu.Lock()
		defer mu.Unlock()
		return published >= 200 && refused > 0
	}
	var flood sync.WaitGroup
	for i := range floods {
		c := join(t, []*gatewayProcess{g1, g2}[i%2], fmt.Sprint("flood", i))
		flood.Go(func() {
			end := within(patience)
			for n := 0; end.left() > 0 && !enough(); n += window {
				to := func(k int) string { return fmt.Sprintf("topic:%d-%d", i, k%topicsOf) }
				for k := n; k < n+window; k++ {
					c.send(msg{"type": "publish", "ref": fmt.Sprint(k), "to": to(k), "data": pad})
				}
				for k := n; k < n+window; k++ {
					f := c.answer(fmt.Sprint(k))
					mu.Lock()
					if f.Type == "published" {
						done[to(k)] = append(done[to(k)], f.ID)
						published++
					} else {
						refused++
					}
					mu.Unlock()
				}
			}
			c.leave()
		})
	}
	flood.Wait()
	r.flowsAgain(other, "topic:quiet")
	for to, ids := range done {
		kept := map[string]bool{}
		oldest := ""
		for _, m := range r.rdb.XRange(ctx, r.key(to, "history"), "-", "+").Val() {
			if kept[m.ID] = true; oldest == "" {
				oldest = m.ID
			}
		}
		last := ids[len(ids)-1]
		if !kept[last] {
			t.Errorf("%s: the last event that was published, %s, is not retained", to, last)
		}
		for _, id := range ids {
			if !kept[id] && redisIDLess(oldest, id) {
				t.Errorf("%s: %s was published and is missing behind %s", to, id, oldest)
			}
		}
	}
	t.Logf("%d events of 60 KB were published, %d refused", published, refused)
	if !enough() {
		t.Error("Redis was never nearly full, or nothing flowed any more")
	}
	r.noDead()
}

func redisIDLess(a, b string) bool {
	var x, y [2]uint64
	_, _ = fmt.Sscanf(a, "%d-%d", &x[0], &x[1])
	_, _ = fmt.Sscanf(b, "%d-%d", &y[0], &y[1])
	return x[0] < y[0] || (x[0] == y[0] && x[1] < y[1])
}

// TestBackendFillsRedis: a backend appends until Redis refuses, which nobody can bound. As long
// as histories can make room, what it has appended is brought to the histories all the same, and clients can publish again.
func TestBackendFillsRedis(t *testing.T) {
	t.Parallel()
	r := fillable(t)
	g, _, _, _ := r.pair()
	other := join(t, g, "other", topics("quiet"))
	pad := strings.Repeat("x", 60_000)
	accepted, refused := map[string]int{}, 0
	idle := func() bool { return r.rdb.XLen(ctx, r.key("topic:0", "events")).Val() == 0 }
	for n := 0; refused < 20; n++ {
		if n < 25 { // three quarters are histories, which can make room
			eventually(t, patience, "the workers have the last ones", func() error {
				if !idle() {
					return fmt.Errorf("they wait")
				}
				return nil
			})
		}
		pipe := r.rdb.Pipeline()
		var adds []*redis.StringCmd
		for k := range 16 {
			to := fmt.Sprint("topic:", (n*16+k)%20)
			adds = append(adds, pipe.XAdd(ctx, &redis.XAddArgs{Stream: r.key(to, "events"), Values: []any{"to", to, "data", pad}}))
		}
		_, _ = pipe.Exec(ctx)
		for k, a := range adds {
			if a.Err() == nil {
				accepted[fmt.Sprint("topic:", (n*16+k)%20)]++
			} else {
				refused++
			}
		}
		if n > 1000 {
			t.Skip("the workers keep up with the backend on this machine")
		}
	}
	r.flowsAgain(other, "topic:quiet")
	for to := range accepted {
		if n := r.rdb.XLen(ctx, r.key(to, "history")).Val(); n == 0 {
			t.Errorf("%s has no history", to)
		}
	}
	r.noDead()
}
