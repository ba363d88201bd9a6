package storetest

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"sluice/shared/store"
)

const (
	patience  = 15 * time.Second // no condition takes longer, also on a busy machine
	pollEvery = 5 * time.Millisecond
)

// Eventually waits until ok returns nil, and fails the test with its last error when
// that takes too long.
func Eventually(tb testing.TB, ok func() error) {
	tb.Helper()
	deadline := time.Now().Add(patience)
	for {
		err := ok()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			tb.Fatalf("still not after %v: %v", patience, err)
		}
		time.Sleep(pollEvery)
	}
}

// Embedded starts the embedded Redis, with keys that expire by the clock.
func Embedded(tb testing.TB) *miniredis.Miniredis {
	tb.Helper()
	m := miniredis.NewMiniRedis()
	m.ClockTTL(true)
	if err := m.Start(); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(m.Close)
	return m
}

// Config is the default configuration over a Redis.
func Config(url string) store.Config {
	return store.Config{
		RedisURL: url, Prefix: "sluice:", Partitions: 16, HistorySize: 1000,
		HistoryTTL: 24 * time.Hour, SessionTTL: time.Minute, MaxData: 64 << 10,
	}
}

// Open opens a store with the default configuration, changed by mutate if that is
// not nil, and waits until it is ready. It is closed at the end of the test.
func Open(tb testing.TB, url string, mutate func(*store.Config)) *store.Store {
	tb.Helper()
	cfg := Config(url)
	if mutate != nil {
		mutate(&cfg)
	}
	s, err := store.Open(cfg)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = s.Close() })
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := s.Await(ctx, func(error) {}); err != nil {
		tb.Fatal(err)
	}
	return s
}

// Backend is a Redis under the conformance suite. The suite deletes all its data.
type Backend struct {
	URL    string
	Client redis.UniversalClient // to prepare and to look, beside the store
	Server *Server               // nil: the embedded one
}

// OnRedis is a redis-server as a backend.
func OnRedis(tb testing.TB) *Backend {
	tb.Helper()
	s := Redis(tb)
	return &Backend{URL: s.URL(), Client: s.Client(), Server: s}
}

// OnCluster is a Cluster as a backend.
func OnCluster(tb testing.TB) *Backend {
	tb.Helper()
	s := Cluster(tb)
	return &Backend{URL: s.URL(), Client: s.Client(), Server: s}
}

// OnEmbedded is the embedded Redis as a backend.
func OnEmbedded(tb testing.TB) *Backend {
	tb.Helper()
	m := Embedded(tb)
	client := newClient(m.Addr())
	tb.Cleanup(func() { _ = client.Close() })
	return &Backend{URL: "redis://" + m.Addr(), Client: client}
}

func (b *Backend) cluster() bool { return b.Server != nil && b.Server.cluster }

// reset deletes all data and scripts.
func (b *Backend) reset(tb testing.TB) {
	tb.Helper()
	if b.Server != nil && b.Server.process == nil { // a check has failed while it was stopped
		b.Server.Restart()
	}
	ctx := context.Background()
	if err := b.each(ctx, func(ctx context.Context, c *redis.Client) error {
		return errors.Join(c.FlushAll(ctx).Err(), c.ScriptFlush(ctx).Err())
	}); err != nil {
		tb.Fatal(err)
	}
}

// each does something on each node.
func (b *Backend) each(ctx context.Context, do func(context.Context, *redis.Client) error) error {
	if all, ok := b.Client.(*redis.ClusterClient); ok {
		return all.ForEachMaster(ctx, do)
	}
	return do(ctx, b.Client.(*redis.Client))
}
