package torture

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"sluice/e2e/clock"
	"sluice/shared/testkit"
)

const (
	gateways   = 3
	workers    = 4 // slots; calmWorkers of them run when there is no fault
	partitions = 16

	calmWorkers = 2
	leaseTime   = 3 * time.Second // of workers
	maxData     = 64 << 10

	// patience is how long a condition may take: far above what a healthy system needs, since race-instrumented
	// binaries may share two slow cores with other packages' tests.
	patience = 30 * time.Second
)

// environment makes what takes long by default happen within a run.
var environment = []string{
	"SLUICE_AUTH=dev",
	"SLUICE_LIMITS=off", // all clients have one address, and some are in a hurry
	"SLUICE_ADMIN_ADDR=127.0.0.1:0",
	"SLUICE_SESSION_TTL=4s",
	"SLUICE_PING_INTERVAL=1s",
	"SLUICE_DRAIN_TIMEOUT=2s",
	"SLUICE_SEND_QUEUE_BYTES=16384",
	"SLUICE_HISTORY_SIZE=1000000",
	"SLUICE_HISTORY_BYTES=0",
	fmt.Sprintf("SLUICE_MAX_FRAME_BYTES=%d", maxData),
	fmt.Sprintf("SLUICE_PARTITIONS=%d", partitions),
	"SLUICE_TARGET_CACHE=32",
}

// system is a Redis, gateways and workers, with a link between every two parts.
type system struct {
	t         testing.TB
	dir       string // logs of all processes, and Redis's data; kept when the test fails
	bin       string
	env       []string
	backend   backend
	rdb       redis.UniversalClient // straight to Redis: for faults and for the judgement
	gateways  []*slot
	workers   []*slot
	producers *link // from producers to Redis
	ledger    accounts

	mu        sync.Mutex // guards what follows
	processes []*testkit.Process
	started   int
}

// slot is a place for a gateway or a worker: processes come and go, the links stay.
type slot struct {
	system *system
	kind   string
	name   string
	front  *link  // from clients; a gateway's
	addr   string // where the front leads
	back   *link  // to Redis
	url    string // of Redis over it

	mu      sync.Mutex
	process *testkit.Process // nil: none
	count   int
}

// newSystem starts everything and does not wait for it: clients and producers have to live with that. Redis's clock is
// ahead of all others by a time.
func newSystem(t testing.TB, bin string, kind shape, ahead time.Duration, env ...string) *system {
	t.Helper()
	s := newRedis(t, kind, ahead)
	s.bin, s.env = bin, env
	s.producers = newLink(t, "producers-redis")
	s.backend.through(s.producers)
	for i := range gateways {
		g := s.newSlot("gateway", i)
		g.front = newLink(t, fmt.Sprintf("clients-%s", g.name))
		g.front.narrow = true
		g.addr = testkit.FreeAddr(t)
		g.front.lead(g.addr)
		s.gateways = append(s.gateways, g)
		g.start(false)
	}
	for i := range workers {
		w := s.newSlot("worker", i)
		s.workers = append(s.workers, w)
		if i < calmWorkers {
			w.start(false)
		}
	}
	return s
}

// newRedis starts Redis alone.
func newRedis(t testing.TB, kind shape, ahead time.Duration) *system {
	t.Helper()
	dir, err := os.MkdirTemp("", "sluice-torture-")
	if err != nil {
		t.Fatal(err)
	}
	s := &system{t: t, dir: dir}
	t.Cleanup(s.close)
	s.backend = kind.start(s, clock.Shift(t, dir, ahead))
	s.rdb = s.backend.client()
	s.ledger = s.backend.accounts()
	s.must("read what is retained", s.ledger.catchUp)
	return s
}

func (s *system) newSlot(kind string, i int) *slot {
	w := &slot{system: s, kind: kind, name: fmt.Sprintf("%s-%d", kind, i)}
	w.back = newLink(s.t, w.name+"-redis")
	w.url = s.backend.through(w.back)
	return w
}

// close ends all processes, the youngest first, and looks at what they printed.
func (s *system) close() {
	if s.ledger != nil {
		s.ledger.close()
	}
	if s.backend != nil {
		s.backend.close()
	}
	s.mu.Lock()
	all := s.processes
	s.mu.Unlock()
	for i := len(all) - 1; i >= 0; i-- {
		all[i].Kill()
	}
	for _, p := range all {
		if line := p.Crash(); line != "" {
			s.t.Errorf("%s printed %q, see %s", p.Name, line, p.Log)
		}
	}
	if s.t.Failed() {
		s.t.Logf("what the processes printed is in %s", s.dir)
		return
	}
	_ = os.RemoveAll(s.dir)
}

// must repeats what has to work in the end, and can be repeated.
func (s *system) must(what string, f func(ctx context.Context) error) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for {
		err := f(ctx)
		if err == nil {
			return
		}
		if ctx.Err() != nil {
			s.t.Errorf("cannot %s: %v", what, err)
			return
		}
		pause(ctx, 20*time.Millisecond)
	}
}

// pause waits, or until ctx ends; it reports whether the time passed.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// start starts the slot's process if there is none. A fresh one has a name that was not there before.
func (w *slot) start(fresh bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.process != nil {
		return
	}
	w.count++
	id := w.name
	if fresh {
		id = fmt.Sprintf("%s-%d", w.name, w.count)
	}
	env := append([]string{"SLUICE_SERVER_ID=" + id, "SLUICE_REDIS_URL=" + w.url}, environment...)
	if w.front != nil {
		env = append(env, "SLUICE_ADDR="+w.addr)
	}
	w.process = w.system.run(w.name, filepath.Join(w.system.bin, w.kind), nil, append(env, w.system.env...)...)
}

// kill ends the slot's process at once.
func (w *slot) kill() {
	if p := w.take(); p != nil {
		p.Kill()
	}
}

// stop ends it politely.
func (w *slot) stop() {
	if p := w.take(); p != nil && !p.End(patience/2) {
		w.system.t.Errorf("%s did not end within %v of SIGTERM, see %s", w.name, patience/2, p.Log)
	}
}

func (w *slot) take() *testkit.Process {
	w.mu.Lock()
	defer w.mu.Unlock()
	p := w.process
	w.process = nil
	return p
}

func (w *slot) signal(sig syscall.Signal) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.process != nil {
		w.process.TrySignal(sig)
	}
}

func (w *slot) running() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.process != nil
}

// check tells of a process that ended though nobody asked it to.
func (w *slot) check() {
	w.mu.Lock()
	p := w.process
	w.mu.Unlock()
	if p == nil {
		return
	}
	if p.Ended() {
		w.system.t.Errorf("%s ended by itself (%v), see %s", w.name, p.State(), p.Log)
	}
}

// heal undoes whatever faults have left: fine weather, all gateways, the usual workers.
func (s *system) heal() {
	s.producers.clear()
	for _, w := range append(append([]*slot(nil), s.gateways...), s.workers...) {
		w.back.clear()
		if w.front != nil {
			w.front.clear()
		}
		w.check()
	}
	for _, g := range s.gateways {
		g.start(false)
	}
	for _, w := range s.workers[:calmWorkers] {
		w.start(false)
	}
}
