package torture

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"
)

// damage is a fault while it is done.
type damage struct {
	*system
	journal *journal
	fault   fault
	rng     *rand.Rand
	ctx     context.Context // ends with the run: undo what was done
	place   string          // to be noted
}

// wait is until the fault is over.
func (d *damage) wait() { pause(d.ctx, d.fault.long) }

// kinds are the faults that every backend can take. Names with a common begin can be chosen together.
var kinds = []*faultKind{
	{name: "worker-kill", holds: "workers", from: 50 * time.Millisecond, to: 2 * time.Second, do: (*damage).workerKill},
	{name: "worker-stop", holds: "workers", from: leaseTime + 500*time.Millisecond, to: leaseTime + 3*time.Second, do: (*damage).workerStop},
	{name: "worker-term", holds: "workers", from: 50 * time.Millisecond, to: time.Second, do: (*damage).workerTerm},
	{name: "worker-scale", holds: "workers", from: 2 * time.Second, to: 5 * time.Second, do: (*damage).workerScale},
	{name: "worker-none", holds: "workers", from: 2 * time.Second, to: 5 * time.Second, do: (*damage).workerNone},

	{name: "gateway-kill", holds: "gateways", calm: true, from: 50 * time.Millisecond, to: 2 * time.Second, do: (*damage).gatewayKill},
	{name: "gateway-stop", holds: "gateways", calm: true, from: 500 * time.Millisecond, to: 6 * time.Second, do: (*damage).gatewayStop},
	{name: "gateway-term", holds: "gateways", calm: true, from: 50 * time.Millisecond, to: time.Second, do: (*damage).gatewayTerm},
	{name: "gateway-all", holds: "gateways", calm: true, from: 50 * time.Millisecond, to: time.Second, do: (*damage).gatewayAll},

	{name: "redis-kill-pubsub", holds: "redis", do: (*damage).killPubSub},
	{name: "redis-kill-normal", holds: "redis", do: (*damage).killNormal},
	{name: "redis-script-flush", holds: "redis", do: (*damage).scriptFlush},
	{name: "redis-memory", holds: "redis", from: 200 * time.Millisecond, to: 3 * time.Second, do: (*damage).memory},
	{name: "redis-pubsub-limit", holds: "redis", from: time.Second, to: 3 * time.Second, do: (*damage).pubSubLimit},

	{name: "redis-evict", holds: "redis", do: (*damage).evict},

	{name: "link-cut", holds: "link", do: (*damage).linkCut},
	{name: "link-away", holds: "link", from: 500 * time.Millisecond, to: 4 * time.Second, do: (*damage).linkAway},
	{name: "link-delay", holds: "link", from: time.Second, to: 4 * time.Second, do: (*damage).linkDelay},
	{name: "link-stall", holds: "link", from: 300 * time.Millisecond, to: 5 * time.Second, do: (*damage).linkStall},
	{name: "link-silent", holds: "link", do: (*damage).linkSilent},
	{name: "link-split", holds: "link", from: time.Second, to: 3 * time.Second, do: (*damage).linkSplit},
	{name: "link-reply", holds: "link", from: 5 * time.Millisecond, to: 500 * time.Millisecond, do: (*damage).linkReply},

	{name: "crowd", holds: "crowd", calm: true, from: 2 * time.Second, to: 5 * time.Second, do: (*damage).crowd},
	{name: "trim", holds: "histories", calm: true, do: (*damage).trim},
	{name: "keys-group", holds: "keys", do: (*damage).loseGroup},
	{name: "keys-epoch", holds: "keys", do: (*damage).loseEpoch},
	{name: "keys-lease", holds: "keys", do: (*damage).loseLease},
	{name: "keys-sessions", holds: "keys", do: (*damage).loseSessions},
	{name: "keys-members", holds: "keys", do: (*damage).loseMembers},
	{name: "ids-jump", holds: "keys", do: (*damage).idsJump},
}

// one draws one of the slots that have a process.
func (d *damage) one(slots []*slot) *slot {
	running := slices.Clone(slots)
	running = slices.DeleteFunc(running, func(w *slot) bool { return !w.running() })
	if len(running) == 0 {
		return slots[0]
	}
	w := running[d.rng.IntN(len(running))]
	d.place = w.name
	return w
}

// again starts the slot's process, now and then under a new name.
func (d *damage) again(w *slot) { w.start(d.rng.IntN(2) == 0) }

func (d *damage) workerKill() {
	w := d.one(d.workers)
	w.kill()
	d.wait()
	d.again(w)
}

func (d *damage) workerStop() {
	w := d.one(d.workers)
	w.signal(syscall.SIGSTOP)
	d.wait()
	w.signal(syscall.SIGCONT)
}

func (d *damage) workerTerm() {
	w := d.one(d.workers)
	w.stop()
	d.wait()
	d.again(w)
}

// workerScale goes to all workers, then down to one that was there or came, then back.
func (d *damage) workerScale() {
	d.place = "workers"
	for _, w := range d.workers {
		d.again(w)
	}
	pause(d.ctx, d.fault.long/2)
	left := d.rng.IntN(len(d.workers))
	for i, w := range d.workers {
		if i != left {
			w.stop()
		}
	}
	pause(d.ctx, d.fault.long/2)
	d.usualWorkers()
}

func (d *damage) workerNone() {
	d.place = "workers"
	kill := d.rng.IntN(2) == 0
	for _, w := range d.workers {
		if kill {
			w.kill()
		} else {
			w.stop()
		}
	}
	d.wait()
	d.usualWorkers()
}

func (d *damage) usualWorkers() {
	for i, w := range d.workers {
		if i < calmWorkers {
			d.again(w)
		} else {
			w.stop()
		}
	}
}

func (d *damage) gatewayKill() {
	g := d.one(d.gateways)
	g.kill()
	d.wait()
	d.again(g)
}

func (d *damage) gatewayStop() {
	g := d.one(d.gateways)
	g.signal(syscall.SIGSTOP)
	d.wait()
	g.signal(syscall.SIGCONT)
}

func (d *damage) gatewayTerm() {
	g := d.one(d.gateways)
	g.stop()
	d.wait()
	d.again(g)
}

func (d *damage) gatewayAll() {
	d.place = "gateways"
	for _, g := range d.gateways {
		g.kill()
	}
	d.wait()
	for _, g := range d.gateways {
		d.again(g)
	}
}

// command has every server of Redis do something that can be repeated.
func (d *damage) command(args ...any) {
	d.place = "redis"
	d.must(fmt.Sprint(args...), func(ctx context.Context) error {
		return d.backend.each(ctx, func(ctx context.Context, rdb *redis.Client) error { return rdb.Do(ctx, args...).Err() })
	})
}

func (d *damage) killPubSub()  { d.command("CLIENT", "KILL", "TYPE", "pubsub") }
func (d *damage) killNormal()  { d.command("CLIENT", "KILL", "TYPE", "normal") }
func (d *damage) scriptFlush() { d.command("SCRIPT", "FLUSH") }

// memory makes Redis refuse what needs memory: at once, or when a little more is used.
func (d *damage) memory() {
	limit := "1mb"
	if d.rng.IntN(2) == 0 {
		d.must("ask Redis for its memory", func(ctx context.Context) error {
			info, err := d.rdb.Info(ctx, "memory").Result()
			_, rest, _ := strings.Cut(info, "used_memory:")
			used, _, _ := strings.Cut(rest, "\r")
			n, parseErr := strconv.Atoi(used)
			if err == nil {
				err = parseErr
			}
			limit = strconv.Itoa(n + 100<<10)
			return err
		})
	}
	d.command("CONFIG", "SET", "maxmemory", limit)
	d.wait()
	d.command("CONFIG", "SET", "maxmemory", "0")
}

// pubSubLimit makes Redis cut gateways off that do not read their channel fast enough.
func (d *damage) pubSubLimit() {
	d.command("CONFIG", "SET", "client-output-buffer-limit", "pubsub 2kb 0 0")
	d.wait()
	d.command("CONFIG", "SET", "client-output-buffer-limit", "pubsub 32mb 8mb 60")
}

// inflict does the faults of a schedule, each at its time.
func (r *run) inflict(ctx context.Context, schedule []fault) {
	begin := time.Now()
	var all sync.WaitGroup
	held := map[string]*sync.Mutex{} // what a fault does may take longer than was drawn
	for _, f := range schedule {
		if held[f.holds] == nil {
			held[f.holds] = &sync.Mutex{}
		}
		part := held[f.holds]
		pause(ctx, time.Until(begin.Add(f.at)))
		all.Go(func() {
			part.Lock()
			defer part.Unlock()
			d := &damage{system: r.system, journal: &r.journal, fault: f, rng: rand.New(rand.NewPCG(f.seed, 2)), ctx: ctx}
			from := time.Now()
			f.do(d)
			if d.place == "" {
				d.place = f.holds
			}
			// Links to gateways from clients, and from producers, touch nothing that publishes.
			calm := f.calm || d.place == r.system.producers.name || strings.HasPrefix(d.place, "clients-")
			r.fault(Fault{Kind: f.name, Place: d.place, Calm: calm, Begin: from, End: time.Now()})
		})
	}
	all.Wait()
}
