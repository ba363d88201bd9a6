package worker

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"sluice/shared/store"
)

const (
	roomEvery = time.Second            // looks at Redis's memory
	roomShort = 100 * time.Millisecond // steps through the histories while it is short, of one worker
	// usualHistory is where the bound of histories begins to shrink that have none, leastHistory
	// where it ends. The newest event of each stays in any case.
	usualHistory = 4 << 20
	leastHistory = 16 << 10
)

// room keeps room in Redis's memory for what waits for workers. Histories are what a full
// Redis can give up, oldest events first, and trimming them needs no memory: so the bound
// of each shrinks while Redis uses more than a little less than the share above which
// clients may not publish, and grows back when there is room.
type room struct {
	w        *Worker
	log      *slog.Logger
	bound    atomic.Int64 // bytes of a history; 0: none
	full     atomic.Bool  // Redis refuses to write
	short    bool         // of run alone, as what follows
	evicting bool         // the log says that Redis evicts
	// unknown: the log says that the memory is not known.
	unknown bool
	at      store.Shrinking
	wake    chan struct{}
}

func newRoom(w *Worker) *room {
	r := &room{w: w, log: w.log, wake: make(chan struct{}, 1)}
	r.allow(w.store.Config().HistoryBytes)
	return r
}

// allow says what a history may have from now on.
func (r *room) allow(bytes int64) {
	r.bound.Store(bytes)
	r.w.metrics.historyBytes.Set(float64(bytes))
}

// refused says that Redis has refused a write for lack of memory.
func (r *room) refused() {
	r.full.Store(true)
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// ready is nil while Redis takes writes.
func (r *room) ready() error {
	if r.full.Load() {
		return errors.New("no memory is left in Redis, which refuses writes: events wait; give it more maxmemory if histories leave no room")
	}
	return nil
}

// run looks at the memory until ctx ends.
func (r *room) run(ctx context.Context) error {
	for {
		wait := roomEvery
		all, err := r.w.store.Memory(ctx)
		switch {
		case err == nil:
			r.judge(all)
		case store.IsReply(err) && !r.unknown:
			r.unknown = true
			r.log.Warn("histories are not shortened when Redis fills up, since its memory is not known: allow its user the command INFO", "err", err)
		}
		if r.short && ctx.Err() == nil {
			wait = r.shrink(ctx)
		}
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			t.Stop()
			return nil
		case <-r.wake:
		case <-t.C:
		}
		t.Stop()
	}
}

// judge decides by the fullest node.
func (r *room) judge(all []store.Memory) {
	var fullest store.Memory
	for _, m := range all {
		if m.Share() > fullest.Share() {
			fullest = m
		}
	}
	share, allowed := fullest.Share(), float64(r.w.store.Config().MemoryPercent)/100
	if allowed == 0 {
		allowed = 1
	}
	r.full.Store(share >= 1)
	evicts := slices.IndexFunc(all, store.Memory.Evicts)
	if evicting := evicts >= 0; evicting != r.evicting {
		if r.evicting = evicting; evicting {
			r.log.Error("Redis takes keys away when its memory is full, events among them: set its maxmemory-policy to noeviction", "policy", all[evicts].Policy)
		} else {
			r.log.Info("Redis does not take keys away any more when its memory is full")
		}
	}
	r.w.metrics.memory.Set(share)
	switch short := share > allowed*15/16; {
	case short && !r.short:
		r.short = true
		r.log.Warn("Redis's memory is short: histories are kept shorter; give Redis more maxmemory if this stays", "used", fullest.Used, "maxmemory", fullest.Max)
	case share < allowed*7/8:
		r.grow()
	case !short:
		r.short = false
	}
}

// grow gives histories back a part of their bound.
func (r *room) grow() {
	if r.short {
		r.short = false
		r.log.Info("Redis has room again", "history_bytes", r.bound.Load())
	}
	usual, now := r.w.store.Config().HistoryBytes, r.bound.Load()
	switch {
	case now == usual:
	case now+now/8 >= orUsual(usual):
		r.allow(usual)
	default:
		r.allow(now + now/8)
	}
}

func orUsual(bytes int64) int64 {
	if bytes == 0 {
		return usualHistory
	}
	return bytes
}

// shrink goes a step through the histories, and returns when to go on. The bound shrinks
// after each time through all of them.
func (r *room) shrink(ctx context.Context) time.Duration {
	workers := max(1, float64(r.w.share.workers.Load())) // all do this
	step := time.Duration(workers * float64(roomShort))
	bound := orUsual(r.bound.Load())
	through, err := r.w.store.ShrinkHistories(ctx, bound, &r.at)
	if err != nil {
		r.log.Warn("cannot shorten histories; retrying", "err", err)
		return roomEvery
	}
	if !through {
		return step
	}
	if bound <= leastHistory {
		return 100 * step // nothing is left to give
	}
	r.allow(max(leastHistory, bound*3/4))
	return step
}
