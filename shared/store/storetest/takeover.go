package storetest

import (
	"errors"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"sluice/shared/store"
	"sluice/shared/wire"
)

var errHeld = errors.New("the lease is held")

func (x *suite) takeOverFirst(t *testing.T) {
	s := x.open(t, nil)
	for _, p := range []int{0, store.Intake} {
		ids := x.add(t, p, targetIn(0, 0), 3)
		o := x.own(t, s, "a", p)
		want(t, "term", o.terms[0], store.Term{Partition: p, Taken: true, Epoch: o.terms[0].Epoch})
		if late := time.Now().UnixMilli() - int64(o.terms[0].Epoch); late < -1000 || late > 5000 {
			t.Fatalf("the first epoch is %d, want Redis's time in ms", o.terms[0].Epoch)
		}
		entries := o.next()
		want(t, "entries", idsOf(entries), ids)
		want(t, "entry", entries[1], store.Entry{
			Partition: p, ID: ids[1], Fields: map[string]any{"to": targetIn(0, 0), "data": "1"},
		})
	}
	// Where there is no stream yet, its first entry is read as well.
	o := x.own(t, s, "a", 1)
	ids := x.add(t, 1, targetIn(1, 0), 1)
	want(t, "entries of a new stream", idsOf(o.next()), ids)

	none, err := s.TakeOver(t.Context(), "a", "t", leaseTTL, nil)
	must(t, err)
	want(t, "terms over nothing", len(none), 0)
}

func (x *suite) takeOverHeld(t *testing.T) {
	s := x.open(t, nil)
	a := x.own(t, s, "a", 0)
	ids := x.add(t, 0, targetIn(0, 0), 1)
	terms, err := s.TakeOver(t.Context(), "b", "t", leaseTTL, []int{0, 1})
	must(t, err)
	want(t, "term over what another worker holds", terms[0], store.Term{Partition: 0, Owner: "a"})
	want(t, "taken beside it", terms[1].Taken, true)
	want(t, "epoch", x.Client.Get(t.Context(), Key(0, "epoch")).Val(), strconv.FormatUint(a.terms[0].Epoch, 10))
	want(t, "entries of the holder", idsOf(a.next()), ids)
}

// anyDone: what is pending is gone, and what is acknowledged up to there counts no more.
const anyDone = -2

// pending: the new group begins before the oldest entry that is not acknowledged.
func (x *suite) takeOverPending(t *testing.T) {
	for _, c := range []struct {
		name            string
		read, later     int
		acked           []int
		trimmed, deeper int // entries trimmed before and after the read
		again           []int
		seen            int
		done            int
	}{
		{name: "nothing read", read: 0, later: 3, again: []int{0, 1, 2}, seen: -1, done: -1},
		{name: "all acknowledged", read: 3, acked: []int{0, 1, 2}, later: 2, again: []int{3, 4}, seen: 2, done: 2},
		{name: "nothing acknowledged", read: 3, later: 1, again: []int{0, 1, 2, 3}, seen: 2, done: -1},
		{name: "some acknowledged", read: 5, acked: []int{0, 1}, later: 1, again: []int{2, 3, 4, 5}, seen: 4, done: 1},
		{name: "a hole", read: 4, acked: []int{0, 2}, later: 1, again: []int{1, 2, 3, 4}, seen: 3, done: 0},
		{name: "acknowledged and trimmed", read: 4, acked: []int{0, 1}, trimmed: 2, later: 1, again: []int{2, 3, 4}, seen: 3, done: -1},
		{name: "pending and trimmed", read: 3, trimmed: 3, later: 1, again: []int{3}, seen: 2, done: anyDone},
		{name: "all read, acknowledged and trimmed", read: 3, acked: []int{0, 1, 2}, trimmed: 3, later: 1, again: []int{3}, seen: 2, done: 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			x.reset(t)
			ctx, s := t.Context(), x.open(t, nil)
			a := x.own(t, s, "a", 0)
			ids := x.add(t, 0, targetIn(0, 0), c.read)
			want(t, "entries read", len(a.next()), c.read)
			pick := func(indexes []int) []wire.ID {
				out := []wire.ID{}
				for _, i := range indexes {
					out = append(out, ids[i])
				}
				return out
			}
			if len(c.acked) > 0 {
				a.ack(pick(c.acked)...)
			}
			if c.trimmed > 0 {
				must(t, s.Trim(ctx, map[int]wire.ID{0: ids[c.trimmed-1]}))
			}
			ids = append(ids, x.add(t, 0, targetIn(0, 0), c.later)...)
			a.leave()

			b := x.own(t, s, "b", 0)
			seen := wire.ID{}
			if c.seen >= 0 {
				seen = ids[c.seen]
			}
			want(t, "Seen", b.terms[0].Seen, seen)
			done := wire.ID{}
			if c.done >= 0 {
				done = ids[c.done]
			}
			if c.done != anyDone {
				want(t, "Done", b.terms[0].Done, done)
			}
			want(t, "entries of the successor", idsOf(b.next()), pick(c.again))
			want(t, "groups", x.groups(t, 0), []string{"workers-generation-b"})
		})
	}
}

// twice: what was read is known also to the owner after the next, who takes over from
// one that read nothing: an event of which the history was trimmed since is a repeat.
func (x *suite) takeOverTwice(t *testing.T) {
	s := x.open(t, func(c *store.Config) { c.HistorySize = 1 })
	a := x.own(t, s, "a", 0)
	to := targetIn(0, 0)
	ids := x.add(t, 0, to, 3)
	a.next()
	a.append(to, wire.ID{}, ids...)
	a.leave()
	for _, name := range []string{"b", "c", "d"} {
		o := x.own(t, s, name, 0)
		want(t, "Seen by the time of "+name, o.terms[0].Seen, ids[2])
		if name == "d" {
			want(t, "entries", idsOf(o.next()), ids)
			again := appendsOf(s, to, wire.ID{}, ids...)
			for _, a := range again {
				a.Tried = !o.terms[0].Seen.Less(a.Event.ID)
			}
			must(t, o.lane.AppendAndRoute(t.Context(), again, nil))
			for _, a := range again {
				want(t, "error", a.Err, nil)
				want(t, "repeat", a.Repeat, true)
			}
		}
		o.leave()
	}
	// A stream that begins again has been seen by nobody, whatever its ids are.
	must(t, x.Client.Del(t.Context(), Key(0, "events")).Err())
	low := x.addAs(t, 0, "5-1", "to", to, "data", "1")
	e := x.own(t, s, "e", 0)
	want(t, "Seen of a stream that begins again", e.terms[0].Seen, wire.ID{})
	want(t, "its entries", idsOf(e.next()), []wire.ID{low})
}

// lost group: nobody knows what was read of a stream of which something was trimmed.
func (x *suite) takeOverLostGroup(t *testing.T) {
	ctx, s := t.Context(), x.open(t, nil)
	a := x.own(t, s, "a", 0)
	ids := x.add(t, 0, targetIn(0, 0), 4)
	lose := func() {
		t.Helper()
		must(t, x.Client.XGroupDestroy(ctx, Key(0, "events"), "workers-"+a.read.Generation).Err())
		_, err := a.commit(nil)
		wantError(t, "read without the group", err, store.ErrFenced)
		a.take("generation-a", 0)
	}
	lose()
	want(t, "Seen where nothing was ever done", a.terms[0].Seen, wire.ID{})
	a.next()
	a.ack(ids[:2]...)
	must(t, s.Trim(ctx, map[int]wire.ID{0: ids[1]}))
	lose()
	want(t, "Seen", a.terms[0].Seen, ids[3])
	want(t, "entries", idsOf(a.next()), ids[2:])
}

func (x *suite) groups(t *testing.T, partition int) []string {
	t.Helper()
	groups, err := x.Client.XInfoGroups(t.Context(), stream(partition)).Result()
	must(t, err)
	names := []string{}
	for _, g := range groups {
		names = append(names, g.Name)
	}
	slices.Sort(names)
	return names
}

func (x *suite) takeOverOldGroup(t *testing.T) {
	s := x.open(t, nil)
	a := x.own(t, s, "a", 0)
	ids := x.add(t, 0, targetIn(0, 0), 2)
	a.next()
	a.leave()
	b := x.own(t, s, "b", 0)
	_, err := a.commit(nil)
	wantError(t, "read by the deposed owner", err, store.ErrFenced)
	_, err = a.commit(nil, ackOf(0, ids...))
	wantError(t, "acknowledgement by the deposed owner", err, store.ErrFenced)
	want(t, "entries of the successor", idsOf(b.next()), ids)
	want(t, "the epoch grows", b.terms[0].Epoch > a.terms[0].Epoch, true)
}

// own: a worker takes what it holds again, also under the same generation: it repeats a
// takeover of which the reply was lost, or takes back what it gave away.
func (x *suite) takeOverOwn(t *testing.T) {
	s := x.open(t, nil)
	a := x.own(t, s, "a", 0)
	ids := x.add(t, 0, targetIn(0, 0), 2)
	for i, generation := range []string{"generation-a", "generation-a", "fresh", "fresh"} {
		before := a.terms[0].Epoch
		if i%2 == 1 {
			a.leave()
		}
		a.take(generation, 0)
		want(t, "the epoch grows", a.terms[0].Epoch > before, true)
		want(t, "entries", idsOf(a.next()), ids)
	}
}

func (x *suite) takeOverSeveral(t *testing.T) {
	s := x.open(t, nil)
	x.own(t, s, "a", 2)
	all := []int{store.Intake, 0, 1, 2, 3}
	free, err := s.Free(t.Context(), "b", all)
	must(t, err)
	want(t, "free", free, []int{store.Intake, 0, 1, 3})
	terms, err := s.TakeOver(t.Context(), "b", "t", leaseTTL, all)
	must(t, err)
	for i, r := range terms {
		want(t, "partition", r.Partition, all[i])
		want(t, "taken", r.Taken, all[i] != 2)
	}
	free, err = s.Free(t.Context(), "b", all)
	must(t, err)
	want(t, "free or its own", free, []int{store.Intake, 0, 1, 3})
}

func (x *suite) takeOverEpoch(t *testing.T) {
	ctx := t.Context()
	const now = 0 // stands for Redis's time
	ahead := uint64(time.Now().Add(time.Hour).UnixMilli())
	take := func(s *store.Store, stored string, least uint64) {
		t.Helper()
		must(t, x.Client.Set(ctx, Key(0, "epoch"), stored, 0).Err())
		terms, err := s.TakeOver(ctx, "a", "t", leaseTTL, []int{0})
		must(t, err)
		got := terms[0].Epoch
		if least == now {
			if late := time.Now().UnixMilli() - int64(got); !terms[0].Taken || late < -1000 || late > 5000 {
				t.Errorf("after the epoch %q comes %d, want Redis's time in ms", stored, got)
			}
		} else if got != least {
			t.Errorf("after the epoch %q comes %d, want %d", stored, got, least)
		}
		want(t, "epoch as kept", x.Client.Get(ctx, Key(0, "epoch")).Val(), strconv.FormatUint(got, 10))
	}
	for stored, least := range map[string]uint64{
		strconv.FormatUint(ahead, 10): ahead + 1, "999999999999998": 999_999_999_999_999,
		"41": now, "0": now, // a failover to a node that lacks what came after
		"": now, "abc": now, "-1": now, "-7": now, "1.5": now, "1e3": now, "0x10": now, " 7": now,
		"inf": now, "nan": now, "18446744073709551615": now, "99999999999999999999999": now,
	} {
		take(x.open(t, nil), stored, least)
	}
	// Redis's clock may be behind as well: what this process had is not given again.
	s := x.open(t, nil)
	take(s, strconv.FormatUint(ahead, 10), ahead+1)
	take(s, "41", ahead+2)
	take(s, strconv.FormatUint(ahead, 10), ahead+3)
}

// borders: ids beyond what a Lua number holds, and of different lengths.
func (x *suite) takeOverBorders(t *testing.T) {
	for _, ids := range [][]string{
		{"9-1", "10-0", "10-9", "10-10", "11-0"},
		{"0-1", "0-9", "0-10"},
		{"5-18446744073709551614", "5-18446744073709551615", "6-0"},
		{"9007199254740992-1", "9007199254740993-0", "9007199254740993-9007199254740993"},
		{"99-18446744073709551615", "100-0", "18446744073709551615-18446744073709551614", "18446744073709551615-18446744073709551615"},
	} {
		for acked := range ids {
			x.reset(t)
			s := x.open(t, nil)
			a := x.own(t, s, "a", 0)
			var given []wire.ID
			for _, as := range ids {
				given = append(given, x.addAs(t, 0, as, "to", targetIn(0, 0), "data", "1"))
			}
			want(t, "entries", idsOf(a.next()), given)
			if acked > 0 {
				a.ack(given[:acked]...)
			}
			a.leave()
			b := x.own(t, s, "b", 0)
			want(t, "Seen", b.terms[0].Seen, given[len(given)-1])
			want(t, "entries of the successor", idsOf(b.next()), given[acked:])
		}
	}
}

// many groups: should there be several groups of workers, the earliest counts.
func (x *suite) takeOverManyGroups(t *testing.T) {
	ctx, s := t.Context(), x.open(t, nil)
	var ids []wire.ID
	for _, as := range []string{"9-1", "9-5", "9-6", "10-1", "10-2"} {
		ids = append(ids, x.addAs(t, 0, as, "to", targetIn(0, 0), "data", "1"))
	}
	for name, at := range map[string]string{"workers-x": "10-1", "workers-y": "9-5", "workers-z": "10-0"} {
		must(t, x.Client.XGroupCreate(ctx, Key(0, "events"), name, at).Err())
	}
	a := x.own(t, s, "a", 0)
	want(t, "Seen", a.terms[0].Seen, id(10, 1))
	want(t, "entries", idsOf(a.next()), ids[2:])
	want(t, "groups", x.groups(t, 0), []string{"workers-generation-a"})
}

func (x *suite) takeOverForeign(t *testing.T) {
	ctx, s := t.Context(), x.open(t, nil)
	x.add(t, 0, targetIn(0, 0), 3)
	for _, name := range []string{"audit", "worker", "workers"} {
		must(t, x.Client.XGroupCreate(ctx, Key(0, "events"), name, "0").Err())
	}
	must(t, x.Client.XReadGroup(ctx, &redis.XReadGroupArgs{
		Group: "audit", Consumer: "c", Streams: []string{Key(0, "events"), ">"}, Count: 2,
	}).Err())
	before := x.Client.XPending(ctx, Key(0, "events"), "audit").Val()
	a := x.own(t, s, "a", 0)
	a.next()
	a.take("generation-b", 0)
	want(t, "groups", x.groups(t, 0), []string{"audit", "worker", "workers", "workers-generation-b"})
	want(t, "pending of a foreign group", x.Client.XPending(ctx, Key(0, "events"), "audit").Val(), before)
}

// lag: what an autoscaler reads is never nil, and right.
func (x *suite) takeOverLag(t *testing.T) {
	ctx, s := t.Context(), x.open(t, nil)
	lag := func(step string, unread int64) {
		t.Helper()
		groups, err := x.Client.XInfoGroups(ctx, Key(0, "events")).Result()
		must(t, err)
		want(t, "groups after "+step, len(groups), 1)
		want(t, "lag after "+step, groups[0].Lag, unread)
	}
	a := x.own(t, s, "a", 0)
	lag("the first takeover", 0)
	ids := x.add(t, 0, targetIn(0, 0), 10)
	lag("ten entries", 10)
	a.read.Count = 4
	a.next()
	lag("four read", 6)
	a.take("t2", 0)
	lag("a takeover with four pending", 10)
	a.read.Count = 6
	a.next()
	a.read.Count = 1
	a.ack(ids[:3]...)
	lag("seven read, three acknowledged", 3)
	a.take("t3", 0)
	lag("a takeover with four pending behind acknowledged ones", 7)
	a.read.Count = 4
	a.next()
	lag("the four read again", 3)
	must(t, s.Trim(ctx, map[int]wire.ID{0: ids[2]}))
	lag("trimming", 3)
	a.take("t3", 0)
	lag("a takeover with four pending of a trimmed stream", 7)
	a.read.Count = 100
	a.next()
	a.ack(ids[3:]...)
	lag("all read", 0)
	must(t, s.Trim(ctx, map[int]wire.ID{0: ids[9]}))
	a.take("t4", 0)
	lag("a takeover of an empty stream", 0)
	x.add(t, 0, targetIn(0, 0), 2)
	lag("two more", 2)
	a.take("t5", 0)
	lag("a takeover with nothing read", 2)
	a.next()
	must(t, x.Client.XTrimMaxLen(ctx, Key(0, "events"), 0).Err())
	a.take("t6", 0)
	lag("a takeover with pending entries that are gone", 0)

	// After a failover the group has read less than it has: that is not replicated exactly.
	lost := func(left int, step string, unread int64) {
		t.Helper()
		groups := x.Client.XInfoGroups(ctx, Key(0, "events")).Val()
		must(t, x.Client.Do(ctx, "XGROUP", "SETID", Key(0, "events"), groups[0].Name, groups[0].LastDeliveredID, "ENTRIESREAD", 1).Err())
		all, err := s.Backlogs(ctx)
		must(t, err)
		all[1].Bytes = 0
		want(t, "backlog before "+step, all[1], store.Backlog{Partition: 0, Lag: int64(left)})
		a.take("t"+step, 0)
		lag(step, unread)
	}
	ids = x.add(t, 0, targetIn(0, 0), 3)
	a.next()
	a.ack(ids...)
	lost(3, "a takeover after a failover, not trimmed yet", 0)
	must(t, s.Trim(ctx, map[int]wire.ID{0: ids[2]}))
	lost(0, "a takeover after a failover, trimmed", 0)
	ids = x.add(t, 0, targetIn(0, 0), 5)
	a.read.Count = 3
	a.next()
	a.read.Count = 1
	a.ack(ids[:3]...) // and reads the next one
	a.ack(ids[3])     // and the last one
	a.ack(ids[4])
	x.add(t, 0, targetIn(0, 0), 2)
	lost(7, "a takeover after a failover, some not read", 2)
}

func (x *suite) lease(t *testing.T) {
	ctx, s := t.Context(), x.open(t, nil)
	a := x.own(t, s, "a", 0, 1, store.Intake)
	want(t, "lease", x.Client.Get(ctx, Key(0, "lease")).Val(), "a")
	want(t, "lease of the intake", x.Client.Get(ctx, "sluice:{sluice:events}:lease").Val(), "a")

	lost, err := s.Renew(ctx, "a", time.Hour, []int{0, 1, 2, store.Intake})
	must(t, err)
	want(t, "lost", lost, []int{2})
	if ttl := x.Client.PTTL(ctx, Key(0, "lease")).Val(); ttl <= leaseTTL || ttl > time.Hour {
		t.Fatalf("a lease renewed for an hour lives for %v", ttl)
	}
	lost, err = s.Renew(ctx, "b", time.Hour, []int{0, 1})
	must(t, err)
	want(t, "lost by who never had it", lost, []int{0, 1})

	must(t, s.Release(ctx, "b", []int{0}))
	want(t, "lease after another's release", x.Client.Get(ctx, Key(0, "lease")).Val(), "a")
	must(t, s.Release(ctx, "a", []int{0, 1, 2}))
	free, err := s.Free(ctx, "b", []int{0, 1, store.Intake})
	must(t, err)
	want(t, "free after the release", free, []int{0, 1})
	want(t, "groups after the release", x.groups(t, 0), []string{"workers-" + a.read.Generation})

	// A lease that is not renewed ends by itself.
	_, err = s.TakeOver(ctx, "a", "t", 150*time.Millisecond, []int{3})
	must(t, err)
	free, err = s.Free(ctx, "b", []int{3})
	must(t, err)
	want(t, "free at once", len(free), 0)
	Eventually(t, func() error {
		terms, err := s.TakeOver(ctx, "b", "t2", leaseTTL, []int{3})
		if err == nil && !terms[0].Taken {
			err = errHeld
		}
		return err
	})
	lost, err = s.Renew(ctx, "a", leaseTTL, []int{3})
	must(t, err)
	want(t, "lost after it expired", lost, []int{3})
}
