package worker

import (
	"context"
	"slices"
	"time"

	"sluice/shared/store"
)

const (
	looksPerSecond = 5
	lookEvery      = time.Second / looksPerSecond
	memberTTL      = 3 * time.Second
)

// membership is a list of the living on which this worker stands.
type membership struct {
	kind  store.Kind
	share *share // follows from the list's length; nil: nothing does
}

// memberships are this worker's. Those that own partitions have a list of their own, and those that call functions another
// one: its length decides everybody's share.
func (w *Worker) memberships() (all []membership) {
	if w.owns() {
		all = append(all, membership{store.Workers, w.share})
	}
	if w.calls() {
		all = append(all, membership{store.Callers, w.callShare})
	}
	if len(all) == 0 {
		all = append(all, membership{store.Helpers, nil})
	}
	return all
}

// announce tells the others that this worker lives, and learns who else does: the
// fair share of partitions follows from it.
func (w *Worker) announce(ctx context.Context) error {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	of, failing := w.memberships(), false
	for n := 0; ; n++ {
		err := w.look(ctx, of, n%looksPerSecond == 0)
		if err == nil {
			failing = false
		} else if ctx.Err() == nil && !failing {
			w.log.Warn("cannot announce this worker to the others; retrying", "err", err)
		}
		failing = failing || err != nil
		select {
		case <-ctx.Done():
			for _, m := range of {
				if err := w.store.Leave(m.kind, w.id); err != nil {
					w.log.Warn("left without saying so; the others notice in a few seconds", "err", err)
				}
			}
			return nil
		case <-tick.C:
		}
	}
}

// look learns who lives, and says that this worker does: once a second, and when it is not known.
func (w *Worker) look(ctx context.Context, of []membership, announce bool) error {
	for _, m := range of {
		live, err := w.members(ctx, m.kind, announce)
		if err != nil {
			return err
		}
		if m.share != nil {
			m.share.workers.Store(int32(len(live)))
		}
	}
	if !announce {
		return nil
	}
	live, err := w.store.Live(ctx, store.Servers)
	if err == nil {
		w.gateways.Store(&live)
	}
	return err
}

// members are those of a list, this worker among them.
func (w *Worker) members(ctx context.Context, kind store.Kind, announce bool) ([]string, error) {
	if !announce {
		if live, err := w.store.Live(ctx, kind); err != nil || slices.Contains(live, w.id) {
			return live, err
		}
	}
	live, _, err := w.store.Announce(ctx, kind, w.id, memberTTL)
	return live, err
}
