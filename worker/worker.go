package worker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"sluice/shared/ops"
	"sluice/shared/store"
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
}

// Worker is one worker of an installation.
type Worker struct {
	store   *store.Store
	id      string
	log     *slog.Logger
	metrics *metrics
	share   *share
	apart   *apart
	badKeys *badKeys
	threads bool
	acks    AckConfig
	slow    SlowConfig
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
		store:   o.Store,
		id:      id,
		log:     o.Log.With("worker", id),
		metrics: newMetrics(o.Registry),
		threads: o.OwnThreads,
		acks:    o.Config.Acks,
		share:   &share{partitions: o.Store.Config().Partitions},
		slow:    o.Config.Slow,

		remembered: cmp.Or(o.Config.TargetCache, defaultTargetCache),
	}
	w.apart = newApart(w.log, w.metrics.apart)
	w.badKeys = &badKeys{log: w.log, count: w.metrics.badKeys}
	return w
}

// Run works until ctx ends, then finishes the batches that it has, gives its
// leases up and returns nil. It survives Redis being away.
func (w *Worker) Run(ctx context.Context) error {
	lanes, err := w.lanes()
	if err != nil {
		return err
	}
	acks, err := w.ackReaders()
	if err != nil {
		return err
	}
	slow, err := newRedeliver(w)
	if err != nil {
		return fmt.Errorf("worker %s: %w", w.id, err)
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return slow.run(ctx) })
	for _, a := range acks {
		g.Go(func() error { return a.run(ctx) })
	}
	for _, l := range lanes {
		g.Go(func() error { return l.run(ctx) })
	}
	g.Go(func() error { return w.announce(ctx) })
	g.Go(func() error { return w.measure(ctx) })
	if err := g.Wait(); err != nil && !errors.Is(err, context.Canceled) {
		return fmt.Errorf("worker %s: %w", w.id, err)
	}
	return nil
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

// lanes are one for the intake, and one for all partitions; on a Cluster, where a
// command cannot name keys of several partitions, one for each.
func (w *Worker) lanes() ([]*lane, error) {
	var lanes []*lane
	add := func(set []int, b batcher) error {
		conn, err := w.store.NewLane(w.threads)
		if err != nil {
			return fmt.Errorf("worker %s: %w", w.id, err)
		}
		lanes = append(lanes, newLane(w, conn, set, b))
		return nil
	}
	for _, set := range w.together() {
		if err := add(set, newStep(w)); err != nil {
			return nil, err
		}
	}
	return lanes, add([]int{store.Intake}, &intake{w: w})
}

const (
	announcesPerSecond = 5
	announceEvery      = time.Second / announcesPerSecond
	memberTTL          = 3 * time.Second
)

// announce tells the others that this worker lives, and learns who else does: the
// fair share of partitions follows from it.
func (w *Worker) announce(ctx context.Context) error {
	tick := time.NewTicker(announceEvery)
	defer tick.Stop()
	failing := false
	for n := 0; ; n++ {
		live, _, err := w.store.Announce(ctx, store.Workers, w.id, memberTTL)
		if err == nil {
			w.share.workers.Store(int32(len(live)))
			if n%announcesPerSecond == 0 {
				live, err = w.store.Live(ctx, store.Servers)
				w.gateways.Store(&live)
			}
		}
		if err == nil {
			failing = false
		} else if ctx.Err() == nil && !failing {
			w.log.Warn("cannot announce this worker to the others; retrying", "err", err)
		}
		failing = failing || err != nil
		select {
		case <-ctx.Done():
			if err := w.store.Leave(store.Workers, w.id); err != nil {
				w.log.Warn("could not remove this worker from the list in Redis; the others notice in a few seconds", "err", err)
			}
			return nil
		case <-tick.C:
		}
	}
}

// mendDead says while the key of the dead letters holds something else, and brings those that
// waited where they belong.
func (w *Worker) mendDead(ctx context.Context) {
	const what = "dead letters"
	_, err := w.store.MendDead(ctx)
	var bad *store.BadKey
	switch {
	case err == nil:
		w.apart.clear(what)
	case errors.As(err, &bad):
		w.apart.set(what, err)
	}
}

// measure keeps the gauges of the backlog.
func (w *Worker) measure(ctx context.Context) error {
	tick := time.NewTicker(5 * time.Second)
	defer tick.Stop()
	for {
		if backlog, err := w.store.Backlogs(ctx); err == nil {
			w.metrics.backlog(backlog)
		}
		w.mendDead(ctx)
		_ = w.apart.err() // forgets what others look after
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}
