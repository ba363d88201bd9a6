package storetest

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"sluice/shared/store"
	"sluice/shared/wire"
)

func ackOfUser(user, device, to string, at wire.ID) wire.Ack {
	return wire.Ack{User: user, Device: device, To: to, ID: at}
}

// appendAcks appends, and nothing is refused.
func appendAcks(t *testing.T, s *store.Store, acks ...wire.Ack) {
	t.Helper()
	errs, lost := s.AppendAcks(t.Context(), acks, 0)
	must(t, errors.Join(errs...))
	want(t, "lost", lost, 0)
}

func (x *suite) ackReader(t *testing.T, s *store.Store, partitions ...int) *store.GroupReader {
	t.Helper()
	r, err := s.NewAckReader(partitions)
	must(t, err)
	t.Cleanup(func() { _ = r.Close() })
	return r
}

// readAcks reads until a read that waited brought nothing.
func readAcks(t *testing.T, r *store.GroupReader) (acks []wire.Ack, entries []store.Entry) {
	t.Helper()
	for empty := 0; empty < 2; { // the first one may have made the groups
		got, err := r.Read(t.Context(), 100, 20*time.Millisecond)
		must(t, err)
		entries = append(entries, got...)
		if empty++; len(got) > 0 {
			empty = 0
		}
	}
	return acksIn(t, entries), entries
}

func acksIn(t *testing.T, entries []store.Entry) []wire.Ack {
	t.Helper()
	acks := []wire.Ack{}
	for _, e := range entries {
		a, ok := wire.ParseAck(e.Fields)
		if !ok {
			t.Fatalf("entry %v is no ack", e)
		}
		acks = append(acks, a)
	}
	return acks
}

// appended: each ack lies where it is documented, in the partition of its target.
func (x *suite) acksAppend(t *testing.T) {
	ctx, s := t.Context(), x.open(t, nil)
	a, b := ackOfUser("u", "phone", targetIn(3, 0), id(17, 1)), ackOfUser("u", "", targetIn(4, 0), id(18, 0))
	appendAcks(t, s, a, b, a)
	stream := x.Client.XRange(ctx, Key(3, "acks"), "-", "+").Val()
	want(t, "entries", len(stream), 2)
	want(t, "fields", stream[0].Values, map[string]any{"user": "u", "device": "phone", "to": a.To, "id": "17-1"})
	want(t, "fields without a device", x.Client.XRange(ctx, Key(4, "acks"), "-", "+").Val()[0].Values,
		map[string]any{"user": "u", "to": b.To, "id": "18-0"})

	// A key that holds something else spoils nothing but itself.
	must(t, x.Client.Set(ctx, Key(5, "acks"), "no stream", 0).Err())
	errs, _ := s.AppendAcks(ctx, []wire.Ack{ackOfUser("u", "d", targetIn(5, 0), id(1, 1)), a}, 10)
	wantError(t, "ack to a key that holds no stream", errs[0], store.ErrNotStream)
	must(t, errs[1])
	want(t, "entries", x.Client.XLen(ctx, Key(3, "acks")).Val(), 3)
	errs, lost := s.AppendAcks(ctx, nil, 10)
	want(t, "errors of nothing", len(errs), 0)
	want(t, "lost of nothing", lost, 0)
}

// bound: a stream that nobody reads does not grow, and what had to go is counted.
func (x *suite) acksBound(t *testing.T) {
	ctx, s := t.Context(), x.open(t, nil)
	const keep, block, n = 300, 100, 1000
	batch := make([]wire.Ack, 50)
	var lost int64
	for i := range n / len(batch) {
		for j := range batch {
			batch[j] = ackOfUser("u", "d", targetIn(0, 0), id(uint64(i*len(batch)+j+1), 0))
		}
		errs, gone := s.AppendAcks(ctx, batch, keep)
		must(t, errors.Join(errs...))
		lost += gone
		if have := x.Client.XLen(ctx, Key(0, "acks")).Val(); have > keep+block {
			t.Fatalf("the stream has %d entries of %d and a block", have, keep)
		}
	}
	want(t, "lost and kept", lost+x.Client.XLen(ctx, Key(0, "acks")).Val(), n)
	newest := x.Client.XRevRangeN(ctx, Key(0, "acks"), "+", "-", 1).Val()[0]
	want(t, "newest", newest.Values["id"], any(fmt.Sprint(n, "-0")))
}

// read: what is there before the group, each entry by one reader, and everything again
// when the group was lost.
func (x *suite) acksRead(t *testing.T) {
	ctx, s := t.Context(), x.open(t, nil)
	partitions := []int{3, 4}
	if x.cluster() {
		partitions = []int{3}
	}
	var acks []wire.Ack
	for i, p := range partitions {
		acks = append(acks, ackOfUser("u", "d", targetIn(p, 0), id(uint64(i+1), 0)))
	}
	appendAcks(t, s, acks...)
	one, other := x.ackReader(t, s, partitions...), x.ackReader(t, s, partitions...)
	got, entries := readAcks(t, one)
	want(t, "read", got, acks)
	got, _ = readAcks(t, other)
	want(t, "read by another one", len(got), 0)
	want(t, "group, as it is documented", x.Client.XInfoGroups(ctx, Key(3, "acks")).Val()[0].Name, "workers")
	want(t, "consumers", x.Client.XInfoGroups(ctx, Key(3, "acks")).Val()[0].Consumers, 1)
	must(t, one.Done(ctx, entries))
	must(t, one.Done(ctx, nil))
	want(t, "pending", x.Client.XPending(ctx, Key(3, "acks"), "workers").Val().Count, 0)

	for _, lose := range []func() error{
		func() error { return x.Client.XGroupDestroy(ctx, Key(3, "acks"), "workers").Err() },
		func() error { return x.Client.Del(ctx, Key(3, "acks")).Err() },
	} {
		must(t, lose())
		last := ackOfUser("u", "d", targetIn(3, 0), id(9, 0))
		appendAcks(t, s, last)
		got, entries = readAcks(t, one)
		if len(got) == 0 || got[len(got)-1] != last {
			t.Fatalf("read %v after a loss, want %v at the end", got, last)
		}
		must(t, one.Done(ctx, entries))
	}
}

// lost while a reader waits: it goes on with what comes.
func (x *suite) acksLost(t *testing.T) {
	ctx, s := t.Context(), x.open(t, nil)
	r := x.ackReader(t, s, 0)
	readAcks(t, r)
	read := make(chan error, 1)
	go func() {
		_, err := r.Read(ctx, 10, time.Minute)
		read <- err
	}()
	x.awaitBlocked(t, 1)
	x.each(t, "FLUSHALL")
	select {
	case err := <-read:
		must(t, err)
	case <-time.After(patience):
		t.Fatal("a reader waits although its stream is gone")
	}
	a := ackOfUser("u", "d", targetIn(0, 0), id(1, 0))
	appendAcks(t, s, a)
	got, _ := readAcks(t, r)
	want(t, "read after all was lost", got, []wire.Ack{a})
}

// claim: what a reader took and did not finish, another one gets once it is old.
func (x *suite) acksClaim(t *testing.T) {
	ctx, s := t.Context(), x.open(t, nil)
	dead, alive := x.ackReader(t, s, 0), x.ackReader(t, s, 0)
	_, _, _, err := alive.Claim(ctx, time.Millisecond) // before there is a group
	must(t, err)
	acks := make([]wire.Ack, 250)
	for i := range acks {
		acks[i] = ackOfUser("u", "d", targetIn(0, 0), id(uint64(i+1), 0))
	}
	appendAcks(t, s, acks...)
	got, entries := readAcks(t, dead)
	want(t, "read", got, acks)
	must(t, dead.Done(ctx, entries[:10]))
	young, lost, more, err := alive.Claim(ctx, time.Hour)
	must(t, err)
	want(t, "claimed too early", len(young), 0)
	want(t, "lost", lost, 0)
	want(t, "more", more, false)

	Eventually(t, func() error { // until they are older than a claim takes
		if n := x.Client.XPendingExt(ctx, pendingOf(0, 20*time.Millisecond)).Val(); len(n) < 240 {
			return fmt.Errorf("%d are old enough", len(n))
		}
		return nil
	})
	var claimed []wire.Ack
	for more := true; more; {
		var part []store.Entry
		part, _, more, err = alive.Claim(ctx, 10*time.Millisecond)
		must(t, err)
		if len(part) == 0 {
			break
		}
		claimed = append(claimed, acksIn(t, part)...)
		must(t, alive.Done(ctx, part))
	}
	want(t, "claimed", claimed, acks[10:])
	rest, _, _, err := alive.Claim(ctx, 0)
	must(t, err)
	want(t, "claimed when all is done", len(rest), 0)
}

// claim of what was trimmed: it is gone, and counted.
func (x *suite) acksClaimTrimmed(t *testing.T) {
	ctx, s := t.Context(), x.open(t, nil)
	r := x.ackReader(t, s, 0)
	for i := range 5 {
		appendAcks(t, s, ackOfUser("u", "d", targetIn(0, 0), id(uint64(i+1), 0)))
	}
	readAcks(t, r)
	must(t, x.Client.XTrimMaxLen(ctx, Key(0, "acks"), 2).Err())
	Eventually(t, func() error {
		if n := x.Client.XPendingExt(ctx, pendingOf(0, 5*time.Millisecond)).Val(); len(n) < 5 {
			return fmt.Errorf("%d are old enough", len(n))
		}
		return nil
	})
	entries, lost, _, err := r.Claim(ctx, time.Millisecond)
	must(t, err)
	want(t, "claimed", len(entries), 2)
	want(t, "lost", lost, 3)
	must(t, r.Done(ctx, entries))
	want(t, "pending", x.Client.XPending(ctx, Key(0, "acks"), "workers").Val().Count, 0)
}

// trim: never what a group of another service has not acknowledged.
func (x *suite) acksTrim(t *testing.T) {
	ctx, s := t.Context(), x.open(t, nil)
	r, stream := x.ackReader(t, s, 0), Key(0, "acks")
	behind, err := s.TrimAcks(ctx, []int{0, 1})
	must(t, err)
	want(t, "behind where there is nothing", len(behind), 0)
	var acks []wire.Ack
	for i := range 5 {
		acks = append(acks, ackOfUser("u", "d", targetIn(0, 0), id(uint64(i+1), 0)))
	}
	appendAcks(t, s, acks...)
	trim := func(what string, left int64) {
		t.Helper()
		behind, err := s.TrimAcks(ctx, []int{0})
		must(t, err)
		want(t, "entries, "+what, x.Client.XLen(ctx, stream).Val(), left)
		want(t, "somebody is behind, "+what, len(behind) > 0, left > 1)
	}
	trim("without a group", 5)
	must(t, x.Client.XGroupCreate(ctx, stream, "receipts", "0").Err())
	trim("with another group only", 5)
	_, entries := readAcks(t, r)
	trim("read by workers, not acknowledged", 5)
	must(t, r.Done(ctx, entries))
	trim("unread by the other group", 5)
	foreign := x.Client.XReadGroup(ctx, receiptsOf(stream, 3)).Val()[0].Messages
	trim("read by the other group, not acknowledged", 5)
	must(t, x.Client.XAck(ctx, stream, "receipts", foreign[0].ID, foreign[2].ID).Err())
	trim("the other group has acknowledged the first and the third", 4)
	must(t, x.Client.XAck(ctx, stream, "receipts", foreign[1].ID).Err())
	trim("the other group has acknowledged three of five", 3)
	foreign = x.Client.XReadGroup(ctx, receiptsOf(stream, 9)).Val()[0].Messages
	want(t, "what the other group read at last", foreign[len(foreign)-1].Values["id"], any("5-0"))
	must(t, x.Client.XAck(ctx, stream, "receipts", foreign[0].ID, foreign[1].ID).Err())
	trim("all have acknowledged all", 1)
	appendAcks(t, s, acks[0])
	trim("one more, unread by both", 2)
	must(t, x.Client.XGroupDestroy(ctx, stream, "receipts").Err())
	_, entries = readAcks(t, r)
	must(t, r.Done(ctx, entries))
	trim("the other group is gone", 1)
}

func cursorOf(user, device, to string, at wire.ID) *store.Cursor {
	return &store.Cursor{Ack: ackOfUser(user, device, to, at)}
}

// move moves cursors and tells which have moved.
func move(t *testing.T, s *store.Store, cursors ...*store.Cursor) (moved []bool) {
	t.Helper()
	changed, err := s.MoveCursors(t.Context(), cursors, time.Hour)
	must(t, err)
	want(t, "evicted", changed.Evicted, 0)
	want(t, "failed", len(changed.Failed), 0)
	for _, c := range cursors {
		moved = append(moved, c.Moved)
	}
	return moved
}

// cursors only ever move forward.
func (x *suite) cursors(t *testing.T) {
	ctx, s := t.Context(), x.open(t, nil)
	to, other := targetIn(0, 0), targetIn(1, 0)
	hash := Key(wire.Partition("user:u", 16), "cursor:user:u")
	want(t, "moved", move(t, s,
		cursorOf("u", "phone", to, id(10, 9)), cursorOf("u", "phone", other, id(1, 0)), cursorOf("u", "laptop", to, id(9, 10)),
		cursorOf("v", "phone", to, id(5, 0)), cursorOf("u", "phone", to, id(10, 8)), cursorOf("u", "phone", to, id(10, 10)),
	), []bool{true, true, true, true, false, true})
	want(t, "as it is documented", x.Client.HGetAll(ctx, hash).Val(), map[string]string{
		"phone " + to: "10-10", "phone " + other: "1-0", "laptop " + to: "9-10",
	})
	for _, c := range []struct {
		at    wire.ID
		moved bool
	}{
		{id(10, 10), false}, {id(10, 9), false}, {id(9, 99), false}, {id(9, 18446744073709551615), false}, {id(2, 0), false},
		{id(10, 11), true}, {id(11, 0), true}, {id(100, 0), true}, {id(99, 1), false},
		{id(9007199254740993, 1), true}, {id(9007199254740992, 2), false}, {id(9007199254740993, 9007199254740993), true},
		{id(9007199254740993, 9007199254740992), false}, {wire.MaxID, true}, {wire.MaxID, false},
	} {
		want(t, fmt.Sprintf("moved to %v", c.at), move(t, s, cursorOf("u", "phone", to, c.at)), []bool{c.moved})
	}
	want(t, "cursor", x.Client.HGet(ctx, hash, "phone "+to).Val(), wire.MaxID.String())
	got, full, err := s.Cursors(ctx, "u", "phone")
	must(t, err)
	want(t, "cursors of a device", got, map[string]string{to: wire.MaxID.String(), other: "1-0"})
	want(t, "full", full, false)
	got, _, err = s.Cursors(ctx, "u", "pho")
	must(t, err)
	want(t, "cursors of a device without any", len(got), 0)

	// What is no id gives way, and what is no hash is told.
	must(t, x.Client.HSet(ctx, hash, "phone "+other, "yesterday").Err())
	want(t, "moved from nonsense", move(t, s, cursorOf("u", "phone", other, id(1, 0))), []bool{true})
	must(t, x.Client.Set(ctx, Key(wire.Partition("user:w", 16), "cursor:user:w"), "no hash", 0).Err())
	changed, err := s.MoveCursors(ctx, []*store.Cursor{cursorOf("w", "d", to, id(1, 0)), cursorOf("u", "new", to, id(1, 0))}, time.Hour)
	must(t, err)
	want(t, "failed", changed.Failed, []string{"w"})
	want(t, "cursor of another user", x.Client.HGet(ctx, hash, "new "+to).Val(), "1-0")
	got, _, err = s.Cursors(ctx, "w", "d")
	must(t, err)
	want(t, "cursors in what is no hash", len(got), 0)
	changed, err = s.MoveCursors(ctx, nil, time.Hour)
	must(t, err)
	want(t, "failed of nothing", len(changed.Failed), 0)

	// One that was ended stays so, whatever acknowledges what is older; a new one moves.
	late := wire.ID{Ms: uint64(s.NowMs()) - 1000}
	must(t, s.EndCursor(ctx, "u", "new", to, wire.ID{}, time.Hour))
	want(t, "moved after its end", move(t, s, cursorOf("u", "new", to, late)), []bool{false})
	lost := targetIn(1, 7)
	_, err = s.RestoreCursors(ctx, "u", "new", map[string]wire.ID{to: late, lost: late}, time.Hour)
	must(t, err)
	got, _, err = s.Cursors(ctx, "u", "new")
	must(t, err)
	want(t, "one that was ended is not restored", got[to], "")
	want(t, "one that was lost is", got[lost], late.String())
	_, err = s.BeginCursors(ctx, "u", "new", map[string]wire.ID{to: late}, time.Hour)
	must(t, err)
	late.Seq++
	want(t, "moved after it began again", move(t, s, cursorOf("u", "new", to, late)), []bool{true})
	must(t, s.EndCursor(ctx, "u", "new", to, wire.MaxID, time.Hour))
	want(t, "moved after the end of what was sent in advance", move(t, s, cursorOf("u", "new", to, id(9e18, 0))), []bool{false})
}

// at once: whoever comes last, the highest stays.
func (x *suite) cursorsAtOnce(t *testing.T) {
	ctx, s := t.Context(), x.open(t, nil)
	const movers, each = 8, 40
	var wg sync.WaitGroup
	errs := make([]error, movers)
	for m := range movers {
		wg.Go(func() {
			for n := range each {
				at := id(uint64(1000+(n*7+m*13)%each), uint64(m))
				_, err := s.MoveCursors(ctx, []*store.Cursor{cursorOf("u", "d", "all", at)}, time.Hour)
				errs[m] = errors.Join(errs[m], err)
			}
		})
	}
	wg.Wait()
	must(t, errors.Join(errs...))
	got, _, err := s.Cursors(ctx, "u", "d")
	must(t, err)
	want(t, "cursor", got, map[string]string{"all": id(1000+each-1, movers-1).String()})
}

// expiry: cursors live for their time from the last write on.
func (x *suite) cursorsExpire(t *testing.T) {
	ctx, s := t.Context(), x.open(t, nil)
	hash := Key(wire.Partition("user:u", 16), "cursor:user:u")
	move(t, s, cursorOf("u", "d", "all", id(5, 0)))
	if ttl := x.Client.PTTL(ctx, hash).Val(); ttl <= time.Hour-time.Minute || ttl > time.Hour {
		t.Fatalf("cursors live for %v, want an hour", ttl)
	}
	must(t, x.Client.PExpire(ctx, hash, time.Minute).Err())
	want(t, "moved", move(t, s, cursorOf("u", "d", "all", id(4, 0))), []bool{false})
	if ttl := x.Client.PTTL(ctx, hash).Val(); ttl <= time.Hour-time.Minute {
		t.Fatalf("cursors live for %v after an ack, want an hour", ttl)
	}
	_, err := s.MoveCursors(ctx, []*store.Cursor{cursorOf("u", "d", "all", id(6, 0))}, 50*time.Millisecond)
	must(t, err)
	Eventually(t, func() error {
		got, _, err := s.Cursors(ctx, "u", "d")
		if err == nil && len(got) > 0 {
			err = fmt.Errorf("cursors are %v", got)
		}
		return err
	})
}

// full: the devices that were silent for the longest lose all their cursors, and a
// device that has all that a user may have gets no more.
func (x *suite) cursorsFull(t *testing.T) {
	ctx, s := t.Context(), x.open(t, nil)
	hash := Key(wire.Partition("user:u", 16), "cursor:user:u")
	fill := func(device string, at uint64, n int) {
		t.Helper()
		fields := make([]any, 0, 2*n)
		for i := range n {
			fields = append(fields, fmt.Sprintf("%s topic:t%d", device, i), id(at, uint64(i)).String())
		}
		must(t, x.Client.HSet(ctx, hash, fields...).Err())
	}
	devices := func() (names []string) {
		for _, field := range x.Client.HKeys(ctx, hash).Val() {
			var device, to string
			_, _ = fmt.Sscan(field, &device, &to)
			if !slices.Contains(names, device) {
				names = append(names, device)
			}
		}
		slices.Sort(names)
		return names
	}
	// The old one's cursors are many, the silent one's are one: the oldest of all.
	fill("silent", 50, 1)
	fill("old", 100, 1500)
	fill("young", 200, store.MaxCursors-1501)
	must(t, x.Client.HSet(ctx, hash, "young topic:t0", "1-0").Err()) // quiet for long, on a device that is not
	_, full, err := s.Cursors(ctx, "u", "young")
	must(t, err)
	want(t, "full", full, true)

	one := cursorOf("u", "new", "all", id(1, 0))
	changed, err := s.MoveCursors(ctx, []*store.Cursor{one}, time.Hour)
	must(t, err)
	want(t, "moved", one.Moved, true)
	want(t, "evicted", changed.Evicted, 1501)
	want(t, "devices", devices(), []string{"new", "young"})

	must(t, x.Client.Del(ctx, hash).Err())
	fill("only", 100, store.MaxCursors)
	more, again := cursorOf("u", "only", "all", id(300, 0)), cursorOf("u", "only", "topic:t1", id(300, 0))
	changed, err = s.MoveCursors(ctx, []*store.Cursor{more, again}, time.Hour)
	must(t, err)
	want(t, "evicted of the only device", changed.Evicted, 0)
	want(t, "full", []bool{more.Full, more.Moved, again.Full, again.Moved}, []bool{true, false, false, true})
	want(t, "fields", x.Client.HLen(ctx, hash).Val(), store.MaxCursors)
}

func (x *suite) holders(t *testing.T) {
	ctx, s := t.Context(), x.open(t, nil)
	now := s.NowMs()
	for server, expires := range map[string]int64{"g1": now + 60_000, "g2": now - 1} {
		_, err := s.Register(ctx, server, expires, []store.Session{{Target: "user:u", Field: "c" + server}, {Target: "user:u", Field: "d" + server}})
		must(t, err)
	}
	got, err := s.Holders(ctx, []string{"user:u", "user:v"})
	must(t, err)
	want(t, "holders", got, [][]string{{"g1"}, nil})
	got, err = s.Holders(ctx, nil)
	must(t, err)
	want(t, "holders of nothing", len(got), 0)
}

// pendingOf asks for the workers' pending acks of a partition that are at least so old.
func pendingOf(partition int, idle time.Duration) *redis.XPendingExtArgs {
	return &redis.XPendingExtArgs{Stream: Key(partition, "acks"), Group: "workers", Idle: idle, Start: "-", End: "+", Count: 1000}
}

// receiptsOf is how another service reads acks.
func receiptsOf(stream string, count int64) *redis.XReadGroupArgs {
	return &redis.XReadGroupArgs{Group: "receipts", Consumer: "c", Streams: []string{stream, ">"}, Count: count, Block: -1}
}
