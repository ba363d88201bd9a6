package storetest

import (
	"context"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"sluice/shared/store"
	"sluice/shared/wire"
)

func TestMove(t *testing.T) {
	b := multi(t)
	x := &suite{b}
	ctx := t.Context()
	cc := b.Client.(*redis.ClusterClient)
	s := x.open(t, nil)
	to := targetIn(0, 0)
	a := x.own(t, s, "a", 0)
	ids := x.add(t, 0, to, 3)
	want(t, "n", len(a.next()), 3)
	a.append(to, wire.ID{}, ids...)
	src, err := cc.MasterForKey(ctx, key(0, "events"))
	must(t, err)
	var dst *redis.Client
	cc.ForEachMaster(ctx, func(ctx context.Context, c *redis.Client) error {
		if c.Options().Addr != src.Options().Addr { dst = c }
		return nil
	})
	slot := src.ClusterKeySlot(ctx, key(0, "events")).Val()
	sid, did := src.ClusterMyID(ctx).Val(), dst.ClusterMyID(ctx).Val()
	must(t, dst.Do(ctx, "CLUSTER", "SETSLOT", slot, "IMPORTING", sid).Err())
	must(t, src.Do(ctx, "CLUSTER", "SETSLOT", slot, "MIGRATING", did).Err())
	host, port := "127.0.0.1", dst.Options().Addr[len("127.0.0.1:"):]
	keys := src.ClusterGetKeysInSlot(ctx, int(slot), 100).Val()
	t.Log(keys)
	mig := []any{"MIGRATE", host, port, "", 0, 5000, "KEYS"}
	for _, k := range keys { mig = append(mig, k) }
	must(t, src.Do(ctx, mig...).Err())
	_, err = a.commit(nil, ackOf(0, ids...))
	t.Log("commit during migration:", err)
	t.Log("publish during migration:", s.Publish(ctx, []store.Publication{{To: to, Fields: []string{"to", to, "data", "x"}}}))
	q := &store.Query{Target: to, Limit: 10}
	t.Log("history during migration:", s.History(ctx, q))
	for _, c := range []*redis.Client{dst, src} { must(t, c.Do(ctx, "CLUSTER", "SETSLOT", slot, "NODE", did).Err()) }
	start := time.Now()
	Eventually(t, func() error { err := s.History(ctx, q); t.Log("history", err); return err })
	t.Log("took", time.Since(start), len(q.Page.Events))
	Eventually(t, func() error { _, err := a.commit(nil, ackOf(0, ids...)); t.Log("commit", err); return err })
	t.Log("took", time.Since(start))
	x.add(t, 0, to, 1)
	Eventually(t, func() error { _, err := s.TakeOver(ctx, "a", "zz", leaseTTL, []int{0}); t.Log("takeover", err); return err })
}
