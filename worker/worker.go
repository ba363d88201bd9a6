package worker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"sluice/shared/ops"
	"sluice/shared/store"
	"sluice/shared/wire"
	"sluice/worker/functions"
)

// A part is something that a worker does all the time.
type part interface {
	// run works until ctx ends, finishes what it has begun, and returns nil. An error ends the
	// worker. It survives Redis being away.
	run(ctx context.Context) error
}

type partFunc func(ctx context.Context) error

func (f partFunc) run(ctx context.Context) error { return f(ctx) }

// A role is work that a worker may be chosen for, by SLUICE_ROLES.
type role struct {
	name  string
	owns  bool        // partitions
	reads store.Work  // what waits for it, besides tasks
	tasks []*taskType // that it works on; another type is a file, and its name here
	parts func(w *Worker) ([]part, error)
}

// roles are all that there are. Another one is a file, and a word here.
func roles() []role { return []role{eventsRole, acksRole, slowRole, functionsRole} }

// parts are what this worker does, in the order in which it starts: row by row. The rows stop
// in the opposite order, each when the one behind it has ended.
func (w *Worker) parts() ([][]part, error) {
	w.tasks = newTasks(w)
	var work []part
	for _, r := range w.roles {
		some, err := r.parts(w)
		if err != nil {
			return nil, err
		}
		work = append(work, some...)
	}
	always := []part{
		partFunc(w.announce), // leaves at once: others take what the roles are still letting go
		partFunc(w.upkeep),
	}
	if w.drains {
		always = append(always, partFunc(w.leaveWhenIdle))
	}
	return [][]part{
		{w.tasks}, // roles begin tasks and end them
		append(always, work...),
	}, nil
}

// Options are what a worker is made of.
type Options struct {
	Store    *store.Store // opened and ready; the caller closes it after Run
	Config   Config
	Log      *slog.Logger
	Registry *prometheus.Registry
	// OwnThreads lets the loops of the worker hold a thread each while they wait for
	// Redis: for a process that does little else.
	OwnThreads bool
	// Drain lets Run end by itself when nothing has waited for Config.DrainIdle.
	Drain bool
}

// Worker is one worker of an installation.
type Worker struct {
	store     *store.Store
	id        string
	log       *slog.Logger
	metrics   *metrics
	share     *share // of the partitions
	callShare *share // of their calls
	apart     *apart
	room      *room
	badKeys   *badKeys
	unread    *unread
	threads   bool
	acks      AckConfig
	slow      SlowConfig
	functions functions.Config
	roles     []role
	tasks     *tasks // of its roles

	activity  *activity
	drains    bool
	drainIdle time.Duration
	leave     context.CancelFunc // ends Run; set by it
	// misfit says why it cannot run.
	misfit error
	// remembered: targets of a partition whose newest event is known without a look.
	remembered int
	// gateways that live, as of a second ago.
	gateways atomic.Pointer[[]string]
}

// New makes a worker; Run starts it.
func New(o Options) *Worker {
	id := o.Config.ServerID
	if id == "" {
		id = ops.ProcessName()
	}
	w := &Worker{
		store:     o.Store,
		id:        id,
		log:       o.Log.With("worker", id),
		metrics:   newMetrics(o.Registry),
		threads:   o.OwnThreads,
		acks:      o.Config.Acks,
		share:     &share{partitions: o.Store.Config().Partitions},
		callShare: &share{partitions: o.Store.Config().Partitions},
		slow:      o.Config.Slow,
		functions: o.Config.Functions,

		activity: &activity{begin: time.Now()}, drains: o.Drain, drainIdle: cmp.Or(o.Config.DrainIdle, defaultDrainIdle),
		remembered: cmp.Or(o.Config.TargetCache, defaultTargetCache),
	}
	w.roles, w.misfit = chosen(o.Config.Roles)
	if !w.functions.Enabled() { // nothing to do: it has no share of the calls, and waits for none
		w.roles = slices.DeleteFunc(w.roles, func(r role) bool { return r.name == functionsRole.name })
	}
	w.apart = newApart(w.log, w.metrics.apart)
	w.room = newRoom(w)
	w.badKeys = &badKeys{log: w.log, count: w.metrics.badKeys}
	w.unread = &unread{
		store: w.store, log: w.log, count: w.metrics.unread,
		own: w.calls() && slices.Contains(w.functions.Kinds(), wire.UnreadKind),
	}
	return w
}

// owns says whether this worker may own partitions.
func (w *Worker) owns() bool {
	return slices.ContainsFunc(w.roles, func(r role) bool { return r.owns })
}

// calls says whether this worker calls functions.
func (w *Worker) calls() bool {
	return slices.ContainsFunc(w.roles, func(r role) bool { return r.name == functionsRole.name })
}

// Run works until ctx ends, or, with Options.Drain, nothing is left to do; then it finishes the batches that it has, gives its
// leases up and returns nil. It survives Redis being away.
func (w *Worker) Run(ctx context.Context) error {
	if w.misfit != nil {
		return w.misfit
	}
	for _, why := range w.store.Warnings() {
		w.log.Warn("a setting works, but should be changed", "why", why)
	}
	ctx, w.leave = context.WithCancel(ctx)
	defer w.leave()
	rows, err := w.parts()
	if err == nil {
		err = inTurn(ctx, rows)
	}
	if err != nil && !errors.Is(err, context.Canceled) {
		return fmt.Errorf("worker %s: %w", w.id, err)
	}
	return nil
}

// inTurn runs rows of parts until ctx ends or one fails. A row stops when those behind it
// have ended.
func inTurn(ctx context.Context, rows [][]part) error {
	if len(rows) == 0 {
		<-ctx.Done()
		return nil
	}
	life, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	g, life := errgroup.WithContext(life)
	for _, p := range rows[0] {
		g.Go(func() error { return p.run(life) })
	}
	g.Go(func() error {
		defer stop()
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		defer context.AfterFunc(life, cancel)() // a failure in this row ends all
		return inTurn(ctx, rows[1:])
	})
	return g.Wait()
}

// together are the partitions that one command can read: all, or on a Cluster each by
// itself.
func (w *Worker) together() [][]int {
	all := make([]int, w.store.Config().Partitions)
	for p := range all {
		all[p] = p
	}
	if !w.store.PerPartition() {
		return [][]int{all}
	}
	sets := make([][]int, len(all))
	for p := range all {
		sets[p] = all[p : p+1]
	}
	return sets
}
