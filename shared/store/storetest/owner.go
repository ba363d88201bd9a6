package storetest

import (
	"context"
	"testing"
	"time"

	"sluice/shared/store"
	"sluice/shared/wire"
)

const leaseTTL = time.Minute // longer than any check

// owner is a worker that owns partitions, with the lane that it reads by.
type owner struct {
	t     *testing.T
	s     *store.Store
	lane  *store.Lane
	name  string
	terms []store.Term
	read  store.Read
}

// own lets a worker take free partitions.
func (x *suite) own(t *testing.T, s *store.Store, name string, partitions ...int) *owner {
	t.Helper()
	lane, err := s.NewLane(x.OwnThread)
	must(t, err)
	t.Cleanup(func() { _ = lane.Close() })
	o := &owner{t: t, s: s, lane: lane, name: name}
	o.take("generation-"+name, partitions...)
	return o
}

// take takes partitions, all of which must be free or its own.
func (o *owner) take(generation string, partitions ...int) {
	o.t.Helper()
	terms, err := o.s.TakeOver(o.t.Context(), o.name, generation, leaseTTL, partitions)
	must(o.t, err)
	o.terms = terms
	o.read = store.Read{
		Generation: generation, Consumer: o.name, Partitions: partitions, Count: 100, Block: 20 * time.Millisecond,
	}
	for _, r := range terms {
		if !r.Taken {
			o.t.Fatalf("partition %d is held by %q, want it free", r.Partition, r.Owner)
		}
		o.read.Epochs = append(o.read.Epochs, r.Epoch)
	}
}

// leave gives all partitions up.
func (o *owner) leave() {
	o.t.Helper()
	must(o.t, o.s.Release(o.t.Context(), o.name, o.read.Partitions))
}

// commit publishes, acknowledges and reads.
func (o *owner) commit(out []store.Outgoing, acks ...store.Ack) ([]store.Entry, error) {
	return o.lane.Commit(o.t.Context(), out, acks, o.read, nil)
}

// next reads what is there.
func (o *owner) next() []store.Entry {
	o.t.Helper()
	entries, err := o.commit(nil)
	must(o.t, err)
	return entries
}

// ack acknowledges entries and reads on.
func (o *owner) ack(ids ...wire.ID) []store.Entry {
	o.t.Helper()
	entries, err := o.commit(nil, ackOf(o.read.Partitions[0], ids...))
	must(o.t, err)
	return entries
}

func ackOf(partition int, ids ...wire.ID) store.Ack {
	a := store.Ack{Partition: partition}
	for _, i := range ids {
		a.IDs = append(a.IDs, i.String())
		a.Last = i
	}
	return a
}

func idsOf(entries []store.Entry) []wire.ID {
	ids := make([]wire.ID, 0, len(entries))
	for _, e := range entries {
		ids = append(ids, e.ID)
	}
	return ids
}

// append appends events of a target; each one's prev is the one before it here.
func (o *owner) append(target string, prev wire.ID, ids ...wire.ID) []*store.Append {
	o.t.Helper()
	appends := appendsOf(o.s, target, prev, ids...)
	must(o.t, o.lane.AppendAndRoute(context.Background(), appends, nil))
	return appends
}

func appendsOf(s *store.Store, target string, prev wire.ID, ids ...wire.ID) []*store.Append {
	appends := make([]*store.Append, len(ids))
	for i, at := range ids {
		appends[i] = &store.Append{Partition: s.Partition(target), Event: &wire.Event{
			To: target, ID: at, Prev: prev, Data: `{"n":1}`, Kind: wire.JSON,
		}}
		prev = at
	}
	return appends
}

// retained are the ids and the prevs in a history, oldest first.
func retained(t *testing.T, s *store.Store, target string) (ids, prevs []wire.ID) {
	t.Helper()
	q := &store.Query{Target: target, Limit: 10_000}
	must(t, s.History(t.Context(), q))
	ids, prevs = []wire.ID{}, []wire.ID{}
	for _, e := range q.Page.Events {
		ids, prevs = append(ids, e.ID), append(prevs, e.Prev)
	}
	return ids, prevs
}
