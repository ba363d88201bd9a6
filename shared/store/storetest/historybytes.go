package storetest

import (
	"strings"
	"testing"
	"time"

	"sluice/shared/store"
	"sluice/shared/wire"
)

// weighed appends events of so many bytes to a target, as an owner does that knows what the
// history has: sum is that of the newest event before. trim: it knows that the last one
// brings the history above its bound.
func (o *owner) weighed(target string, prev wire.ID, sum int64, trim bool, size int, ids ...wire.ID) (last *store.Append) {
	o.t.Helper()
	appends := appendsOf(o.s, target, prev, ids...)
	for _, a := range appends {
		a.Event.Data = strings.Repeat("x", size-int(store.HistoryBytes(&wire.Event{})))
		if sum >= 0 {
			sum += store.HistoryBytes(a.Event)
			a.Sum = sum
		}
		last = a
	}
	if trim {
		last.Trim = o.s.Config().HistoryBytes
	}
	must(o.t, o.lane.AppendAndRoute(o.t.Context(), appends, nil))
	return last
}

func idsFrom(ms uint64, n int) (ids []wire.ID) {
	for i := range n {
		ids = append(ids, id(ms+uint64(i), 0))
	}
	return ids
}

// bytes: a history above its bound in bytes loses its oldest events, and never the newest one.
func (x *suite) appendBytes(t *testing.T) {
	const bound, size = 64 << 10, 4 << 10
	ctx := t.Context()
	s := x.open(t, func(c *store.Config) { c.HistoryBytes = bound })
	a := x.own(t, s, "a", 0)
	a.next()
	kept := func(what, target string, last *store.Append, want int) {
		t.Helper()
		ids, prevs := retained(t, s, target)
		if len(ids) != want || ids[len(ids)-1] != last.Event.ID {
			t.Fatalf("%s: %d events are kept up to %v, want %d", what, len(ids), ids[len(ids)-1:], want)
		}
		for i := 1; i < len(ids); i++ {
			if prevs[i] != ids[i-1] {
				t.Fatalf("%s: the prev of %v is %v", what, ids[i], prevs[i])
			}
		}
	}
	knows := func(what, target string, sum, bytes int64) {
		t.Helper()
		end := &store.End{Target: target}
		must(t, a.lane.Prepare(ctx, nil, []*store.End{end}, time.Minute))
		if end.Sum != sum || end.Bytes != bytes {
			t.Fatalf("%s: an owner that asks learns of %d bytes, sum %d, want %d and %d", what, end.Bytes, end.Sum, bytes, sum)
		}
	}
	left := int64(bound - bound/16)

	to := targetIn(0, 0)
	last := a.weighed(to, wire.ID{}, 0, true, size, idsFrom(1, 16)...)
	kept("at the bound", to, last, 16)
	want(t, "bytes at the bound", last.Left, int64(bound))
	last = a.weighed(to, last.Event.ID, last.Sum, false, size, idsFrom(17, 16)...)
	kept("above the bound, and nobody knows", to, last, 32)
	knows("above the bound", to, 32*size, 32*size)
	x.each(t, "SCRIPT", "FLUSH")
	last = a.weighed(to, last.Event.ID, last.Sum, true, size, id(33, 0))
	kept("above the bound", to, last, 15)
	want(t, "bytes that are left", last.Left, left)
	knows("trimmed", to, 33*size, left)
	must(t, x.Client.XTrimMaxLen(ctx, Key(0, "history:"+to), 2).Err())
	knows("trimmed by number", to, 33*size, 2*size)
	last = a.weighed(to, last.Event.ID, last.Sum, true, 2*bound, id(34, 0))
	kept("one event above the bound", to, last, 1)
	want(t, "bytes of one event", last.Left, int64(2*bound))
	last = a.weighed(to, last.Event.ID, last.Sum, true, size, id(35, 0))
	kept("behind it", to, last, 1)

	// What a version wrote that kept no sums.
	old := targetIn(0, 1)
	last = a.weighed(old, wire.ID{}, -1, false, size, idsFrom(1, 10)...)
	knows("without sums", old, 10*size, 10*size)
	last = a.weighed(old, last.Event.ID, 10*size, true, size, id(11, 0))
	kept("without sums, below the bound", old, last, 11)
	want(t, "bytes without sums", last.Left, int64(11*size))
	knows("with a sum at the end", old, 11*size, 11*size)
	last = a.weighed(old, last.Event.ID, -1, false, size, idsFrom(12, 30)...)
	end := &store.End{Target: old}
	must(t, a.lane.Prepare(ctx, nil, []*store.End{end}, time.Minute))
	if end.Bytes <= bound {
		t.Fatalf("an owner learns of %d bytes of 41 events without sums", end.Bytes)
	}
	last = a.weighed(old, last.Event.ID, end.Sum, true, size, id(42, 0))
	kept("without sums, above the bound", old, last, 15)
	want(t, "bytes that are left without sums", last.Left, left)

	must(t, x.Client.Set(ctx, Key(0, "history:"+targetIn(0, 2)), "no stream", 0).Err())
	odd := a.weighed(targetIn(0, 2), wire.ID{}, 0, true, size, id(1, 0))
	wantError(t, "no stream", odd.Err, store.ErrNotStream)
	want(t, "bytes of no stream", odd.Left, 0)
}
