package worker

import (
	"context"

	"sluice/shared/store"
	"sluice/shared/wire"
)

// intake brings entries of the intake stream to their partitions, in order and
// once each. It publishes nothing.
type intake struct {
	w     *Worker
	epoch uint64
	// tried: entries up to here may have been forwarded before, by an earlier owner or by
	// a try of this one that failed. Later ones are new.
	tried wire.ID
}

// begin makes the marks of what was forwarded fit the intake: they may be of one that was
// deleted. It must be done before anything is read, since a next owner takes what was read
// for forwarded.
func (i *intake) begin(ctx context.Context, r store.Reign) error {
	i.epoch, i.tried = r.Epoch, r.Seen
	all := make([]int, i.w.store.Config().Partitions)
	for p := range all {
		all[p] = p
	}
	kept, err := i.rewind(ctx, r.Seen, all)
	i.tried = wire.Later(i.tried, kept)
	return err
}

func (i *intake) end(int)                                 {}
func (i *intake) upkeep(context.Context) []store.Outgoing { return nil }

func (i *intake) rewind(ctx context.Context, to wire.ID, partitions []int) (kept wire.ID, err error) {
	lowered, kept, err := i.w.store.Rewind(ctx, i.epoch, to, partitions)
	if len(lowered) > 0 {
		i.w.log.Warn("the intake begins below what was forwarded before: it was deleted, or Redis has lost its end; what is in it counts as new",
			"partitions", lowered, "after", to.String())
	}
	return kept, err
}

func (i *intake) process(ctx context.Context, _ *store.Lane, entries []store.Entry) ([]store.Outgoing, error) {
	batch, letters := i.sort(entries)
	before := i.tried
	i.tried = wire.Later(before, entries[len(entries)-1].ID)
	if err := i.w.store.Forward(ctx, batch); err != nil {
		return nil, err
	}
	skipped, err := i.forwardSkipped(ctx, batch, before)
	if err != nil {
		return nil, err
	}
	if letters = append(letters, skipped...); len(letters) > 0 {
		if err := i.w.store.Bury(ctx, letters); err != nil {
			return nil, err
		}
		i.w.buried(letters)
	}
	for _, f := range batch {
		i.w.metrics.forwarded.Add(float64(f.Appended))
	}
	return nil, nil
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
		fresh := f.Entries
		for len(fresh) > 0 && !tried.Less(fresh[0].ID) {
			fresh = fresh[1:]
		}
		if f.Appended >= len(fresh) {
			continue
		}
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
