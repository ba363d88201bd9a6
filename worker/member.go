package worker

import (
	"context"
	"time"

	"sluice/shared/store"
)

const (
	announcesPerSecond = 5
	announceEvery      = time.Second / announcesPerSecond
	memberTTL          = 3 * time.Second
)

// kind is the list of the living on which this worker stands. Those that own partitions
// have one of their own: its length decides everybody's share.
func (w *Worker) kind() store.Kind {
	if w.owns() {
		return store.Workers
	}
	return store.Helpers
}

// announce tells the others that this worker lives, and learns who else does: the
// fair share of partitions follows from it.
func (w *Worker) announce(ctx context.Context) error {
	tick := time.NewTicker(announceEvery)
	defer tick.Stop()
	kind, failing := w.kind(), false
	for n := 0; ; n++ {
		live, _, err := w.store.Announce(ctx, kind, w.id, memberTTL)
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
			if err := w.store.Leave(kind, w.id); err != nil {
				w.log.Warn("left without saying so; the others notice in a few seconds", "err", err)
			}
			return nil
		case <-tick.C:
		}
	}
}
