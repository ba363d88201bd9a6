package live

import (
	"context"
	"math"
	"time"

	"sluice/gateway/history"
	"sluice/gateway/lock"
	"sluice/shared/ops"
	"sluice/shared/store"
	"sluice/shared/wire"
)

const (
	rereaders   = 4                      // goroutines that re-read
	rereadBatch = 64                     // targets in one round trip
	rereadBytes = 64 << 10               // of each, about
	rereadPause = 200 * time.Millisecond // where some cannot be read
)

// rereads are targets of which the live flow may have lost something: after a jump
// in a partition's sequence numbers, a new epoch, a new subscription to the channel,
// or a session that was not there for a while. Each target stands in it at most once,
// so it is bounded by the targets that there are. The live flow goes on beside it.
type rereads struct {
	flow *Flow
	mu   lock.Mutex[lock.Rereads]
	list []*target
	wake chan struct{}
}

func newRereads(f *Flow) *rereads {
	return &rereads{flow: f, wake: make(chan struct{}, 1)}
}

// add queues a target. The shard's lock is held.
func (r *rereads) add(t *target) {
	if t.queued {
		return
	}
	t.queued = true
	if t.sinceMs == 0 {
		t.sinceMs = r.flow.o.HeardMs()
	}
	r.mu.Lock()
	r.list = append(r.list, t)
	r.mu.Unlock()
	r.signal()
}

// done says that the history was read, of what was queued. The shard's lock is held.
func (t *target) done() {
	if !t.queued {
		t.sinceMs = 0
	}
}

func (r *rereads) signal() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// suspect queues a target and makes those who are catching up read once more. The
// shard's lock is held.
func (r *rereads) suspect(t *target) {
	for _, s := range t.subs {
		if s.held != nil {
			s.held.miss(r.flow.o.Metrics)
		}
	}
	if t.live > 0 {
		r.add(t)
	}
}

// partition suspects all targets of a shard, whose lock is held.
func (r *rereads) partition(sh *shard) {
	r.flow.o.Metrics.Rereads.Inc()
	r.flow.o.Lost(sh.number)
	for _, t := range sh.targets {
		r.suspect(t)
	}
}

// all suspects every target.
func (r *rereads) all() {
	for i := range r.flow.shards {
		sh := &r.flow.shards[i]
		sh.mu.Lock()
		r.partition(sh)
		sh.mu.Unlock()
	}
}

// target suspects one target, if there is anybody, of which something may have been missed since a time. That the channel works
// says nothing of that.
func (r *rereads) target(name string, since int64) {
	sh := r.flow.shard(name)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if t := sh.targets[name]; t != nil {
		if r.suspect(t); t.live > 0 {
			t.sinceMs = min(t.sinceMs, since)
		}
	}
}

// run works off the list until ctx ends.
func (r *rereads) run(ctx context.Context) {
	for {
		batch := r.take()
		if len(batch) == 0 {
			select {
			case <-ctx.Done():
				return
			case <-r.wake:
			}
			continue
		}
		r.signal() // another one may help
		wait, step := 10*time.Millisecond, r.look
		for len(batch) > 0 && ctx.Err() == nil {
			again, err := step(ctx, batch)
			if err != nil {
				r.flow.o.Log.Debug("cannot read histories again; retrying", "targets", len(batch), "err", err)
				ops.Pause(ctx, wait)
				wait = min(2*wait, time.Second)
			} else {
				step = r.read
			}
			batch = again
		}
	}
}

func (r *rereads) take() []*target {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := min(len(r.list), rereadBatch)
	batch := r.list[:n:n]
	r.list = r.list[n:]
	if len(r.list) == 0 {
		r.list = nil
	}
	return batch
}

// look asks for the newest event of each of the targets, and returns those of which it
// is not the one that the live flow has come to. Most have lost nothing, and one command
// each tells so.
func (r *rereads) look(ctx context.Context, batch []*target) (differ []*target, err error) {
	queries := make([]*store.Query, 0, len(batch))
	targets := make([]*target, 0, len(batch))
	for _, t := range batch {
		t.shard.mu.Lock()
		switch {
		case t.live > 0 && t.repair == nil:
			t.queued = false // what happens from here on needs a look of its own
			queries = append(queries, &store.Query{Target: t.name, After: t.last, Edges: true})
			targets = append(targets, t)
			r.flow.o.Metrics.Looks.Inc()
		default:
			differ = append(differ, t)
		}
		t.shard.mu.Unlock()
	}
	if err := r.flow.o.History.Query(ctx, queries...); err != nil {
		return batch, err
	}
	defer r.later(ctx, queries, targets)
	for i, t := range targets {
		if queries[i].Err != nil {
			continue
		}
		t.shard.mu.Lock()
		if queries[i].Got.Newest != queries[i].After {
			t.eventBytes = int32(min(queries[i].EventBytes, math.MaxInt32))
			differ = append(differ, t)
		} else {
			t.done()
		}
		t.shard.mu.Unlock()
	}
	return differ, nil
}

// later queues the targets again that could not be read, so that others need not wait for them, and waits a little.
func (r *rereads) later(ctx context.Context, queries []*store.Query, targets []*target) {
	some := false
	for i, t := range targets {
		if queries[i].Err == nil {
			continue
		}
		some = true
		t.shard.mu.Lock()
		r.add(t)
		t.shard.mu.Unlock()
	}
	if some {
		ops.Pause(ctx, rereadPause)
	}
}

// page is how many events of a target are read at once. The shard's lock is held.
func (t *target) page() int {
	size := int(t.eventBytes)
	if size == 0 {
		size = rereadBytes / 4 // not known
	}
	return max(1, min(pieceEvents, rereadBytes/size))
}

// read reads one page for each of the targets, and returns those that need more.
func (r *rereads) read(ctx context.Context, batch []*target) (again []*target, err error) {
	queries := make([]*store.Query, 0, len(batch))
	stood := make([]stand, 0, len(batch))
	targets := make([]*target, 0, len(batch))
	for _, t := range batch {
		t.shard.mu.Lock()
		t.queued = false // what happens from here on needs a look of its own
		if t.live > 0 {
			about := r.flow.heardOf(t)
			if t.repair != nil {
				t.repair.looked = len(t.repair.records)
				if first := t.repair.first(); first != nil {
					about.miss(t.position, first)
				}
			}
			queries = append(queries, &store.Query{Target: t.name, After: t.last, Edges: true, Limit: t.page()})
			stood = append(stood, stand{t.position, about})
			targets = append(targets, t)
		} else {
			r.settle(t)
			t.done()
		}
		t.shard.mu.Unlock()
	}
	now := r.flow.clock()
	if err := r.flow.o.History.Query(ctx, queries...); err != nil {
		return targets, err
	}
	defer r.later(ctx, queries, targets)
	for i, t := range targets {
		if queries[i].Err != nil {
			continue
		}
		got := &piece{records: history.Render(&queries[i].Page), edges: queries[i].Got}
		t.shard.mu.Lock()
		if r.mend(t, stood[i], got, now, queries[i].Page.More) {
			again = append(again, t)
		} else {
			t.done()
		}
		t.shard.mu.Unlock()
	}
	return again, nil
}

// stand is where a target stood when its history was read, and what was known of it.
type stand struct {
	position
	known known
}

// mend gives the live subscriptions what the history has after the target's position, and
// reports whether there may be more; behind: it has more than was read. stood is the position
// when it was read; the live flow may have gone on since. The shard's lock is held.
func (r *rereads) mend(t *target, stood stand, got *piece, now clock, behind bool) (more bool) {
	if t.live == 0 {
		r.settle(t)
		return false
	}
	if t.position == stood.position {
		if reason := stood.gap(got, stood.known, now); reason != "" || stood.leaps(got) {
			r.cross(t, got, reason, stood.known, now)
		}
	}
	for i := range got.records {
		rec := &got.records[i]
		if t.has(rec.ID) {
			continue
		}
		if !t.follows(rec) {
			return true // trimmed while it was read: the next read finds the gap
		}
		r.flow.o.Metrics.Mended.Inc()
		t.advance(rec.ID)
		r.flow.spread(t, rec)
	}
	// What waits may continue what was not read yet: only behind all of it is it known to be lost.
	return behind || t.repair != nil && !r.settle(t)
}

// cross takes a target over a gap and tells the live subscriptions, or without a reason
// over the end of a history of which they lack nothing. What is retained behind it follows:
// they are in the live flow, and have not asked to leave anything out. The shard's lock is
// held.
func (r *rereads) cross(t *target, got *piece, reason string, about known, now clock) {
	to, oldest := got.edges.Newest, got.edges.Oldest
	if len(got.records) > 0 {
		to, oldest = got.records[0].Prev, got.records[0].ID
	}
	stood := t.position
	for _, s := range t.subs {
		switch {
		case s.held != nil:
		case s.position != stood:
			// It came later, maybe to the history as it is now, and looks for itself.
			if s.gap(got, about, now) != "" || s.last.Less(got.edges.Newest) {
				r.flow.lag(s, about)
			}
		case reason != "" && !s.client.peer.Send(wire.Frame(wire.Gap{To: t.name, After: s.last, Oldest: oldest, Position: to, Reason: reason})):
			r.flow.lag(s, about)
		default:
			r.flow.o.Metrics.gap(reason)
			s.back(to)
			s.jump(to)
		}
	}
	t.jump(to)
	t.known = true
}

// settle lets the held records into the live flow, if they continue it. An event is in
// the history before it is published: one that came before the history was read, and
// does not continue what that has, was lost with the history (FLUSHALL), of which the
// clients were told. The shard's lock is held.
func (r *rereads) settle(t *target) bool {
	waiting := t.repair
	if waiting == nil {
		return true
	}
	t.repair = nil
	switch {
	case waiting.missed && t.live > 0:
		t.repair = &held{}
		return false
	case waiting.missed: // who is catching up may have read before that was added, and has not heard of it
		for _, s := range t.subs {
			s.held.miss(r.flow.o.Metrics)
			s.held.lack(&waiting.lacks)
		}
	}
	for i := range waiting.records {
		w := &waiting.records[i]
		if i < waiting.looked && t.live > 0 && w.Kind == wire.RecEvent && !t.has(w.ID) && !t.follows(w) {
			r.flow.o.Metrics.dropped(dropLost)
			continue
		}
		r.flow.accept(t, w) // a new hole begins a new repair
	}
	return true
}
