package storetest

import (
	"errors"
	"testing"
	"time"

	"sluice/shared/store"
	"sluice/shared/wire"
)

const lastID = "18446744073709551615-18446744073709551615"

func wantBad(t *testing.T, what string, err error) {
	t.Helper()
	var bad *store.BadKey
	if !errors.As(err, &bad) {
		t.Fatalf("%s: error %v, want a bad key", what, err)
	}
}

// bad keys: a partition whose lease, epoch or stream is something else cannot be taken, and
// nothing of it is changed. Others can.
func (x *suite) takeOverBad(t *testing.T) {
	ctx, s := t.Context(), x.open(t, nil)
	for _, name := range []string{"lease", "epoch", "events"} {
		must(t, x.Client.Del(ctx, Key(3, "lease"), Key(3, "epoch"), Key(3, "events")).Err())
		must(t, x.Client.HSet(ctx, Key(3, name), "a", "b").Err())
		free, err := s.Free(ctx, "a", []int{3, 4})
		must(t, err)
		want(t, "free with a bad "+name, free, []int{3, 4})
		terms, err := s.TakeOver(ctx, "a", "t", leaseTTL, []int{3, 4})
		must(t, err)
		wantBad(t, "partition with a bad "+name, terms[0].Err)
		want(t, "taken", []bool{terms[0].Taken, terms[1].Taken}, []bool{false, true})
		want(t, "keys of the bad partition", x.Client.Exists(ctx, Key(3, "lease"), Key(3, "epoch"), Key(3, "events")).Val(), 1)
		lost, err := s.Renew(ctx, "a", leaseTTL, []int{3, 4})
		must(t, err)
		want(t, "lost", lost, []int{3})
		must(t, s.Trim(ctx, map[int]wire.ID{3: id(1, 0), 4: id(1, 0)}))
		must(t, s.Release(ctx, "a", []int{3, 4}))
	}
}

// bad keys: a partition that cannot be appended to harms only itself, and says up to where
// it has taken what it was given.
func (x *suite) forwardBad(t *testing.T) {
	ctx, s := t.Context(), x.open(t, nil)
	batch := func() []*store.Forwarding {
		var all []*store.Forwarding
		for p := range 5 {
			to := targetIn(p, 0)
			all = append(all, &store.Forwarding{Partition: p, Entries: []store.Entry{intakeEntry(id(5, 0), to), intakeEntry(id(6, 0), to)}})
		}
		return all
	}
	must(t, x.Client.HSet(ctx, Key(0, "forwarded"), "a", "b").Err())
	must(t, x.Client.Set(ctx, Key(1, "forwarded"), "nonsense", 0).Err())
	must(t, x.Client.Set(ctx, Key(2, "events"), "no stream", 0).Err())
	x.addAs(t, 3, lastID, "to", targetIn(3, 0), "data", "1")
	for range 2 {
		all := batch()
		must(t, s.Forward(ctx, all))
		for p, f := range all[:4] {
			wantBad(t, Key(p, ""), f.Err)
			want(t, "appended", f.Appended, 0)
			want(t, "forwarded up to", f.Last, wire.ID{})
			want(t, "full", f.Full, p == 3)
		}
		must(t, all[4].Err)
		want(t, "forwarded up to", all[4].Last, id(6, 0))
	}
	want(t, "in the good partition", x.Client.XLen(ctx, Key(4, "events")).Val(), 2)
	for p, name := range []string{"forwarded", "forwarded", "events", "events"} {
		must(t, x.Client.Del(ctx, Key(p, name)).Err())
	}
	all := batch()
	must(t, s.Forward(ctx, all))
	for _, f := range all[:4] {
		must(t, f.Err)
		want(t, "appended after the key was deleted", f.Appended, 2)
	}
	if x.server == nil && x.nodes == nil {
		return // the embedded Redis gives ids by its own rule
	}
	// The last id but one: the first of two entries is taken, and a repeat adds nothing.
	must(t, x.Client.Del(ctx, Key(3, "events"), Key(3, "forwarded")).Err())
	x.addAs(t, 3, "18446744073709551615-18446744073709551614", "to", targetIn(3, 0), "data", "1")
	for n := range 2 {
		all = batch()[3:4]
		must(t, s.Forward(ctx, all))
		want(t, "appended", all[0].Appended, 1-n)
		want(t, "forwarded up to", all[0].Last, id(5, 0))
		want(t, "full", all[0].Full, true)
	}
}

// bad key: acks of which the key is something else are not read; those of others are. It is
// looked at again.
func (x *suite) acksBad(t *testing.T) {
	ctx, s := t.Context(), x.open(t, nil)
	partitions := []int{3, 4}
	if s.PerPartition() {
		partitions = []int{3}
	}
	r, err := s.NewAckReader(partitions)
	must(t, err)
	t.Cleanup(func() { _ = r.Close() })
	must(t, x.Client.Set(ctx, Key(3, "acks"), "no stream", 0).Err())
	Eventually(t, func() error {
		_, err := r.Read(ctx, 10, time.Millisecond)
		if err == nil && len(r.Apart()) == 0 {
			err = errors.New("nothing is set apart")
		}
		return err
	})
	want(t, "set apart", r.Apart(), []int{3})
	_, _, _, err = r.Claim(ctx, time.Minute)
	must(t, err)
	_, err = s.TrimAcks(ctx, []int{3, 4})
	must(t, err)
	last := partitions[len(partitions)-1]
	read := func() {
		t.Helper()
		errs, _ := s.AppendAcks(ctx, []wire.Ack{{User: "u", To: targetIn(last, 0), ID: id(1, 0)}}, 0)
		must(t, errs[0])
		Eventually(t, func() error {
			entries, err := r.Read(ctx, 10, time.Millisecond)
			if err == nil && len(entries) == 0 {
				err = errors.New("no acks")
			}
			return err
		})
	}
	if last == 4 {
		read()
	}
	must(t, x.Client.Del(ctx, Key(3, "acks")).Err())
	last = 3
	read()
	want(t, "set apart at last", len(r.Apart()), 0)
}
