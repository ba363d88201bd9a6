package worker

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"sluice/shared/ops"
	"sluice/shared/store"
	"sluice/shared/wire"
)

// keep does what is due between batches: renew, balance, upkeep.
func (l *lane) keep(ctx context.Context, out *[]store.Outgoing) error {
	now := time.Now()
	if now.After(l.renewAt) && len(l.owned) > 0 {
		lost, err := l.w.store.Renew(ctx, l.w.id, leaseTTL, l.owned)
		if err != nil {
			return err
		}
		if len(lost) > 0 {
			return store.ErrFenced
		}
		l.renewAt = now.Add(renewEvery)
	}
	if out == nil {
		return nil // in the middle of a batch: what is owned stays
	}
	if now.After(l.balanceAt) {
		l.balanceAt = now.Add(balanceEvery)
		l.shed()
		if err := l.gather(ctx); err != nil {
			return err
		}
	}
	due := now.After(l.upkeepAt)
	if due || l.untrimmed > trimBytes {
		if err := l.trim(ctx); err != nil {
			return err
		}
	}
	if due {
		l.upkeepAt = now.Add(time.Second)
		*out = append(*out, l.batch.upkeep(ctx)...)
	}
	return nil
}

// trim removes what is acknowledged.
func (l *lane) trim(ctx context.Context) error {
	if err := l.w.store.Trim(ctx, l.acked); err != nil {
		return err
	}
	clear(l.acked)
	l.untrimmed = 0
	return nil
}

// shed picks partitions to give away that are more than the fair share. They are
// read no more; what was read of them is still to be acknowledged, so they are
// released after the next commit.
func (l *lane) shed() {
	if len(l.leaving) > 0 || len(l.rest) > 0 {
		return
	}
	n := int(l.share.surplus(counted(l.owned)))
	if n == 0 {
		return
	}
	keep := len(l.owned) - n
	l.leaving = slices.Clone(l.owned[keep:])
	l.owned = l.owned[:keep]
	l.w.metrics.owned.Sub(float64(n))
	l.log.Info("giving partitions to other workers", "partitions", l.w.names(l.leaving))
}

// gather takes free partitions up to the fair share.
func (l *lane) gather(ctx context.Context) error {
	var missing []int
	for _, p := range l.candidates {
		if !slices.Contains(l.owned, p) && !slices.Contains(l.leaving, p) && time.Now().After(l.apart[p]) {
			missing = append(missing, p)
		}
	}
	if l.share.fair() <= l.share.owned.Load() {
		missing = slices.DeleteFunc(missing, func(p int) bool { return p != store.Intake })
	}
	if len(missing) == 0 {
		return nil
	}
	free, err := l.w.store.Free(ctx, l.w.id, missing)
	if err != nil {
		return err
	}
	left := l.share.reserve(counted(free))
	free = slices.DeleteFunc(free, func(p int) bool {
		if p != store.Intake {
			left--
		}
		return left < 0 && p != store.Intake
	})
	return l.take(ctx, free)
}

// take takes the reserved partitions over, as far as nobody was quicker.
func (l *lane) take(ctx context.Context, partitions []int) error {
	if len(partitions) == 0 {
		return nil
	}
	terms, err := l.w.store.TakeOver(ctx, l.w.id, l.generation, leaseTTL, partitions)
	var taken []int
	for _, r := range terms {
		if r.Err != nil {
			l.apart[r.Partition] = time.Now().Add(apartFor)
			l.w.apart.set(l.w.streamName(r.Partition), r.Err)
			continue
		}
		delete(l.apart, r.Partition)
		l.w.apart.clear(l.w.streamName(r.Partition))
		if !r.Taken {
			continue
		}
		if failed := l.begin(ctx, r); failed != nil {
			err = failed // the lease is its own: gather comes back to it
			continue
		}
		taken = append(taken, r.Partition)
		l.epochs[r.Partition] = r.Epoch
		if !r.Done.IsZero() {
			l.acked[r.Partition] = r.Done // the owner before may have had no time to trim
		}
	}
	l.share.back(counted(partitions) - counted(taken))
	if len(taken) > 0 {
		l.busyAt = time.Now()
		l.owned = append(l.owned, taken...)
		slices.Sort(l.owned)
		l.w.metrics.owned.Add(float64(len(taken)))
		l.w.metrics.terms.Add(float64(len(taken)))
		l.log.Info("took partitions", "partitions", l.w.names(taken), "generation", l.generation)
	}
	return err
}

// failed ends all terms of the generation, which may be over already, and begins
// again under a fresh one: with the partitions whose leases are still this worker's,
// at once. It returns the pause for a next failure.
func (l *lane) failed(ctx context.Context, err error, backoff time.Duration) time.Duration {
	if errors.Is(err, store.ErrFenced) {
		l.log.Warn("lost a partition to another worker; starting again under a new generation", "err", err)
	} else if backoff == 0 && store.IsReply(err) {
		l.log.Error("Redis refused a batch; retrying under a new generation", "err", err)
	} else if backoff == 0 {
		l.log.Error("lost the connection to Redis in the middle of the work; retrying under a new generation", "err", err)
	}
	l.w.metrics.failures.Inc()
	had := l.owned
	l.forget()
	ops.Pause(ctx, backoff)
	if ctx.Err() == nil && len(had) > 0 {
		l.share.owned.Add(counted(had))
		if err := l.take(context.WithoutCancel(ctx), had); err != nil {
			// gather comes back to them.
			l.w.log.Debug("cannot take the partitions again yet", "err", err)
		}
	}
	return min(max(2*backoff, 20*time.Millisecond), maxBackoff)
}

func (l *lane) forget() {
	for _, p := range slices.Concat(l.owned, l.leaving) {
		if p != store.Intake { // which begins with nothing
			l.batch.end(p)
		}
	}
	l.share.back(counted(l.owned))
	l.w.metrics.owned.Sub(float64(len(l.owned)))
	l.owned, l.leaving, l.came, l.rest, l.generation = nil, nil, nil, nil, newGeneration()
	clear(l.acked)
	clear(l.highest)
	clear(l.epochs)
	l.renewAt = time.Time{}
	l.entrySize = l.w.store.Config().MaxData // not known: a large read may have been what failed
}

// stop finishes: publish and acknowledge what is done, then let others go on. Nobody may come for long: so gateways are
// told a last time how far it came, as by each upkeep.
func (l *lane) stop(ctx context.Context, out []store.Outgoing, acks []store.Ack) {
	out = append(out, l.batch.upkeep(ctx)...)
	answers := true
	if len(out) > 0 || len(acks) > 0 {
		if _, err := l.conn.Commit(ctx, out, acks, store.Read{Generation: l.generation}, nil); err != nil {
			l.log.Warn("stopping with a batch that is not acknowledged; the next owner processes it again", "err", err)
			answers = !errors.Is(err, os.ErrDeadlineExceeded)
		}
	}
	// After a wait for Redis in vain leases have expired, and another one would only hold up the end.
	if had := slices.Concat(l.owned, l.leaving); len(had) > 0 && answers {
		if err := l.w.store.Release(ctx, l.w.id, had); err != nil {
			l.log.Warn("could not release the leases; they expire", "after", leaseTTL, "err", err)
		}
	}
	l.forget()
}

// done notes what is acknowledged for the next trimming, and lets go of what is
// given away.
func (l *lane) done(ctx context.Context, acks []store.Ack) error {
	for _, a := range acks {
		l.highest[a.Partition] = wire.Later(l.highest[a.Partition], a.Last)
	}
	for p, last := range l.highest {
		if !l.holds(p) { // else something below is not done yet
			l.acked[p] = last
			delete(l.highest, p)
		}
	}
	if len(l.leaving) == 0 {
		return nil
	}
	give := l.leaving
	l.leaving = nil
	for _, p := range give {
		l.batch.end(p)
		delete(l.acked, p)
		delete(l.highest, p)
	}
	return l.w.store.Release(ctx, l.w.id, give)
}

// holds reports whether entries of a partition are held back that are not done.
func (l *lane) holds(partition int) (some bool) {
	if partition == store.Intake {
		return l.intake != nil && len(l.intake.held) > 0
	}
	some, _ = l.batch.holds()
	return some
}

// begin tells of a term.
func (l *lane) begin(ctx context.Context, r store.Term) error {
	if r.Partition == store.Intake {
		return l.intake.begin(ctx, r)
	}
	return l.batch.begin(ctx, r)
}

// ackAll are the acknowledgements of a batch. Entries stand in it partition by
// partition, each in order.
func ackAll(entries []store.Entry) []store.Ack {
	var acks []store.Ack
	ids := make([]string, len(entries))
	for i, e := range entries {
		if i == 0 || e.Partition != acks[len(acks)-1].Partition {
			acks = append(acks, store.Ack{Partition: e.Partition, IDs: ids[i:i]})
		}
		a := &acks[len(acks)-1]
		ids[i] = e.ID.String()
		a.IDs, a.Last = a.IDs[:len(a.IDs)+1], e.ID
	}
	return acks
}

// names are partitions as people read them.
func (w *Worker) names(partitions []int) any {
	if partitions[0] == store.Intake {
		if len(partitions) == 1 {
			return "intake"
		}
		return fmt.Sprint("intake and ", partitions[1:])
	}
	if n := w.store.Config().Partitions; partitions[0] >= n {
		calls := make([]int, len(partitions))
		for i, p := range partitions {
			calls[i] = p - n
		}
		return fmt.Sprint("calls of ", calls)
	}
	return partitions
}
