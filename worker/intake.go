package worker

import (
	"context"
	"slices"
	"time"

	"sluice/shared/store"
	"sluice/shared/wire"
)

// intake brings entries of the intake stream to their partitions, in order and
// once each.
type intake struct {
	w     *Worker
	epoch uint64
	// tried: entries up to here may have been forwarded before, by an earlier owner or by
	// a try of this one that failed. Later ones are new.
	tried wire.ID
	// held are entries for partitions that cannot take them for now, and not acknowledged;
	// tryAt is when to try again.
	held  map[int][]store.Entry
	tryAt time.Time
	// again is when to try a batch again that Redis refused as a whole, pause how long that
	// is from the last try on.
	again time.Time
	pause time.Duration
}

// heldBytes bounds what is held back, but for one batch. Beyond it the intake is read no
// more, and all that follows in it waits.
const heldBytes = 8 << 20

// begin makes the marks of what was forwarded fit the intake: they may be of one that was
// deleted. It must be done before anything is read, since a next owner takes what was read
// for forwarded.
func (i *intake) begin(ctx context.Context, r store.Term) error {
	*i = intake{w: i.w, epoch: r.Epoch, tried: r.Seen}
	if !r.Seen.IsZero() {
		// A failover may have lost what was noted of the last reads. What is there now may have
		// been forwarded, whatever the group says; only what comes from now on is new.
		newest, err := i.w.store.NewestIntake(ctx)
		if err != nil {
			return err
		}
		i.tried = wire.Later(i.tried, newest)
	}
	all := make([]int, i.w.store.Config().Partitions)
	for p := range all {
		all[p] = p
	}
	kept, err := i.rewind(ctx, i.tried, all)
	i.tried = wire.Later(i.tried, kept)
	return err
}

func (i *intake) rewind(ctx context.Context, to wire.ID, partitions []int) (kept wire.ID, err error) {
	lowered, kept, err := i.w.store.Rewind(ctx, i.epoch, to, partitions)
	if len(lowered) > 0 {
		i.w.log.Warn("the intake starts below what was forwarded before: it was deleted, or Redis lost its end; its entries count as new",
			"partitions", lowered, "after", to.String())
	}
	return kept, err
}

// full says that nothing more is to be read for now.
func (i *intake) full() bool { return sizeOfHeld(i.held) > heldBytes }

// heldDue reports whether what is held is to be tried again.
func (i *intake) heldDue() bool { return len(i.held) > 0 && time.Now().After(i.tryAt) }

// due reports whether there is something to process, now that some is new or not.
func (i *intake) due(some bool) bool {
	return (some || i.heldDue()) && !time.Now().Before(i.again)
}

// refused notes that Redis refused a batch. It reports whether that was the first time.
func (i *intake) refused() (first bool) {
	first = i.pause == 0
	i.pause = min(max(2*i.pause, 20*time.Millisecond), maxBackoff)
	i.again = time.Now().Add(i.pause)
	return first
}

// process forwards, and reads the lane's own partitions then, by next: found are their entries,
// also with an error, after which it is to be called again with the same entries. What a
// partition cannot take for now is held back with what follows for it, so that its order holds,
// and is not among done. Others go on, until there is no room.
func (i *intake) process(
	ctx context.Context, conn *store.Lane, entries []store.Entry, next store.Read,
) (found, done []store.Entry, err error) {
	batch, letters := i.sort(entries)
	batch, still := i.withHeld(batch)
	before := i.tried
	if len(entries) > 0 {
		if err := i.check(ctx, batch, entries[0].ID, before); err != nil {
			return nil, nil, err
		}
		i.tried = wire.Later(before, entries[len(entries)-1].ID)
	}
	if found, err = conn.Forward(ctx, batch, next); err != nil {
		return found, nil, err
	}
	skipped, err := i.forwardSkipped(ctx, batch, before)
	if err != nil {
		return found, nil, err
	}
	letters = append(letters, skipped...)
	for _, f := range batch {
		left, dead := i.left(f)
		if letters = append(letters, dead...); len(left) > 0 {
			still[f.Partition] = left
		}
	}
	if len(letters) > 0 {
		if err := i.w.bury(ctx, letters); err != nil {
			return found, nil, err
		}
	}
	done = notIn(still, entries, i.held)
	i.held, i.pause = still, 0
	return found, done, nil
}

// check notes which partitions have a mark, before what was tried before is forwarded
// again, while the term lasts. If Redis loses everything, the marks go, too, and what was
// delivered already would be appended again: then Forward refuses, however late it comes.
func (i *intake) check(ctx context.Context, batch []*store.Forwarding, first, tried wire.ID) error {
	if tried.Less(first) {
		return nil
	}
	marked, err := i.w.store.Marked(ctx)
	if err != nil {
		return err
	}
	for _, f := range batch {
		f.Marked = marked[f.Partition]
	}
	return i.w.store.CheckTerm(ctx, store.Intake, i.epoch)
}

// withHeld puts what is held for a partition before what is new for it. Partitions whose
// time has not come are not tried: still is what stays held of them.
func (i *intake) withHeld(batch []*store.Forwarding) (try []*store.Forwarding, still map[int][]store.Entry) {
	still = make(map[int][]store.Entry)
	due := i.heldDue()
	if due {
		i.tryAt = time.Now().Add(apartFor / 2)
	}
	seen := make(map[int]bool)
	for _, f := range batch {
		if held := i.held[f.Partition]; len(held) > 0 {
			seen[f.Partition] = true
			f.Entries = slices.Concat(held, f.Entries)
			if !due {
				still[f.Partition] = f.Entries
				continue
			}
		}
		try = append(try, f)
	}
	for p, held := range i.held {
		switch {
		case seen[p]:
		case due:
			try = append(try, &store.Forwarding{Partition: p, Entries: held})
		default:
			still[p] = held
		}
	}
	return try, still
}

// left is what could not be forwarded: to be held back, or dead where it never can be.
func (i *intake) left(f *store.Forwarding) (left []store.Entry, dead []store.DeadLetter) {
	i.w.metrics.forwarded.Add(float64(f.Appended))
	what := "intake for " + i.w.streamName(f.Partition)
	if f.Err == nil {
		i.w.apart.clear(what)
		return nil, nil
	}
	i.w.apart.set(what, f.Err)
	left = f.Entries
	for len(left) > 0 && !f.Last.Less(left[0].ID) {
		left = left[1:]
	}
	if !f.Full {
		return left, nil
	}
	for _, e := range left {
		dead = append(dead, store.DeadLetter{Entry: e, Reason: wire.ReasonFull})
	}
	return nil, dead
}

// notIn are the entries of a batch, and of what was held before it, that are not held any
// more, in their order.
func notIn(still map[int][]store.Entry, entries []store.Entry, held map[int][]store.Entry) (done []store.Entry) {
	if len(still) == 0 && len(held) == 0 {
		return entries
	}
	wait := make(map[wire.ID]struct{})
	for _, of := range still {
		for _, e := range of {
			wait[e.ID] = struct{}{}
		}
	}
	keep := func(all []store.Entry) {
		for _, e := range all {
			if _, waits := wait[e.ID]; !waits {
				done = append(done, e)
			}
		}
	}
	keep(entries)
	for _, of := range held {
		keep(of)
	}
	slices.SortFunc(done, func(a, b store.Entry) int {
		if a.ID.Less(b.ID) {
			return -1
		}
		return 1
	})
	return done
}

func sizeOfHeld(held map[int][]store.Entry) (n int) {
	for _, entries := range held {
		n += sizeOf(entries)
	}
	return n
}

// sort gives each partition its entries. Everything is checked here already, so that a
// dead letter names the stream and the id that its producer knows.
func (i *intake) sort(entries []store.Entry) (batch []*store.Forwarding, letters []store.DeadLetter) {
	byPartition := make(map[int]*store.Forwarding)
	for _, e := range entries {
		entry, reason := wire.ParseEntry(e.ID, e.Fields, i.w.store.Config().MaxData)
		if reason != "" {
			letters = append(letters, store.DeadLetter{Entry: e, Reason: reason})
			continue
		}
		p := i.w.store.Partition(entry.To)
		f := byPartition[p]
		if f == nil {
			f = &store.Forwarding{Partition: p}
			byPartition[p] = f
			batch = append(batch, f)
		}
		f.Entries = append(f.Entries, e)
	}
	return batch, letters
}

// forwardSkipped looks for entries beyond what was tried before that count as forwarded
// all the same: the mark was moved meanwhile, by a command of an earlier owner that came
// late, or by hand. They are forwarded once the mark is lowered; where it stays, they are
// dead.
func (i *intake) forwardSkipped(ctx context.Context, batch []*store.Forwarding, tried wire.ID) (dead []store.DeadLetter, err error) {
	for _, f := range batch {
		if f.Err != nil {
			continue
		}
		fresh := f.Entries
		for len(fresh) > 0 && !tried.Less(fresh[0].ID) {
			fresh = fresh[1:]
		}
		if f.Appended >= len(fresh) {
			continue
		}
		fresh = fresh[:len(fresh)-f.Appended] // those above the mark are appended
		kept, err := i.rewind(ctx, tried, []int{f.Partition})
		if err != nil {
			return nil, err
		}
		again := &store.Forwarding{Partition: f.Partition, Entries: fresh}
		if err := i.w.store.Forward(ctx, []*store.Forwarding{again}); err != nil {
			return nil, err
		}
		f.Appended += again.Appended
		for _, e := range fresh {
			if !kept.Less(e.ID) {
				dead = append(dead, store.DeadLetter{Entry: e, Reason: wire.ReasonForwarded})
			}
		}
	}
	return dead, nil
}
