package worker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"sluice/shared/ops"
	"sluice/shared/store"
	"sluice/shared/wire"
)

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
