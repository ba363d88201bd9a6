package torture

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"sluice/shared/store/storetest"
)

// replicated is a Redis whose masters are lost: each has a replica, which Sentinel or the Cluster promotes. Processes
// reach its nodes straight, since each node names its own address, so there are no faults of their links.
//
// What a lost master had and its replica had not is gone, and is known: see losses. So that nothing else takes events
// away, histories live longer than the run, and faults that delete or trim them are left out; so are ids ahead of time,
// under which those of a new master would come to stand before those that were lost. Devices are left out, since a lost
// master may take cursors back, which the checker does not follow yet; and so are wrong clocks.
type replicated struct {
	system *system
	nodes  *storetest.Replicated
	rdb    redis.UniversalClient
	losses *losses
}

var failures = []*faultKind{
	{name: "master-kill", holds: "redis", from: 4 * time.Second, to: 8 * time.Second, do: (*damage).masterKill},
	{name: "master-freeze", holds: "redis", from: 4 * time.Second, to: 8 * time.Second, do: (*damage).masterFreeze},
	{name: "master-failover", holds: "redis", from: 4 * time.Second, to: 8 * time.Second, do: (*damage).masterFailover},
}

var spared = []string{"link-", "trim", "redis-evict", "ids-jump"}

// withSentinel is a master with a replica, and a Sentinel.
var withSentinel = shape{"sentinel", func(s *system, _ []string) backend {
	return startReplicated(s, storetest.Sentinel(s.t, "--appendonly", "yes", "--appendfsync", "no"))
}, failures, spared, adaptToFailures}

// withCluster is a Cluster of three masters with a replica each.
var withCluster = shape{"cluster", func(s *system, _ []string) backend {
	return startReplicated(s, storetest.ReplicatedCluster(s.t, 3, "--appendonly", "yes", "--appendfsync", "no"))
}, failures, spared, adaptToFailures}

func adaptToFailures(p *plan) {
	p.clock, p.ttl = 0, max(time.Hour, 2*p.duration)
	p.delay = [2]time.Duration{}
	p.devices, p.rules.Devices = false, false
}

func startReplicated(s *system, nodes *storetest.Replicated) backend {
	b := &replicated{system: s, nodes: nodes}
	b.rdb = b.dial(nil)
	return b
}

func (b *replicated) client() redis.UniversalClient { return b.rdb }
func (b *replicated) through(*link) string          { return b.nodes.URL() }
func (b *replicated) close()                        { _ = b.rdb.Close() }

func (b *replicated) accounts() accounts {
	b.losses = newLosses(b.nodes)
	return b.losses
}

// dial is a client that repeats nothing by itself, and looks soon for the master that is new.
func (b *replicated) dial(*link) redis.UniversalClient {
	const wait = 2 * time.Second
	addrs, query, _ := strings.Cut(strings.TrimPrefix(b.nodes.URL(), "redis://"), "?")
	if _, master, ok := strings.Cut(query, "master_name="); ok {
		return redis.NewFailoverClient(&redis.FailoverOptions{
			MasterName: master, SentinelAddrs: []string{addrs}, MaxRetries: -1, DialerRetries: 1, Protocol: 2, DisableIdentity: true,
			DialTimeout: wait, ReadTimeout: wait, WriteTimeout: wait,
		})
	}
	return redis.NewClusterClient(&redis.ClusterOptions{
		Addrs: strings.Split(addrs, ","), MaxRedirects: -1, DialerRetries: 1, Protocol: 2, DisableIdentity: true,
		DialTimeout: wait, ReadTimeout: wait, WriteTimeout: wait, ClusterStateReloadInterval: 300 * time.Millisecond,
	})
}

func (b *replicated) each(ctx context.Context, f func(context.Context, *redis.Client) error) error {
	for _, s := range b.nodes.Shards() {
		if err := f(ctx, s.Master().Client()); err != nil {
			return err
		}
	}
	return nil
}

func (d *damage) masterKill() {
	d.fail(func(s *storetest.Shard) { s.Kill(); s.Promoted() })
}

func (d *damage) masterFreeze() {
	d.fail(func(s *storetest.Shard) { s.Master().Pause(); s.Promoted() })
}

func (d *damage) masterFailover() { d.fail((*storetest.Shard).Failover) }

// fail loses the master of a shard, half of the times when its replica lags, and brings it back as a replica.
func (d *damage) fail(lose func(*storetest.Shard)) {
	b := d.backend.(*replicated)
	i := d.rng.IntN(len(b.nodes.Shards()))
	s := b.nodes.Shards()[i]
	while := func() { pause(d.ctx, time.Duration(50+d.rng.IntN(1500))*time.Millisecond) }
	d.place = fmt.Sprintf("shard %d", i)
	if d.rng.IntN(2) == 0 {
		d.place += ", its replica lagged"
		s.Lag()
		while()
	}
	begin := time.Now()
	lose(s)
	while()
	s.Revive()
	d.must("compare the old master with the new one", func(ctx context.Context) error { return b.losses.compare(ctx, s, begin) })
}
