package inproc_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"

	"sluice/gateway"
	"sluice/gateway/auth"
	"sluice/gateway/limits"
	"sluice/gateway/listen"
	"sluice/shared/settings"
	"sluice/shared/store"
	"sluice/shared/store/storetest"
	"sluice/shared/wire"
	"sluice/worker"
)

// rig is an installation: a Redis of its own, and as many gateways and workers as the
// test starts. Each has a proxy of its own to Redis.
type rig struct {
	t     testing.TB
	redis *redisServer // nil: a Cluster
	rdb   redis.UniversalClient
	cfg   store.Config
	log   *slog.Logger
	names int
	acks  worker.AckConfig
	bare  bool // no proxies: for figures, and on a Cluster
}

func newRig(t testing.TB, change ...func(*store.Config)) *rig {
	t.Helper()
	return newRigBehind(t, 0, change...)
}

// newRigBehind makes a rig in which the clocks of all processes are behind Redis's.
func newRigBehind(t testing.TB, by time.Duration, change ...func(*store.Config)) *rig {
	t.Helper()
	takeTurn(t)
	server := startRedis(t, by)
	r := &rig{acks: worker.AckConfig{CursorTTL: time.Hour}, t: t, redis: server, rdb: server.rdb, log: testLog(t), cfg: usualConfig("redis://" + server.addr)}
	for _, c := range change {
		c(&r.cfg)
	}
	return r
}

func usualConfig(url string) store.Config {
	return store.Config{
		RedisURL: url, Prefix: "sluice:", Partitions: 16,
		HistorySize: 1000, HistoryTTL: time.Hour, SessionTTL: time.Minute, MaxData: 64 << 10,
	}
}

// testLog writes to the test's log, which is shown when the test fails.
func testLog(t testing.TB) *slog.Logger {
	begin := time.Now()
	return slog.New(slog.NewTextHandler(logWriter{t}, &slog.HandlerOptions{
		Level: slog.LevelInfo,
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.String("at", time.Since(begin).Round(time.Millisecond).String())
			}
			return a
		},
	}))
}

type logWriter struct{ t testing.TB }

func (w logWriter) Write(p []byte) (int, error) {
	w.t.Log(strings.TrimRight(string(p), "\n"))
	return len(p), nil
}

// process is a gateway or a worker.
type process struct {
	t      testing.TB
	name   string
	via    *proxy
	reg    *prometheus.Registry
	cancel context.CancelFunc
	done   chan error
	once   sync.Once
	err    error
}

// users are those as which processes log in: they have no more rights than their tier needs.
var users = map[string]string{"g": "gateway", "w": "worker"}

// begin runs a process until stop, crash or the end of the test.
func (r *rig) begin(kind string, run func(ctx context.Context, st *store.Store, p *process) error) *process {
	r.t.Helper()
	r.names++
	p := &process{
		t: r.t, name: fmt.Sprintf("%s%d", kind, r.names),
		reg: prometheus.NewRegistry(), done: make(chan error, 1),
	}
	cfg := r.cfg
	if !r.bare {
		p.via = newProxy(r.t, r.redis.addr)
		cfg.RedisURL = p.via.url()
	}
	cfg.RedisURL = storetest.As(users[kind], cfg.RedisURL)
	st, err := store.Open(cfg)
	if err != nil {
		r.t.Fatal(err)
	}
	if err := st.Ready(ctx); err != nil {
		r.t.Fatal(err)
	}
	var life context.Context
	life, p.cancel = context.WithCancel(ctx)
	go func() {
		err := run(life, st, p)
		_ = st.Close()
		p.done <- err
	}()
	r.t.Cleanup(func() {
		if p.via != nil {
			p.via.thaw()
		}
		p.stop()
	})
	return p
}

// stop ends the process gracefully and waits for it.
func (p *process) stop() {
	p.t.Helper()
	p.cancel()
	p.wait(patience)
}

func (p *process) wait(limit time.Duration) {
	p.t.Helper()
	p.once.Do(func() {
		var ended bool
		if p.err, ended = await(p.done, limit); !ended {
			p.err = fmt.Errorf("did not end within %v", limit)
		}
		if p.err != nil {
			p.t.Errorf("%s: %v", p.name, p.err)
		}
	})
}

// crash makes it dead for all others from one moment to the next.
func (p *process) crash() {
	p.via.sever()
	p.cancel()
}

// metric is the sum of a counter or gauge over its labels.
func (p *process) metric(name string, labels ...string) float64 {
	p.t.Helper()
	families, err := p.reg.Gather()
	if err != nil {
		p.t.Fatal(err)
	}
	sum := 0.0
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			match := true
			for i := 0; i+1 < len(labels); i += 2 {
				has := false
				for _, l := range m.GetLabel() {
					has = has || (l.GetName() == labels[i] && l.GetValue() == labels[i+1])
				}
				match = match && has
			}
			if match {
				sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return sum
}

func (r *rig) worker(change ...func(*worker.Config)) *process {
	r.t.Helper()
	return r.begin("w", func(ctx context.Context, st *store.Store, p *process) error {
		cfg := worker.Config{
			Store: st.Config(), Acks: r.acks, ServerID: p.name, Slow: worker.SlowConfig{Attempts: 12, Timeout: 45 * time.Second},
		}
		for _, c := range change {
			c(&cfg)
		}
		return worker.New(worker.Options{Store: st, Config: cfg, Log: r.log, Registry: p.reg}).Run(ctx)
	})
}

type gatewayProcess struct {
	*process
	addr  string
	ready func() error
}

func (r *rig) gateway(change ...func(*gateway.Config)) *gatewayProcess {
	r.t.Helper()
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		r.t.Fatal(err)
	}
	cfg := gateway.Config{
		Auth: auth.Config{Mode: auth.ModeDev}, Addr: ln.Addr().String(), Limits: limits.Config{Mode: limits.Off},
		Listen:         listen.Config{ProxyHeader: listen.ForwardedFor, RequestTimeout: 10 * time.Second},
		SendQueueBytes: 64 << 10, SendBuffer: kernelBuffer, PingInterval: 25 * time.Second, DrainTimeout: 2 * time.Second,
		AcksSize: 100_000, MaxTargets: 1000, StreamTargets: 32, CursorTTL: time.Hour, CallTimeout: 30 * time.Second, ConnectTimeout: 5 * time.Second,
	}
	for _, c := range change {
		c(&cfg)
	}
	g := &gatewayProcess{addr: ln.Addr().String()}
	ready := make(chan *gateway.Gateway, 1)
	g.process = r.begin("g", func(ctx context.Context, st *store.Store, p *process) error {
		cfg := cfg
		cfg.Store, cfg.ServerID = st.Config(), p.name
		if err := settings.Check(&cfg); err != nil {
			return err
		}
		gw, err := gateway.New(gateway.Options{
			Config: cfg, Store: st, Listener: ln, Log: r.log, Registry: p.reg,
		})
		if err != nil {
			return err
		}
		ready <- gw
		return gw.Run(ctx)
	})
	// The channel must be subscribed, or what the test counts depends on who was first.
	channel := r.cfg.Prefix + "server:" + g.name
	var gw *gateway.Gateway
	select {
	case gw = <-ready:
	case err := <-g.done:
		g.done <- err // for stop
		r.t.Fatalf("%s does not start: %v", g.name, err)
	}
	g.ready = gw.Ready
	eventually(r.t, patience, g.name+" subscribes to its channel", func() error {
		n, err := r.rdb.PubSubNumSub(ctx, channel).Result()
		if err != nil || n[channel] == 0 {
			return fmt.Errorf("subscribers: %v, %w", n, err)
		}
		return gw.Ready()
	})
	return g
}

// kernelBuffer is the send buffer of gateways' sockets, in bytes: the kernel shall not be
// the queue of a slow client. It doubles it.
const kernelBuffer = 16 << 10

// pair starts two gateways and two workers, and waits until both workers own half.
func (r *rig) pair() (g1, g2 *gatewayProcess, w1, w2 *process) {
	r.t.Helper()
	g1, g2, w1, w2 = r.gateway(), r.gateway(), r.worker(), r.worker()
	half := r.cfg.Partitions / 2
	r.waitOwners(patience, map[string]int{w1.name: half, w2.name: half})
	return
}

func (r *rig) key(target, kind string) string {
	key := r.keyOf(wire.Partition(target, r.cfg.Partitions), kind)
	if kind == "history" || kind == "session" {
		key += ":" + target
	}
	return key
}

// keyOf is a key of a partition, as it is documented.
func (r *rig) keyOf(p int, name string) string {
	return r.cfg.Prefix + "{" + wire.Tags(r.cfg.Partitions)[p] + "}:" + name
}

func (r *rig) intake() string { return r.cfg.Prefix + "events" }

// owners are how many partitions each worker owns, and who owns the intake.
func (r *rig) owners() (owned map[string]int, intake string) {
	pipe := r.rdb.Pipeline()
	leases := make([]*redis.StringCmd, r.cfg.Partitions)
	for p := range leases {
		leases[p] = pipe.Get(ctx, r.keyOf(p, "lease"))
	}
	first := pipe.Get(ctx, r.cfg.Prefix+"{"+r.intake()+"}:lease")
	if _, err := pipe.Exec(ctx); err != nil && !errors.Is(err, redis.Nil) {
		r.t.Fatal(err)
	}
	owned = make(map[string]int)
	for _, l := range leases {
		if name := l.Val(); name != "" {
			owned[name]++
		}
	}
	return owned, first.Val()
}

// waitOwners waits until partitions are owned so, and by nobody else, and the intake
// by one of them. It returns how long that took.
func (r *rig) waitOwners(limit time.Duration, want map[string]int) time.Duration {
	r.t.Helper()
	begin := time.Now()
	eventually(r.t, limit, fmt.Sprintf("partitions owned as %v", want), func() error {
		owned, intake := r.owners()
		if _, ok := want[intake]; !ok || fmt.Sprint(owned) != fmt.Sprint(want) {
			return fmt.Errorf("they are owned as %v, the intake by %q", owned, intake)
		}
		return nil
	})
	return time.Since(begin)
}

// targetOf is a topic in partition p; different for different n.
func (r *rig) targetOf(p, n int) string {
	for i := 0; ; i++ {
		topic := fmt.Sprintf("topic:t%d-%d-%d", p, n, i)
		if wire.Partition(topic, r.cfg.Partitions) == p {
			return topic
		}
	}
}

// dead are the dead letters, by reason.
func (r *rig) dead() map[string]int {
	entries, err := r.rdb.XRange(ctx, r.cfg.Prefix+"dead", "-", "+").Result()
	if err != nil {
		r.t.Fatal(err)
	}
	reasons := make(map[string]int)
	for _, e := range entries {
		reason, _ := e.Values["reason"].(string)
		reasons[reason]++
	}
	return reasons
}

func (r *rig) noDead() {
	r.t.Helper()
	if dead := r.dead(); len(dead) > 0 {
		r.t.Errorf("dead letters: %v", dead)
	}
}

type config = store.Config

// onePartition makes one stream of everything.
func onePartition(c *store.Config) { c.Partitions = 1 }
