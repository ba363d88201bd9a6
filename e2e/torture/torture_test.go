package torture

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"sluice/e2e/clock"
	"sluice/shared/testkit"
	"sluice/shared/wire"
)

// silent keeps the Redis client from telling of every connection that was cut.
type silent struct{}

func (silent) Printf(context.Context, string, ...any) {}

func TestMain(m *testing.M) {
	redis.SetLogger(silent{})
	code := m.Run()
	testkit.RemoveBuilds()
	if code == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, "the tests leaked goroutines:", err)
			code = 1
		}
	}
	os.Exit(code)
}

// usualSeed is that of `make test`, whose failure is to be about the change, not about
// the draw: `make torture` draws another one each time. It is one that found a defect.
const usualSeed = 672533

// plan says what a run is like.
type plan struct {
	seed     uint64
	duration time.Duration // with faults
	words    string        // what was chosen; see choose
	redis    shape
	kinds    []*faultKind
	every    time.Duration // from one fault to the next, on average
	clients  int
	rate     float64          // events a second of each of the four producers
	stay     time.Duration    // of a connection, on average
	away     time.Duration    // between two connections at most
	hosts    int              // of rendezvous
	life     bool             // what is ordinary: see life_test.go
	devices  bool             // half of the clients acknowledge
	streams  bool             // others come by event streams, too
	unread   bool             // a function hears of events that nobody has acknowledged
	ttl      time.Duration    // of histories
	rules    Rules            // that it is held to besides the others
	delay    [2]time.Duration // on the links to Redis of gateways and of workers
	answers  time.Duration    // delay of Redis's answers to gateways, but not of what it publishes
	clock    time.Duration    // by which the clocks of all but Redis are behind
	patience time.Duration    // for the settling
	defects  bool             // the binaries have deliberate defects, of which env chooses
	env      []string         // for all processes
	keep     bool             // what is left behind, if it fails
}

// usual is the plan without what the environment says. The rates leave room on two cores with instrumented binaries.
func usual() plan {
	return plan{
		seed: usualSeed, duration: 50 * time.Second, redis: alone, every: every,
		clients: 10, rate: 25, stay: 4 * time.Second, away: 2 * time.Second,
		hosts: 1, life: true, devices: true, streams: true, ttl: 8 * time.Second, rules: Rules{Positions: true, Devices: true, Keys: true}, patience: patience,
	}
}

// on reports whether a habit was chosen.
func (p *plan) on(habit string) bool {
	words := strings.Split(p.words, ",")
	return p.words == "" || slices.Contains(words, "all") || slices.Contains(words, habit)
}

// run is a system under torture.
type run struct {
	journal
	plan      plan
	system    *system
	source    *rand.Rand
	recorders []*recorder
	calm      context.Context               // ends when all is to become quiet
	acked     map[string]map[string]wire.ID // by client, when all was quiet
	there     map[string]map[string]bool    // by client: what it was subscribed to then
}

// rng is a fresh source of random numbers that follows from the seed.
func (r *run) rng() *rand.Rand { return rand.New(rand.NewPCG(r.source.Uint64(), 3)) }

// torture runs a plan and judges it.
func torture(t *testing.T, p plan) *Verdict {
	t.Helper()
	r := &run{plan: p, source: rand.New(rand.NewPCG(p.seed, 0))}
	env := append([]string{fmt.Sprintf("SLUICE_HISTORY_TTL=%v", p.ttl)}, p.env...)
	f := newRecordingFunction(t, p.seed)
	f.steady = true
	if p.unread {
		env = append(env, "SLUICE_FUNCTIONS=unread="+f.server.URL, functionSecret, "SLUICE_FUNCTION_TIMEOUT="+functionTimeout.String())
	}
	r.system = newSystem(t, binaries(t, p.defects), p.redis, p.clock, env...)
	r.system.must("break a history", func(ctx context.Context) error {
		return r.system.rdb.Set(ctx, historyKey(broken), "no stream", 0).Err()
	})
	for i, slots := range [][]*slot{r.system.gateways, r.system.workers} {
		for _, w := range slots {
			w.back.change(func(w *weather) { w.delay = p.delay[i] })
			if w.front != nil {
				w.back.change(func(w *weather) { w.answers = p.answers })
			}
		}
	}
	calm, calmDown := context.WithCancel(context.Background())
	life, end := context.WithCancel(context.Background())
	defer end()
	defer calmDown()
	r.calm = calm
	for i := range p.clients {
		r.recorders = append(r.recorders, newRecorder(r, i))
	}
	var clients, producers sync.WaitGroup
	for _, c := range r.recorders {
		clients.Go(func() { c.live(life) })
	}
	for i := range 4 {
		q := r.newProducer([]Way{Intake, Direct}[i%2], i)
		producers.Go(func() { q.produce(calm, p.rate) })
	}
	for i := range p.hosts {
		q := r.newProducer(Direct, 10+i)
		producers.Go(func() { q.rendezvous(calm) })
	}
	if p.life {
		quiet, wide := r.newProducer(Direct, 20), r.newProducer(Intake, 21)
		producers.Go(func() { quiet.quietly(calm) })
		producers.Go(func() { wide.widely(calm) })
	}

	schedule := draw(p.seed, p.duration, p.every, p.kinds)
	if testing.Verbose() {
		t.Logf("seed %d: %v", p.seed, schedule)
	}
	begin := time.Now()
	r.inflict(life, schedule)
	pause(life, p.duration-time.Since(begin))
	calmDown()
	producers.Wait()
	r.system.heal()

	begin = time.Now()
	unmet := cmp.Or(r.settle(), r.untold(life))
	settled := time.Since(begin)
	r.acked, r.there = map[string]map[string]wire.ID{}, map[string]map[string]bool{}
	for _, c := range r.recorders {
		r.acked[c.name], r.there[c.name] = c.acks(), c.ready()
	}
	end()
	clients.Wait()
	log := r.collect()
	log.Heard = f.all()
	log.Config = Config{Seed: p.seed, Duration: p.duration, Faults: p.words, Clock: p.clock, TTL: p.ttl, Rules: p.rules, Unsettled: unmet, Odd: r.odd}
	v := Check(log)
	t.Logf("seed %d, clocks wrong by %v: %v; settled in %v", p.seed, p.clock, v, settled.Round(time.Millisecond))
	if p.keep && (!v.OK() || t.Failed()) {
		v.list(t)
		v.keep(t, r.system.dir)
	}
	return v
}

// chosen takes the seed and the duration that somebody has chosen.
func (p *plan) chosen(t *testing.T) {
	t.Helper()
	var err error
	if text := os.Getenv("SLUICE_TORTURE_SEED"); text != "" {
		if p.seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatalf("SLUICE_TORTURE_SEED=%q: want a whole number", text)
		}
	}
	if text := os.Getenv("SLUICE_TORTURE_DURATION"); text != "" {
		if p.duration, err = time.ParseDuration(text); err != nil {
			t.Fatalf("SLUICE_TORTURE_DURATION=%q: want a duration, for example 30m", text)
		}
	}
}

// TestTorture keeps every promise under all faults.
func TestTorture(t *testing.T) {
	p := usual()
	p.keep = true
	p.chosen(t)
	p.ttl = time.Duration(int64(stretch(p.duration)) * int64(p.ttl))
	if p.seed%4 == 3 { // many that hardly stay, over slow links: they meet each other's resumes
		p.clients, p.stay, p.away = 16, 700*time.Millisecond, 300*time.Millisecond
		p.delay = [2]time.Duration{15 * time.Millisecond, 3 * time.Millisecond}
	}
	if p.seed%4 == 1 { // Redis is far away
		p.delay = [2]time.Duration{8 * time.Millisecond, 8 * time.Millisecond}
	}
	p.words = os.Getenv("SLUICE_TORTURE_FAULTS")
	if clock.Supported() {
		p.clock = time.Duration(int64(p.seed%3)-1) * time.Minute
	}
	if name := os.Getenv("SLUICE_TORTURE_REDIS"); name != "" {
		i := slices.IndexFunc(shapes, func(s shape) bool { return s.name == name })
		if i < 0 {
			t.Fatalf("SLUICE_TORTURE_REDIS=%q: want alone, sentinel or cluster", name)
		}
		p.redis = shapes[i]
	}
	p.unread = p.redis.name == alone.name // else an acknowledgement may be lost with a master
	if p.redis.adapt != nil {
		p.redis.adapt(&p)
	}
	var err error
	if p.kinds, err = choose(p.words, p.redis.faults()); err != nil {
		t.Fatalf("SLUICE_TORTURE_FAULTS: %v", err)
	}
	v := torture(t, p)
	if !v.OK() {
		t.Errorf("seed %d breaks promises:\n%s\n(again: make torture SEED=%d DURATION=%v FAULTS=%s REDIS=%s)",
			p.seed, v.Explain(), p.seed, p.duration, p.words, p.redis.name)
	}
}
