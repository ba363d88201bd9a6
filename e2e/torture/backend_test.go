package torture

import (
	"context"
	"net"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"sluice/shared/testkit"
	"sluice/shared/wire"
)

// backend is the Redis under torture: here a single server, in replicated_test.go one that loses its masters.
type backend interface {
	// client speaks with the servers that take writes, past all links, and repeats nothing by itself. It ends with the
	// backend.
	client() redis.UniversalClient
	// through is what a process is given as SLUICE_REDIS_URL: over a link of its own, if clients can be kept on one.
	through(l *link) string
	// dial is a client of a producer's own, over a link if possible.
	dial(l *link) redis.UniversalClient
	// each calls f for every server that takes writes.
	each(ctx context.Context, f func(ctx context.Context, rdb *redis.Client) error) error
	// accounts begin to be kept.
	accounts() accounts
	close()
}

// accounts tell what Redis retained: a ledger that follows every change, or less where a master may be lost.
type accounts interface {
	// catchUp waits until they are as new as now.
	catchUp(ctx context.Context) error
	// newest is the last event of a target's history, and whether that is empty now.
	newest(to string) (id wire.ID, empty bool)
	// emptied reports whether any history was taken away as a whole.
	emptied() bool
	// fill writes them into the log of a run that is over, after catchUp.
	fill(log *Log)
	close()
}

// shape is a kind of backend: how it is started, in a directory of its own and with its clock ahead by what the
// environment says, and the faults that only it can take.
type shape struct {
	name    string
	start   func(s *system, env []string) backend
	kinds   []*faultKind
	without []string    // faults for all that it cannot take, or not be judged by: the begin of their names
	adapt   func(*plan) // nil: as it is
}

// faults are all kinds that it can take.
func (s *shape) faults() []*faultKind {
	all := slices.Concat(kinds, s.kinds)
	return slices.DeleteFunc(all, func(k *faultKind) bool {
		return slices.ContainsFunc(s.without, func(name string) bool { return strings.HasPrefix(k.name, name) })
	})
}

// alone is one server that writes everything to its disk before it answers.
var alone = shape{name: "alone", start: startSingle, kinds: []*faultKind{
	{name: "redis-kill", holds: "redis", from: 20 * time.Millisecond, to: time.Second, do: (*damage).redisKill},
	{name: "redis-restart", holds: "redis", from: 20 * time.Millisecond, to: time.Second, do: (*damage).redisRestart},
	{name: "redis-stop", holds: "redis", from: 500 * time.Millisecond, to: 5 * time.Second, do: (*damage).redisStop},
	{name: "redis-flush", holds: "redis", do: (*damage).flush},
}}

// shapes are all of them: SLUICE_TORTURE_REDIS chooses one by its name.
var shapes = []shape{alone, withSentinel, withCluster}

// single is one server.
type single struct {
	system *system
	env    []string
	addr   string
	rdb    *redis.Client

	mu      sync.Mutex
	process *testkit.Process
}

func startSingle(s *system, env []string) backend {
	b := &single{system: s, env: env, addr: testkit.FreeAddr(s.t)}
	b.rdb = straight(b.addr)
	b.run()
	return b
}

// straight is a client that repeats nothing by itself: an XADD whose answer was lost would otherwise be two events.
func straight(addr string) *redis.Client {
	return redis.NewClient(&redis.Options{
		Addr: addr, MaxRetries: -1, Protocol: 2, DisableIdentity: true,
		DialTimeout: time.Second, ReadTimeout: 2 * time.Second, WriteTimeout: 2 * time.Second,
	})
}

func (b *single) client() redis.UniversalClient      { return b.rdb }
func (b *single) dial(l *link) redis.UniversalClient { return straight(l.addr()) }
func (b *single) accounts() accounts                 { return newLedger(b.system.dir, b.rdb) }
func (b *single) close()                             { _ = b.rdb.Close() }

func (b *single) through(l *link) string {
	l.lead(b.addr)
	return "redis://" + l.addr()
}

func (b *single) each(ctx context.Context, f func(context.Context, *redis.Client) error) error {
	return f(ctx, b.rdb)
}

// run starts the server, the first time or again with the data that it had, and waits until it answers. What it has
// answered is on the disk: it may be killed at any time and nothing that was accepted is lost.
func (b *single) run() {
	s := b.system
	s.t.Helper()
	host, port, _ := net.SplitHostPort(b.addr)
	p := s.run("redis", redisServer(s.t), []string{"--bind", host, "--port", port, "--dir", b.system.dir, "--save", "",
		"--appendonly", "yes", "--appendfsync", "always", "--maxmemory-policy", "noeviction"}, b.env...)
	b.mu.Lock()
	b.process = p
	b.mu.Unlock()
	s.must("start Redis", func(ctx context.Context) error { return b.rdb.Ping(ctx).Err() })
}

func redisServer(t testing.TB) string {
	t.Helper()
	path, err := exec.LookPath("redis-server")
	if err != nil {
		t.Fatal("this test needs redis-server on the PATH (Debian's package: redis-server)")
	}
	return path
}

func (b *single) running() *testkit.Process {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.process
}

// server is the single server that the faults of the shape alone are about.
func (d *damage) server() *single {
	d.place = "redis"
	return d.backend.(*single)
}

func (d *damage) redisKill() {
	b := d.server()
	b.running().Kill()
	d.wait()
	b.run()
}

func (d *damage) redisRestart() {
	b := d.server()
	if !b.running().End(patience / 2) {
		d.t.Error("redis-server did not end within half of the time that there is")
	}
	d.wait()
	b.run()
}

func (d *damage) redisStop() {
	p := d.server().running()
	p.TrySignal(syscall.SIGSTOP)
	d.wait()
	p.TrySignal(syscall.SIGCONT)
}

// flush deletes everything in Redis but the one key that the run needs to be odd.
func (d *damage) flush() {
	b := d.server()
	d.journal.wiping.Lock()
	defer d.journal.wiping.Unlock()
	for d.redisMs() <= d.journal.jumped && pause(d.ctx, 50*time.Millisecond) {
	}
	pipe := b.rdb.TxPipeline()
	pipe.FlushAll(d.ctx)
	pipe.Set(d.ctx, historyKey(broken), "no stream", 0)
	if _, err := pipe.Exec(d.ctx); err != nil { // nothing that could lose the reply is on at the same time
		d.t.Errorf("cannot flush Redis: %v", err)
	}
}
