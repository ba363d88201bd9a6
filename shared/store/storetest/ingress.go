package storetest

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"sluice/shared/store"
	"sluice/shared/wire"
)

func (x *suite) publish(t *testing.T) {
	ctx, s := t.Context(), x.open(t, nil)
	to := []string{targetIn(0, 0), targetIn(1, 0), targetIn(0, 1)}
	var pubs []store.Publication
	for i, target := range to {
		pubs = append(pubs, store.Publication{To: target, Fields: []string{"to", target, "data", fmt.Sprint(i), "id", "\x00"}})
	}
	for _, err := range s.Publish(ctx, pubs) {
		must(t, err)
	}
	first := x.Client.XRange(ctx, Key(0, "events"), "-", "+").Val()
	want(t, "entries of partition 0", len(first), 2)
	want(t, "first entry", first[0].Values, map[string]any{"to": to[0], "data": "0", "id": "\x00"})
	want(t, "second entry", first[1].Values["data"], "2")
	want(t, "entries of partition 1", x.Client.XLen(ctx, Key(1, "events")).Val(), 1)
	want(t, "errors of nothing", len(s.Publish(ctx, nil)), 0)

	must(t, x.Client.Del(ctx, Key(0, "events")).Err())
	must(t, x.Client.Set(ctx, Key(0, "events"), "no stream", 0).Err())
	errs := s.Publish(ctx, pubs)
	wantReply(t, "publish to no stream", errs[0], "WRONGTYPE")
	must(t, errs[1])
	wantReply(t, "publish to no stream", errs[2], "WRONGTYPE")
	want(t, "entries of partition 1", x.Client.XLen(ctx, Key(1, "events")).Val(), 2)
}

func intakeEntry(at wire.ID, to string) store.Entry {
	return store.Entry{Partition: store.Intake, ID: at, Fields: map[string]any{"to": to, "data": at.String()}}
}

// forwarded are the data of a partition's stream.
func (x *suite) forwarded(t *testing.T, partition int) []string {
	t.Helper()
	entries, err := x.Client.XRange(t.Context(), Key(partition, "events"), "-", "+").Result()
	must(t, err)
	data := []string{}
	for _, e := range entries {
		data = append(data, e.Values["data"].(string))
	}
	return data
}

// forward: each entry once and in order, whatever is repeated.
func (x *suite) forward(t *testing.T) {
	ctx, s := t.Context(), x.open(t, nil)
	const most = 1<<64 - 1
	// Ids of different lengths, beyond what a Lua number holds, up to the highest.
	ids := []wire.ID{
		id(9, 9), id(9, 10), id(10, 0), id(1<<53, 1), id(1<<53+1, 0), id(1<<53+1, most-1), id(1<<53+1, most), id(most, most),
	}
	for i := range ids {
		for from := 0; from <= i; from++ { // a repeat from any entry on, and one new entry
			batch := []*store.Forwarding{{Partition: 0}, {Partition: 1}}
			for _, at := range ids[from : i+1] {
				batch[0].Entries = append(batch[0].Entries, intakeEntry(at, targetIn(0, 0)))
				batch[1].Entries = append(batch[1].Entries, intakeEntry(at, targetIn(1, 0)))
			}
			must(t, s.Forward(ctx, batch))
			appended := 0
			if from == 0 {
				appended = 1
			}
			want(t, "appended", []int{batch[0].Appended, batch[1].Appended}, []int{appended, appended})
		}
	}
	var data []string
	for _, at := range ids {
		data = append(data, at.String())
	}
	want(t, "partition 0", x.forwarded(t, 0), data)
	want(t, "partition 1", x.forwarded(t, 1), data)
	want(t, "forwarded", x.Client.Get(ctx, Key(0, "forwarded")).Val(), wire.MaxID.String())
	must(t, s.Forward(ctx, nil))
}

// forwardRead: a lane that forwards reads what its own partitions have then, and nothing of others.
func (x *suite) forwardRead(t *testing.T) {
	ctx, s := t.Context(), x.open(t, nil)
	partitions := []int{0, 1}
	if x.cluster() {
		partitions = []int{0}
	}
	a := x.own(t, s, "a", partitions...)
	must(t, s.Forward(ctx, []*store.Forwarding{{Partition: 3}})) // now the server knows the script
	direct := x.addAs(t, 0, "*", "to", targetIn(0, 0), "data", "direct")
	batch := func(at uint64) (batch []*store.Forwarding) {
		for p := range 3 {
			batch = append(batch, &store.Forwarding{Partition: p, Entries: []store.Entry{intakeEntry(id(at, 0), targetIn(p, 0))}})
		}
		return batch
	}
	found := func(generation string, at uint64) (data []string) {
		t.Helper()
		next := a.read
		next.Generation = generation
		entries, err := a.lane.Forward(ctx, batch(at), next)
		must(t, err)
		for _, e := range append(entries, a.next()...) { // the lane of a Cluster finds it now
			if !slices.Contains(partitions, e.Partition) {
				t.Errorf("it read %v of partition %d", e.Fields["data"], e.Partition)
			}
			if e.Partition == 0 {
				data = append(data, e.Fields["data"].(string))
			}
		}
		if !x.cluster() {
			want(t, "found at once, with that of partition 1", len(entries), len(data)+1)
		}
		return data
	}
	want(t, "found", found(a.read.Generation, 5), []string{"direct", "5-0"})
	want(t, "found", found(a.read.Generation, 6), []string{"6-0"})
	want(t, "partition 0", x.forwarded(t, 0), []string{"direct", "5-0", "6-0"})
	for _, p := range []int{1, 2} {
		want(t, "another partition", x.forwarded(t, p), []string{"5-0", "6-0"})
	}
	// By the right of what it watches since then it may write.
	a.append(targetIn(0, 0), wire.ID{}, direct)

	// Another worker takes the partitions: nothing is read, and the entries are forwarded once.
	b := x.own(t, x.open(t, nil), "b")
	for _, p := range partitions {
		must(t, x.Client.Del(ctx, Key(p, "lease")).Err())
	}
	b.take("generation-b", partitions...)
	for range 2 {
		entries, err := a.lane.Forward(ctx, batch(7), a.read)
		want(t, "found by who was deposed", len(entries), 0)
		if !x.cluster() {
			wantError(t, "forward by who was deposed", err, store.ErrFenced)
		}
	}
	var ids []wire.ID
	for _, e := range b.next() {
		if e.Partition == 0 {
			ids = append(ids, e.ID)
		}
	}
	want(t, "entries for the new owner", len(ids), 4)
	want(t, "the first of them", ids[0], direct)
}

// forwardLostScript: a server that has lost the script gets it, and what was read meanwhile counts.
func (x *suite) forwardLostScript(t *testing.T) {
	ctx, s := t.Context(), x.open(t, nil)
	a := x.own(t, s, "a", 0)
	x.add(t, 0, targetIn(0, 0), 2)
	x.each(t, "SCRIPT", "FLUSH")
	f := &store.Forwarding{Partition: 0, Entries: []store.Entry{intakeEntry(id(5, 0), targetIn(0, 0))}}
	found, err := a.lane.Forward(ctx, []*store.Forwarding{f}, a.read)
	must(t, err)
	want(t, "appended", f.Appended, 1)
	want(t, "found then and by the next read", len(found)+len(a.next()), 3)
}

func (x *suite) forwardOdd(t *testing.T) {
	ctx, s := t.Context(), x.open(t, nil)
	to := targetIn(0, 0)
	all := map[string]any{}
	for _, name := range wire.Fields {
		all[name] = "v:" + name
	}
	large := map[string]any{"to": to, "data": "\x00\xff"}
	for i := range 5000 {
		large[fmt.Sprint("unknown", i)] = "x"
	}
	f := &store.Forwarding{Partition: 0, Entries: []store.Entry{
		{ID: id(1, 0), Fields: all},
		{ID: id(2, 0), Fields: map[string]any{"unknown": "x"}}, // leaves nothing to be appended
		{ID: id(3, 0), Fields: large},
	}}
	must(t, s.Forward(ctx, []*store.Forwarding{f}))
	want(t, "appended", f.Appended, 2)
	entries := x.Client.XRange(ctx, Key(0, "events"), "-", "+").Val()
	want(t, "entries", len(entries), 2)
	all[wire.FieldAdded] = "1" // since there is a key
	want(t, "known fields", entries[0].Values, all)
	want(t, "of 5000 unknown fields", entries[1].Values, map[string]any{"to": to, "data": "\x00\xff"})
	must(t, s.Forward(ctx, []*store.Forwarding{f}))
	want(t, "appended by a repeat", f.Appended, 0)

	// A mark that was there has gone: what was forwarded is not known any more.
	must(t, x.Client.Del(ctx, Key(0, "forwarded")).Err())
	f.Marked = true
	wantError(t, "Forward without the mark that was there", s.Forward(ctx, []*store.Forwarding{f}), store.ErrFenced)
	want(t, "entries", x.Client.XLen(ctx, Key(0, "events")).Val(), 2)

	// Many entries in one call.
	f = &store.Forwarding{Partition: 1}
	for i := range 2000 {
		f.Entries = append(f.Entries, store.Entry{ID: id(7, uint64(i)), Fields: all})
	}
	must(t, s.Forward(ctx, []*store.Forwarding{f}))
	want(t, "appended of many", f.Appended, 2000)

	// What is no id stops the partition: to guess could append everything again.
	must(t, x.Client.Set(ctx, Key(0, "forwarded"), "nonsense", 0).Err())
	f = &store.Forwarding{Partition: 0, Entries: []store.Entry{intakeEntry(id(9, 0), to)}}
	must(t, s.Forward(ctx, []*store.Forwarding{f}))
	wantBad(t, "Forward beside nonsense", f.Err)
	want(t, "it says why", strings.Contains(f.Err.Error(), Key(0, "forwarded")+" holds no id"), true)
	want(t, "entries", x.Client.XLen(ctx, Key(0, "events")).Val(), 2)
}

func (x *suite) trim(t *testing.T) {
	ctx, s := t.Context(), x.open(t, nil)
	for _, p := range []int{0, 1, store.Intake} {
		x.add(t, p, targetIn(0, 0), 250)
	}
	ids := x.add(t, 0, targetIn(0, 0), 3)
	intake := x.add(t, store.Intake, targetIn(0, 0), 1)
	must(t, s.Trim(ctx, map[int]wire.ID{0: ids[1], store.Intake: intake[0], 3: ids[0]}))
	left := x.Client.XRange(ctx, Key(0, "events"), "-", "+").Val()
	want(t, "entries left", len(left), 1)
	want(t, "entry left", left[0].ID, ids[2].String())
	want(t, "entries of another partition", x.Client.XLen(ctx, Key(1, "events")).Val(), 250)
	want(t, "entries of the intake", x.Client.XLen(ctx, "sluice:events").Val(), 0)
	must(t, s.Trim(ctx, nil))

	const most = 1<<64 - 1
	x.addAs(t, 2, fmt.Sprintf("5-%d", uint64(most)), "to", "x")
	x.addAs(t, 2, "6-0", "to", "x")
	must(t, s.Trim(ctx, map[int]wire.ID{2: id(5, most)}))
	want(t, "entries after the border", x.Client.XLen(ctx, Key(2, "events")).Val(), 1)
}

func (x *suite) backlogs(t *testing.T) {
	ctx, s := t.Context(), x.open(t, nil)
	of := func(p int) store.Backlog {
		t.Helper()
		all, err := s.Backlogs(ctx)
		must(t, err)
		want(t, "number of backlogs", len(all), 17)
		b := all[slices.IndexFunc(all, func(b store.Backlog) bool { return b.Partition == p })]
		if x.real() && b.Lag > 0 && b.Bytes < 100*b.Lag/2 { // the embedded Redis does not tell
			t.Fatalf("%d entries have %d bytes", b.Lag, b.Bytes)
		}
		b.Bytes = 0
		return b
	}
	for _, p := range []int{0, store.Intake} {
		want(t, "backlog of nothing", of(p), store.Backlog{Partition: p})
		ids := x.add(t, p, targetIn(0, 0), 10)
		want(t, "backlog without a worker", of(p), store.Backlog{Partition: p, Lag: 10})
		a := x.own(t, s, "a", p)
		a.read.Count = 4
		a.next()
		a.read.Count = 1
		a.ack(ids[:3]...)
		if !x.real() {
			continue // the embedded Redis does not count what was read
		}
		want(t, "backlog", of(p), store.Backlog{Partition: p, Lag: 5, Pending: 2})
		must(t, x.Client.XGroupCreate(ctx, stream(p), "audit", "0").Err())
		want(t, "backlog beside a foreign group", of(p), store.Backlog{Partition: p, Lag: 5, Pending: 2})
		must(t, x.Client.XDel(ctx, stream(p), ids[8].String()).Err())
		if b := of(p); b.Lag < 4 || b.Pending != 2 { // Redis does not know the lag any more
			t.Fatalf("backlog after an XDEL: %+v", b)
		}
	}
	if !x.real() {
		return // the embedded Redis answers XLEN of no stream twice
	}
	must(t, x.Client.Set(ctx, Key(5, "events"), "no stream", 0).Err())
	want(t, "backlog of no stream", of(5), store.Backlog{Partition: 5})
}

// backlogsRefused: what Redis does not tell is no backlog of zero.
func (x *suite) backlogsRefused(t *testing.T) {
	ctx, s := t.Context(), Open(t, x.URL, nil)
	x.add(t, 0, targetIn(0, 0), 1)
	for _, forbidden := range []string{"-xlen", "-xinfo|groups"} {
		x.each(t, "ACL", "SETUSER", "default", "+@all", forbidden)
		_, err := s.Backlogs(ctx)
		x.each(t, "ACL", "SETUSER", "default", "+@all")
		wantReply(t, "Backlogs with "+forbidden, err, "NOPERM")
	}
}

// rewind: a mark above everything that was ever read is lowered, unless its entry is there.
// Who no longer owns the intake lowers nothing.
func (x *suite) forwardRewind(t *testing.T) {
	ctx, s := t.Context(), x.open(t, nil)
	mark := func(p int) string { return x.Client.Get(ctx, Key(p, "forwarded")).Val() }
	set := func(p int, id string) { must(t, x.Client.Set(ctx, Key(p, "forwarded"), id, 0).Err()) }
	take := func() store.Term {
		t.Helper()
		terms, err := s.TakeOver(ctx, "a", "t", leaseTTL, []int{store.Intake})
		must(t, err)
		return terms[0]
	}
	first := take()
	x.addAs(t, store.Intake, "70-0", "to", targetIn(3, 0), "data", "1")
	for p, at := range []string{"99-0", "70-0", "50-0", "nonsense", "40-0"} {
		set(p, at)
	}
	all := []int{0, 1, 2, 3, 4, 5}
	lowered, kept, err := s.Rewind(ctx, first.Epoch, id(40, 0), all)
	must(t, err)
	want(t, "lowered", lowered, []int{0, 2})
	want(t, "kept", kept, id(70, 0))
	for p, at := range []string{"40-0", "70-0", "40-0", "nonsense", "40-0", ""} {
		want(t, "mark", mark(p), at)
	}
	lowered, _, err = s.Rewind(ctx, first.Epoch, id(40, 0), all)
	must(t, err)
	want(t, "lowered again", len(lowered), 0)

	set(0, "99-0")
	second := take()
	_, _, err = s.Rewind(ctx, first.Epoch, wire.ID{}, all)
	wantError(t, "rewind by the owner before", err, store.ErrFenced)
	want(t, "mark", mark(0), "99-0")
	_, _, err = s.Rewind(ctx, second.Epoch, wire.ID{}, all)
	must(t, err)
	want(t, "mark", mark(0), "0-0")
	batch := []*store.Forwarding{{Partition: 0, Entries: []store.Entry{intakeEntry(id(1, 0), targetIn(0, 0))}}}
	must(t, s.Forward(ctx, batch))
	want(t, "appended", batch[0].Appended, 1)
}
