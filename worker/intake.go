package worker

import (
	"context"

	"sluice/shared/store"
	"sluice/shared/wire"
)

// intake brings entries of the intake stream to their partitions, in order and
// once each. It publishes nothing.
type intake struct {
	w *Worker
}

func (i *intake) begin(store.Reign)                       {}
func (i *intake) end(int)                                 {}
func (i *intake) upkeep(context.Context) []store.Outgoing { return nil }

func (i *intake) process(ctx context.Context, _ *store.Lane, entries []store.Entry) ([]store.Outgoing, error) {
	var letters []store.DeadLetter
	var batch []*store.Forwarding
	byPartition := make(map[int]*store.Forwarding)
	for _, e := range entries {
		// Everything is checked here already, so that a dead letter names the stream and
		// the id that its producer knows.
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
	if len(letters) > 0 {
		if err := i.w.store.Bury(ctx, letters); err != nil {
			return nil, err
		}
		i.w.buried(letters)
	}
	if err := i.w.store.Forward(ctx, batch); err != nil {
		return nil, err
	}
	for _, f := range batch {
		i.w.metrics.forwarded.Add(float64(f.Appended))
	}
	return nil, nil
}
