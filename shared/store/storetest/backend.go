package storetest

import (
	"context"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"sluice/shared/store"
)

const (
	patience  = 15 * time.Second // no condition takes longer, also on a busy machine
	pollEvery = 5 * time.Millisecond
	// undetected is longer than any check stops a node: only the checks of failovers shall
	// have one.
	undetected = time.Minute
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
		RedisURL: url, Prefix: "sluice:", Partitions: 16, HistorySize: 1000, HistoryBytes: 4 << 20,
		HistoryTTL: 24 * time.Hour, SessionTTL: time.Minute, MaxData: 64 << 10,
	}
}

// Open opens a store with the default configuration, changed by mutate if that is
// not nil, and waits until it is ready. It is closed at the end of the test.
func Open(tb testing.TB, url string, mutate func(*store.Config)) *store.Store {
	tb.Helper()
	s := made(tb, url, mutate)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := s.Await(ctx, func(error) {}); err != nil {
		tb.Fatal(err)
	}
	return s
}

// Unasked is a store as Open makes it without a Redis, for tests of what asks it for nothing.
func Unasked(tb testing.TB, mutate func(*store.Config)) *store.Store {
	tb.Helper()
	return made(tb, "redis://127.0.0.1:1", mutate)
}

func made(tb testing.TB, url string, mutate func(*store.Config)) *store.Store {
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
	return s
}

// Backend is a Redis under the conformance suite. The suite deletes all its data.
type Backend struct {
	URL       string
	Client    redis.UniversalClient // to prepare and to look, beside the store
	OwnThread bool                  // lanes hold a thread while they wait
	server    *Server               // nil: the embedded one, or replicated
	nodes     *Replicated           // nil: a server without a replica
}

// OnRedis is a redis-server as a backend.
func OnRedis(tb testing.TB) *Backend {
	tb.Helper()
	s := Redis(tb)
	return &Backend{URL: s.URL(), Client: s.Client(), server: s}
}

// OnOwnThread is a redis-server as a backend of lanes that hold a thread each.
func OnOwnThread(tb testing.TB) *Backend {
	tb.Helper()
	b := OnRedis(tb)
	b.OwnThread = true
	return b
}

// OnSentinel is a redis-server with a replica, found by way of a Sentinel, as a backend.
// Its lanes want to hold a thread, as those of a worker do.
func OnSentinel(tb testing.TB) *Backend {
	tb.Helper()
	r := Sentinel(tb)
	r.Detect(undetected)
	return &Backend{URL: r.URL(), Client: r.Client(), nodes: r, OwnThread: true}
}

// OnReplicatedCluster is a Cluster of three masters with a replica each as a backend.
func OnReplicatedCluster(tb testing.TB) *Backend {
	tb.Helper()
	r := ReplicatedCluster(tb, 3)
	r.Detect(undetected)
	return &Backend{URL: r.URL(), Client: r.Client(), nodes: r}
}

// OnCluster is a Cluster of one node as a backend.
func OnCluster(tb testing.TB) *Backend {
	tb.Helper()
	s := Cluster(tb)
	return &Backend{URL: s.URL(), Client: s.Client(), server: s}
}

// OnEmbedded is the embedded Redis as a backend.
func OnEmbedded(tb testing.TB) *Backend {
	tb.Helper()
	m := Embedded(tb)
	client := newClient(m.Addr())
	tb.Cleanup(func() { _ = client.Close() })
	return &Backend{URL: "redis://" + m.Addr(), Client: client}
}

func (b *Backend) cluster() bool {
	return (b.server != nil && b.server.cluster) || (b.nodes != nil && b.nodes.sentinel == nil)
}

// real reports whether it is a redis-server, and not the embedded one.
func (b *Backend) real() bool { return b.server != nil || b.nodes != nil }

// rights fails the test if a right was missing.
func (b *Backend) rights(tb testing.TB) {
	tb.Helper()
	for _, s := range b.servers() {
		CheckRights(tb, s.client)
	}
}

// at is the redis-server that has a key, or a channel, now.
func (b *Backend) at(key string) *Server {
	if b.nodes != nil {
		return b.nodes.ShardOf(key).Master()
	}
	return b.server
}

// reset deletes all data and scripts.
func (b *Backend) reset(tb testing.TB) {
	tb.Helper()
	for _, s := range b.servers() {
		if s.process == nil { // a check has failed while it was stopped
			s.Restart()
		}
	}
	b.each(tb, "FLUSHALL")
	b.each(tb, "SCRIPT", "FLUSH")
}

// each does a command on each master, and returns the answers.
func (b *Backend) each(tb testing.TB, words ...any) []any {
	tb.Helper()
	var answers []any
	for _, c := range b.masters() {
		answer, err := c.Do(context.Background(), words...).Result()
		if err != nil {
			tb.Fatalf("%v: %v", words, err)
		}
		answers = append(answers, answer)
	}
	return answers
}

// masters are clients of one master each.
func (b *Backend) masters() (clients []*redis.Client) {
	if !b.real() {
		return []*redis.Client{b.Client.(*redis.Client)}
	}
	for _, s := range b.servers() {
		clients = append(clients, s.client)
	}
	return clients
}

// servers are the masters; none, if it is the embedded one.
func (b *Backend) servers() (masters []*Server) {
	switch {
	case b.nodes != nil:
		for _, s := range b.nodes.shards {
			masters = append(masters, s.master)
		}
	case b.server != nil:
		masters = append(masters, b.server)
	}
	return masters
}
