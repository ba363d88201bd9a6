package worker

import (
	"context"
	"sync/atomic"
	"time"

	"sluice/shared/store"
)

// activity is when this worker last had something to do, so that what comes and goes between two looks at Redis counts.
type activity struct {
	begin time.Time
	last  atomic.Int64 // after begin, in ns
}

func (a *activity) note()           { a.last.Store(int64(time.Since(a.begin))) }
func (a *activity) when() time.Time { return a.begin.Add(time.Duration(a.last.Load())) }

// drainLooks is how often it is looked, in the time after which a worker leaves.
const drainLooks = 5

// leaveWhenIdle ends the worker when nothing of what its roles do has waited for as long as the settings say. While
// that is not known, since Redis does not answer, it stays.
func (w *Worker) leaveWhenIdle(ctx context.Context) error {
	tick := time.NewTicker(min(w.drainIdle/drainLooks, time.Second))
	defer tick.Stop()
	for since := time.Now(); ; {
		waits, err := w.waits(ctx)
		if now := time.Now(); err != nil || waits {
			since = now
		}
		if busy := w.activity.when(); busy.After(since) {
			since = busy
		}
		if time.Since(since) >= w.drainIdle {
			w.log.Info("leaving, as -drain wants it: nothing has waited", "for", w.drainIdle)
			w.leave()
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// waits reports whether there is something to do, for this worker or another one of its roles: entries that are not
// done, tasks that are due or will be.
func (w *Worker) waits(ctx context.Context) (bool, error) {
	var streams []store.Work
	for _, r := range w.roles {
		streams = append(streams, r.reads)
	}
	if waits, err := w.store.Waits(ctx, streams...); err != nil || waits || len(w.tasks.queues) == 0 {
		return waits, err
	}
	return w.store.TasksWait(ctx, w.tasks.queues...)
}
