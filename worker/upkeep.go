package worker

import (
	"context"
	"errors"
	"time"

	"sluice/shared/store"
)

const (
	upkeepEvery  = 5 * time.Second
	quietUpkeeps = 3 // one of so many measures the backlog while nothing comes
)

// upkeep keeps the gauges of the backlog and looks after the dead letters, until ctx ends.
func (w *Worker) upkeep(ctx context.Context) error {
	tick := time.NewTicker(upkeepEvery)
	defer tick.Stop()
	for n := 0; ; n++ {
		if n%quietUpkeeps == 0 || time.Since(w.activity.when()) < quietUpkeeps*upkeepEvery {
			w.measure(ctx)
		}
		w.mendDead(ctx)
		_ = w.trimDead(ctx) // again in a moment
		_ = w.apart.err()   // forgets what others look after
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// measure sets the gauges of the backlog.
func (w *Worker) measure(ctx context.Context) {
	if backlog, err := w.store.Backlogs(ctx); err == nil {
		w.metrics.backlog(backlog, w.store.Config().Partitions)
	}
	if !w.calls() {
		return
	}
	if backlog, err := w.store.CallBacklogs(ctx); err == nil {
		w.metrics.backlog(backlog, w.store.Config().Partitions)
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

// bury makes entries dead letters, counts them and says so: somebody should look. Repeatable.
func (w *Worker) bury(ctx context.Context, letters []store.DeadLetter) error {
	if err := w.store.Bury(ctx, letters); err != nil {
		return err
	}
	for _, l := range letters {
		w.metrics.dead.WithLabelValues(l.Reason).Inc()
	}
	w.log.Warn("entries became dead letters", "count", len(letters),
		"first_reason", letters[0].Reason, "first_entry", letters[0].ID.String(), "partition", letters[0].Partition)
	return w.trimDead(ctx)
}

// trimDead lets the oldest dead letters go where there are too many.
func (w *Worker) trimDead(ctx context.Context) error {
	gone, err := w.store.TrimDead(ctx, store.DeadBytes)
	if gone > 0 {
		w.metrics.deadTrimmed.Add(float64(gone))
		w.log.Error("there were too many dead letters; the oldest ones are lost", "count", gone)
	}
	return err
}
