package storetest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"sluice/shared/store"
	"sluice/shared/wire"
)

// unreadUser is a user with an owner of the user's partition.
type unreadUser struct {
	x    *suite
	t    *testing.T
	s    *store.Store
	own  *owner
	p    int
	name string
}

// userIn is a user of a partition, userLike one whose name begins so.
func userIn(partition int) string { return userLike("u", partition) }

func userLike(begin string, partition int) string {
	for n := 0; ; n++ {
		if name := fmt.Sprint(begin, n); wire.Partition(wire.UserTarget(name), 16) == partition {
			return name
		}
	}
}

func (x *suite) unreadUser(t *testing.T) *unreadUser {
	t.Helper()
	u := &unreadUser{x: x, t: t, s: x.open(t, nil), name: userIn(0)}
	u.own = x.own(t, u.s, "a", u.p)
	u.own.next()
	return u
}

func (u *unreadUser) key(name string) string { return Key(u.p, name) }

// add appends an event that waits for an hour.
func (u *unreadUser) add(prev, at wire.ID) store.Waiting {
	u.t.Helper()
	a := &store.Append{Partition: u.p, Unread: time.Hour.Milliseconds(), MostUnread: 12, MostOfUser: 10, Event: &wire.Event{
		To: wire.UserTarget(u.name), ID: at, Prev: prev, Data: fmt.Sprintf(`"%v"`, at), Kind: wire.JSON, Name: "n", From: "user:x",
	}}
	must(u.t, u.own.lane.AppendAndRoute(u.t.Context(), []*store.Append{a}, nil))
	must(u.t, a.Err)
	return a.Waits
}

// wait checks which ids wait, of whoever, by their names.
func (u *unreadUser) wait(what string, ids ...string) {
	u.t.Helper()
	for _, key := range []string{"unread", "unread-of"} {
		names := u.x.Client.ZRange(u.t.Context(), u.key(key), 0, -1).Val()
		slices.Sort(names) // of the first they are by when they are due
		var got []string
		for _, name := range names {
			_, id, ok := wire.ParseUnreadKey(name)
			want(u.t, "name "+name, ok, true)
			got = append(got, id.String())
		}
		want(u.t, what+": "+key, got, ids)
	}
}

// due lets an event be due at a time.
func (u *unreadUser) due(at wire.ID, ms int64) {
	u.t.Helper()
	n, err := u.x.Client.ZAddXX(u.t.Context(), u.key("unread"), redis.Z{Score: float64(ms), Member: wire.UnreadKey(u.name, at)}).Result()
	must(u.t, err)
	want(u.t, "added", n, 0)
}

// tell tells what is due, and gives the ids of the calls.
func (u *unreadUser) tell() (ids []string) {
	u.t.Helper()
	told, err := u.s.TellUnread(u.t.Context(), u.p, 100)
	must(u.t, err)
	for _, m := range u.x.Client.XRange(u.t.Context(), u.key("calls"), "-", "+").Val() {
		c, ok := wire.ParseCall(m.Values)
		want(u.t, "a call", ok && c.Kind == wire.UnreadKind && c.User == u.name && c.ID == wire.UnreadID(u.name, c.Event) && c.Trace != "", true)
		ids = append(ids, c.Event.String())
	}
	want(u.t, "told", told, int64(len(ids)))
	u.x.Client.Del(u.t.Context(), u.key("calls"))
	return ids
}

// unread: an event waits once, whoever tries again, and is told once, when it is due and not before.
func (x *suite) unread(t *testing.T) {
	ctx, u := t.Context(), x.unreadUser(t)
	before := u.s.NowMs()
	want(t, "first", u.add(wire.ID{}, id(1, 1)), store.Waits)
	key := wire.UnreadKey(u.name, id(1, 1))
	if due := int64(x.Client.ZScore(ctx, u.key("unread"), key).Val()) - time.Hour.Milliseconds(); due < before || due > u.s.NowMs()+3000 {
		t.Errorf("it is due an hour and %d ms after it was appended", due-before)
	}
	for _, set := range []string{"unread", "unread-of"} {
		if ttl := x.Client.PTTL(ctx, u.key(set)).Val(); ttl < 7*24*time.Hour {
			t.Errorf("%s is kept for %v", set, ttl)
		}
	}
	want(t, "the first again", u.add(wire.ID{}, id(1, 1)), store.NotWaiting)
	want(t, "second", u.add(id(1, 1), id(20, 1)), store.Waits)
	u.wait("two", "1-1", "20-1")
	want(t, "told before it is due", len(u.tell()), 0)
	waits := func() bool {
		t.Helper()
		some, err := u.s.Waits(ctx, store.Calls)
		must(t, err)
		return some
	}
	u.due(id(1, 1), u.s.NowMs()+30_000)
	want(t, "waits for workers, though no function takes it", waits(), false)
	must(t, u.s.SetFunctions(ctx, []string{"connected", "unread"}))
	want(t, "waits for workers", waits(), true)
	u.due(id(1, 1), u.s.NowMs()+90_000)
	want(t, "waits for workers, though it is due much later", waits(), false)

	u.due(id(1, 1), 1)
	want(t, "told", u.tell(), []string{"1-1"})
	want(t, "told again", len(u.tell()), 0)
	want(t, "the first again, after it was told", u.add(wire.ID{}, id(1, 1)), store.NotWaiting)
	u.wait("one is left", "20-1")

	// A history that has ended begins again; until it does nothing waits.
	x.Client.Del(ctx, Key(u.p, "history:"+wire.UserTarget(u.name)))
	want(t, "of a history that begins again", u.add(id(20, 1), id(300, 1)), store.Waits)
	u.wait("two", "20-1", "300-1")

	e, err := u.s.Event(ctx, wire.UserTarget(u.name), id(300, 1))
	must(t, err)
	want(t, "event", e != nil && e.Data == `"300-1"` && e.Name == "n" && e.From == "user:x", true)
	e, err = u.s.Event(ctx, wire.UserTarget(u.name), id(20, 1))
	must(t, err)
	want(t, "an event that has gone", e == nil, true)
}

// unread acknowledged: an ack of the user's own target takes off what it covers, and nothing else does.
func (x *suite) unreadAcks(t *testing.T) {
	ctx, u := t.Context(), x.unreadUser(t)
	target := wire.UserTarget(u.name)
	named := func(like string) *unreadUser {
		return &unreadUser{x: x, t: t, s: u.s, own: u.own, p: u.p, name: userLike(like, u.p)}
	}
	before, other := named(u.name[:1]+"-"), named(u.name) // the neighbours, by their names
	move := func(read int64, cursors ...*store.Cursor) {
		t.Helper()
		changed, err := u.s.MoveCursors(ctx, cursors, time.Hour)
		must(t, err)
		want(t, "read", changed.Read, read)
	}
	move(0, cursorOf(u.name, "d", target, id(1, 0))) // while nothing waits
	prev := wire.ID{}
	for _, at := range []wire.ID{id(9, 9), id(9, 10), id(10, 2), id(100, 0)} { // as text they have another order
		want(t, "waits", u.add(prev, at), store.Waits)
		prev = at
	}
	want(t, "waits", other.add(wire.ID{}, id(5, 0)), store.Waits)
	want(t, "waits", before.add(wire.ID{}, id(4, 0)), store.Waits)
	move(0, cursorOf(u.name, "d", "topic:t", id(100, 0)), cursorOf(other.name, "d", target, id(100, 0)))
	for _, begin := range []func() error{
		func() error {
			_, err := u.s.BeginCursors(ctx, u.name, "new", map[string]wire.ID{target: id(100, 0)}, time.Hour)
			return err
		},
		func() error {
			_, err := u.s.RestoreCursors(ctx, u.name, "newer", map[string]wire.ID{target: id(100, 0)}, time.Hour)
			return err
		},
		func() error { return u.s.EndCursor(ctx, u.name, "new", target, id(100, 0), time.Hour) },
	} {
		must(t, begin())
	}
	want(t, "waits", x.Client.ZCard(ctx, u.key("unread")).Val(), 6)
	move(2, cursorOf(u.name, "d", target, id(9, 9)), cursorOf(u.name, "e", target, id(10, 1)), cursorOf(u.name, "e", "topic:t", id(200, 1)))
	want(t, "waits", x.Client.ZCard(ctx, u.key("unread")).Val(), 4)
	move(1, cursorOf(u.name, "d", target, id(10, 2)))
	move(0, cursorOf(u.name, "d", target, id(10, 2)))
	for _, at := range []wire.ID{id(9, 9), id(100, 0)} {
		x.Client.ZAddXX(ctx, u.key("unread"), redis.Z{Score: 1, Member: wire.UnreadKey(u.name, at)})
	}
	want(t, "told", u.tell(), []string{"100-0"})
	other.wait("the other ones'", "4-0", "5-0")

	// More than one run of the script takes off.
	var all, of []redis.Z
	for n := range 2500 {
		name := wire.UnreadKey(u.name, id(1000, uint64(n)))
		all, of = append(all, redis.Z{Score: 1e15, Member: name}), append(of, redis.Z{Member: name})
	}
	must(t, errors.Join(x.Client.ZAdd(ctx, u.key("unread"), all...).Err(), x.Client.ZAdd(ctx, u.key("unread-of"), of...).Err()))
	last := cursorOf(u.name, "d", target, id(1000, 2499))
	move(2500, last)
	want(t, "moved", last.Moved, true)
	other.wait("the other ones'", "4-0", "5-0")
}

// unread and acks that wait: what was due after the oldest of them is not told.
func (x *suite) unreadBacklog(t *testing.T) {
	ctx, u := t.Context(), x.unreadUser(t)
	for n := range 3 {
		u.add(id(uint64(n), 0), id(uint64(n+1), 0))
	}
	appendAcks(t, u.s, ackOfUser("somebody", "d", wire.UserTarget(u.name), id(1, 0)))
	at, err := wire.ParseID(x.Client.XRange(ctx, u.key("acks"), "-", "+").Val()[0].ID)
	must(t, err)
	early, late := id(1, 0), id(2, 0)
	u.due(early, int64(at.Ms)-1)
	u.due(late, int64(at.Ms))
	want(t, "told, while nobody has read the acks", u.tell(), []string{early.String()})
	r := x.ackReader(t, u.s, u.p)
	_, entries := readAcks(t, r)
	want(t, "acks", len(entries), 1)
	want(t, "told, while an ack is not done", len(u.tell()), 0)
	must(t, r.Done(ctx, entries))
	want(t, "told, when all are done", u.tell(), []string{late.String()})
	u.due(id(3, 0), 1)
	appendAcks(t, u.s, ackOfUser("somebody", "d", wire.UserTarget(u.name), id(1, 0)))
	want(t, "told, of before a new ack", u.tell(), []string{"3-0"})
}

// unread bounds: so many wait, and no more; of a key that holds something else it is told.
func (x *suite) unreadFull(t *testing.T) {
	ctx, u := t.Context(), x.unreadUser(t)
	n := uint64(1)
	for ; n <= 10; n++ {
		want(t, "while there is room", u.add(id(n-1, 0), id(n, 0)), store.Waits)
	}
	want(t, "one more", u.add(id(10, 0), id(11, 0)), store.WaitsFull)
	other := *u
	for i, of := range []string{u.name + "/", u.name + "-"} { // names beside the user's
		other.name = userLike(of, u.p)
		want(t, "of another user", other.add(wire.ID{}, id(20+uint64(i), 0)), store.Waits)
	}
	other.name = userLike("third", u.p)
	want(t, "one too many of all users", other.add(wire.ID{}, id(22, 0)), store.WaitsFull)
	for _, key := range []string{"unread", "unread-of"} {
		for _, name := range x.Client.ZRange(ctx, u.key(key), 0, -1).Val() {
			if of, _, _ := wire.ParseUnreadKey(name); of != u.name {
				x.Client.ZRem(ctx, u.key(key), name)
			}
		}
	}
	want(t, "it is appended", x.Client.XLen(ctx, u.key("history:"+wire.UserTarget(u.name))).Val(), 11)
	u.due(id(4, 0), 1)
	want(t, "told", u.tell(), []string{"4-0"})
	want(t, "when there is room again", u.add(id(11, 0), id(12, 0)), store.Waits)

	n = 13
	for _, key := range []string{"unread", "unread-of"} {
		x.Client.Del(ctx, u.key("unread"), u.key("unread-of"))
		must(t, x.Client.Set(ctx, u.key(key), "nothing of ours", 0).Err())
		want(t, "with a bad key", u.add(id(n-1, 0), id(n, 0)), store.WaitsBad)
		n++
		if key == "unread" {
			_, err := u.s.TellUnread(ctx, u.p, 10)
			var bad *store.BadKey
			want(t, "told of the bad key", errors.As(err, &bad) && bad.Key == u.key(key), true)
		}
		changed, err := u.s.MoveCursors(ctx, []*store.Cursor{cursorOf(u.name, "d", wire.UserTarget(u.name), id(n, 0))}, time.Hour)
		must(t, err)
		want(t, "acks go on", len(changed.Failed), 0)
	}
	want(t, "all are appended", x.Client.XLen(ctx, u.key("history:"+wire.UserTarget(u.name))).Val(), 14)
}

// unread bad keys: nothing is told before all that it needs is as it should be, then each once. Of other partitions it is told meanwhile.
func (x *suite) unreadBad(t *testing.T) {
	ctx, u := t.Context(), x.unreadUser(t)
	other := &unreadUser{x: x, t: t, s: u.s, own: x.own(t, u.s, "b", 1), p: 1, name: userIn(1)}
	other.own.next()
	prev := wire.ID{}
	for n, name := range []string{"calls", "unread", "unread-of", "acks"} {
		at := id(uint64(n+1), 0)
		want(t, "waits", u.add(prev, at), store.Waits)
		want(t, "waits", other.add(prev, at), store.Waits)
		prev = at
		u.due(at, 1)
		other.due(at, 1)
		kept := x.Client.ZRangeWithScores(ctx, u.key("unread"), 0, -1).Val()
		must(t, x.Client.Del(ctx, u.key(name)).Err())
		must(t, x.Client.HSet(ctx, u.key(name), "a", "b").Err())
		if name == "acks" { // no device has acknowledged anything
			want(t, "told", u.tell(), []string{at.String()})
			continue
		}
		for range 2 {
			told, err := u.s.TellUnread(ctx, u.p, 100)
			wantBad(t, "with a bad "+name, err)
			want(t, "it names "+u.key(name), strings.Contains(err.Error(), u.key(name)+" "), true)
			want(t, "told", told, 0)
		}
		want(t, "told of another partition", other.tell(), []string{at.String()})
		must(t, x.Client.Del(ctx, u.key(name)).Err())
		switch name {
		case "unread":
			must(t, x.Client.ZAdd(ctx, u.key(name), kept...).Err())
		case "unread-of":
			must(t, x.Client.ZAdd(ctx, u.key(name), redis.Z{Member: wire.UnreadKey(u.name, at)}).Err())
		}
		u.wait("mended", at.String())
		want(t, "told when it is mended", u.tell(), []string{at.String()})
	}
}
