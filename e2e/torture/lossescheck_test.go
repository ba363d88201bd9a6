package torture

import (
	"context"
	"fmt"
	"testing"
	"time"

	"sluice/shared/wire"
)

// TestLosses loses each master of both shapes in each way, with a replica that lags and one that does not, and looks for
// what was lost: just what the replica had not got, also after a node was lost and promoted again.
func TestLosses(t *testing.T) {
	for _, kind := range []shape{withSentinel, withCluster} {
		t.Run(kind.name, func(t *testing.T) {
			s := newRedis(t, kind, 0)
			b := s.backend.(*replicated)
			const to = "topic:t0"
			shard := b.nodes.ShardOf(historyKey(to))
			n := 0
			add := func() {
				t.Helper()
				n++
				s.must("add", func(ctx context.Context) error {
					pipe := shard.Master().Client().TxPipeline()
					entry := fmt.Sprintf("%d-0", n)
					pipe.Do(ctx, "XADD", ingressStream(wire.Partition(to, partitions)), entry, "event", nameOf(n))
					pipe.Do(ctx, "XADD", historyKey(to), entry, "prev", "0", "event", nameOf(n))
					_, err := pipe.Exec(ctx)
					return err
				})
			}
			want := map[int]bool{}
			for _, lose := range []func(){
				func() { shard.Kill(); shard.Promoted() },
				func() { shard.Master().Pause(); shard.Promoted() },
				shard.Failover,
			} {
				add()
				shard.CatchUp()
				shard.Lag()
				add()
				want[n] = true
				begin := time.Now()
				lose()
				add()
				shard.Revive()
				s.must("compare", func(ctx context.Context) error { return b.losses.compare(ctx, shard, begin) })
				add()
			}
			s.must("read what is retained", b.losses.catchUp)
			log := &Log{}
			b.losses.fill(log)
			if len(log.Histories[to]) != n || fmt.Sprint(log.Flushed) != fmt.Sprint(want) {
				t.Errorf("%d of %d events are known, of which %v were lost, want %v", len(log.Histories[to]), n, log.Flushed, want)
			}
			for _, e := range log.Histories[to] {
				if e.Lost != want[e.N] || e.Lost != (e.Wiped == Failed) || e.Lost == e.Trimmed.IsZero() || e.Gone.Before(e.Trimmed) {
					t.Errorf("%+v, lost: want %v", e, want[e.N])
				}
			}
		})
	}
}
