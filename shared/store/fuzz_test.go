package store_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/redis/go-redis/v9"

	"sluice/shared/store"
	"sluice/shared/store/storetest"
	"sluice/shared/wire"
)

// FuzzHistoryEvent: whatever stands in an entry of a history, its event has the entry's id and a prev below it or the one
// that the reader had, and becomes a frame.
func FuzzHistoryEvent(f *testing.F) {
	for _, s := range [][5]string{
		{"5-0", "4-0", `{"a":1}`, "j", "name"}, {"5-0", "", "text", "t", ""}, {"5-0", "6-0", "\xff\xfe", "b", "\xff"}, {"5-0", "x", "text", "", "\x00"},
		{"18446744073709551615-18446744073709551615", "18446744073709551615-18446744073709551614", "", "?", `"`}, {"nothing", "4-0", "1", "j", ""}, {"", "", "", "", ""},
	} {
		f.Add(s[0], s[1], s[2], s[3], s[4])
	}
	f.Fuzz(func(t *testing.T, id, prev, data, kind, name string) {
		if strings.HasPrefix(kind, "j") && !json.Valid([]byte(data)) {
			t.Skip("only workers write entries, and nobody looks again whether it is JSON")
		}
		before := wire.ID{Ms: 3}
		values := map[string]any{"prev": prev, "data": data, "kind": kind, "event": name, "from": name}
		e, err := store.HistoryEvent("topic:x", redis.XMessage{ID: id, Values: values}, before)
		if err != nil {
			return
		}
		if got, err := wire.ParseID(id); err == nil && e.ID != got || !e.Prev.Less(e.ID) && e.Prev != before {
			t.Errorf("%+v is read of the entry %q, prev %q", e, id, prev)
		}
		if frame := wire.AppendEvent(nil, &e); !json.Valid(frame) || !utf8.Valid(frame) {
			t.Errorf("%q becomes %q", values, frame)
		}
	})
}

// FuzzLiveServers: who is said to hold a target has a field that says so and has not expired, and is said once.
func FuzzLiveServers(f *testing.F) {
	for _, s := range []string{"gw-1 2000|gw-1 3000|gw-2 500", "gw", " 2000", "gw 2000 ", "gw -1", "gw 99999999999999999999", "|||", "a b 2000", "\x00 2000"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		const now = 1000
		fields := strings.Split(text, "|")
		servers, expired := store.LiveServers(fields, now, nil)
		for i, server := range servers {
			if slices.Contains(servers[:i], server) || !slices.ContainsFunc(fields, func(f string) bool {
				ms, err := strconv.ParseInt(strings.TrimPrefix(f, server+" "), 10, 64)
				return strings.HasPrefix(f, server+" ") && err == nil && ms >= now
			}) {
				t.Errorf("%q: %q holds it", fields, server)
			}
		}
		if len(servers) < len(fields) && !expired && !slices.ContainsFunc(fields, func(f string) bool {
			server, _, _ := strings.Cut(f, " ")
			return slices.Contains(servers, server)
		}) {
			t.Errorf("%q: only %q, and none has expired", fields, servers)
		}
	})
}

// TestLateEnd: the end of a cursor that Redis gets later than whoever asked for it waits has no effect, since the device
// may have subscribed again meanwhile.
func TestLateEnd(t *testing.T) {
	rdb := storetest.Redis(t).Client()
	now := time.Now().UnixMilli()
	for _, c := range []struct {
		latest int64
		want   string
	}{{now - 1000, "5-0"}, {now + 60_000, "7-0 ended"}} {
		if err := rdb.HSet(t.Context(), "cursors", "phone topic:x", "5-0").Err(); err != nil {
			t.Fatal(err)
		}
		if err := store.Scripts["cursors"].Run(t.Context(), rdb, []string{"cursors"}, "end", 1000, 10, c.latest, "", "phone topic:x", "7-0").Err(); err != nil {
			t.Fatal(err)
		}
		if got := rdb.HGet(t.Context(), "cursors", "phone topic:x").Val(); got != c.want {
			t.Errorf("until %d ms from now, it is %q, want %q", c.latest-now, got, c.want)
		}
	}
}

// TestLateBegin: so has its begin, since the device may have unsubscribed meanwhile.
func TestLateBegin(t *testing.T) {
	server := storetest.Redis(t)
	st := storetest.Open(t, server.URL(), nil)
	begin := func(to string, wait time.Duration) error {
		ctx, cancel := context.WithTimeout(t.Context(), wait)
		defer cancel()
		_, err := st.BeginCursors(ctx, "u", "phone", map[string]wire.ID{to: {Ms: 5}}, time.Minute)
		return err
	}
	if err := begin("topic:early", time.Minute); err != nil {
		t.Fatal(err)
	}
	server.Pause()
	err := begin("topic:late", 100*time.Millisecond)
	server.Resume() // Redis gets it now
	if err == nil {
		t.Error("a server that stands still has answered")
	}
	storetest.Eventually(t, func() error { return server.Client().Ping(t.Context()).Err() })
	got, _, err := st.Cursors(t.Context(), "u", "phone")
	if err != nil || len(got) != 1 || got["topic:early"] != "5-0" {
		t.Errorf("the device has the cursors %v, %v", got, err)
	}
}

// FuzzScripts: a script answers, or refuses with an error and has changed nothing, whatever its keys hold and whatever
// others have chosen of its arguments. What a worker says of its own (times, bounds, counts) is as scripts.go promises.
func FuzzScripts(f *testing.F) {
	for seed := range uint64(450) {
		f.Add(seed)
	}
	server := storetest.Redis(f)
	opts, err := redis.ParseURL(server.URL())
	if err != nil {
		f.Fatal(err)
	}
	opts.ReadTimeout, opts.MaxRetries = 10*time.Second, -1 // a script that does not end
	rdb := redis.NewClient(opts)
	f.Cleanup(func() { _ = rdb.Close() })
	names := make([]string, 0, len(store.Scripts))
	for name := range store.Scripts {
		names = append(names, name)
	}
	slices.Sort(names)
	f.Fuzz(func(t *testing.T, seed uint64) {
		d := dealer{rand.New(rand.NewPCG(seed, 7))} //nolint:gosec // hands are repeated by their seed
		name := names[seed%uint64(len(names))]
		keys := []string{"one", "two", "three", "four"}
		if err := d.world(rdb, keys); err != nil {
			t.Fatal(err)
		}
		before := dump(t, rdb, keys)
		args := d.arguments(name)
		_, err := store.Scripts[name].Run(context.Background(), rdb, keys, args...).Result()
		if err == nil || err == redis.Nil { //nolint:errorlint // go-redis gives it as it is
			return
		}
		if _, refused := err.(redis.Error); !refused { //nolint:errorlint // the same
			t.Fatalf("%s %q: %v", name, args, err)
		}
		if after := dump(t, rdb, keys); !slices.Equal(before, after) {
			t.Errorf("%s %q stopped half-way: %v", name, args, err)
		}
	})
}

func dump(t *testing.T, rdb *redis.Client, keys []string) (all []string) {
	t.Helper()
	for _, key := range keys {
		text, err := rdb.Dump(context.Background(), key).Result()
		if err != nil && err != redis.Nil { //nolint:errorlint // go-redis gives it as it is
			t.Fatal(err)
		}
		all = append(all, text)
	}
	return all
}

// dealer deals what nobody expects.
type dealer struct{ *rand.Rand }

var nasty = []string{
	"", "0", "-1", "5-0", "5-1", "9-0", "05-0", "18446744073709551615-18446744073709551615", "99999999999999999999999-1", "5", "5-", "-5", "5-0 ended",
	" ended", "x ended", "nan", "inf", "-inf", "0x10", "1e308", "gw-1 2000", "gw-1 1", " ", "\x00", "\xff\xfe", "%d", "phone topic:x", "phone", " topic:x",
	"workers-a", "workers-b", "seen 5-0", "a@5-0 b@6-0", "@", "prev", "sum", "data", "first", "event", strings.Repeat("x", 3000),
}

func (d dealer) text() string {
	if d.IntN(5) == 0 {
		b := make([]byte, d.IntN(20))
		for i := range b {
			b[i] = byte(d.IntN(256))
		}
		return string(b)
	}
	return nasty[d.IntN(len(nasty))]
}

func (d dealer) id() string { return fmt.Sprintf("%d-%d", d.IntN(12), d.IntN(3)) }

// waits is the name of an event that waits to be acknowledged.
func (d dealer) waits() string {
	return wire.UnreadKey([]string{"u", "u1", "v"}[d.IntN(3)], wire.ID{Ms: uint64(d.IntN(12)), Seq: uint64(d.IntN(2))})
}

// pairs are names and values, seldom very many.
func (d dealer) pairs() (list []any) {
	n := 1 + d.IntN(6)
	if d.IntN(20) == 0 {
		n = 1500
	}
	for range n {
		list = append(list, d.text(), d.text())
	}
	return list
}

// world puts something into the keys.
func (d dealer) world(rdb *redis.Client, keys []string) error {
	ctx, pipe := context.Background(), rdb.Pipeline()
	pipe.Del(ctx, keys...)
	for _, key := range keys {
		switch d.IntN(8) {
		case 0: // nothing
		case 1:
			pipe.Set(ctx, key, d.text(), 0)
		case 2:
			pipe.HSet(ctx, key, d.pairs()...)
		case 3:
			pipe.RPush(ctx, key, d.text())
		case 4:
			for range 1 + d.IntN(9) {
				pipe.ZAdd(ctx, key, redis.Z{Score: float64(d.IntN(2) * d.IntN(9)), Member: d.waits()})
			}
		default:
			for n := range 1 + d.IntN(40) {
				pipe.XAdd(ctx, &redis.XAddArgs{Stream: key, ID: fmt.Sprintf("%d-1", n+1), Values: d.pairs()})
			}
			for range d.IntN(3) {
				group := []string{"workers-a", "workers-b", "others"}[d.IntN(3)]
				pipe.Do(ctx, "XGROUP", "CREATE", key, group, d.id())
				pipe.Do(ctx, "XGROUP", "CREATECONSUMER", key, group, d.text())
				pipe.Do(ctx, "XREADGROUP", "GROUP", group, "reader", "COUNT", d.IntN(5)+1, "STREAMS", key, ">")
			}
		}
	}
	cmds, _ := pipe.Exec(ctx)
	for _, c := range cmds {
		if _, refused := c.Err().(redis.Error); c.Err() != nil && !refused { //nolint:errorlint // go-redis gives it as it is
			return c.Err()
		}
	}
	return nil
}

// arguments are those of a script.
func (d dealer) arguments(script string) (args []any) {
	switch script {
	case "takeover":
		return []any{d.text(), 1000 + d.IntN(9), "workers-" + d.text(), "workers-", d.IntN(99), d.IntN(99)}
	case "rewind":
		return []any{d.text(), d.id()}
	case "forward":
		args = []any{[]string{"", "1"}[d.IntN(2)]}
		for range 1 + d.IntN(5) {
			fields := d.pairs()
			if len(fields) > 100 { // wire.Fields are few
				fields = fields[:2*d.IntN(3)]
			}
			args = append(append(args, d.text(), len(fields)), fields...)
		}
		return args
	case "dead":
		return append([]any{1000}, d.pairs()...)
	case "trimDead":
		return []any{1 + d.IntN(40), d.IntN(20_000)}
	case "undelay":
		return []any{1 + d.IntN(10)}
	case "unregister":
		for range 1 + d.IntN(5) {
			args = append(args, d.text(), d.text(), d.IntN(3000))
		}
		return args
	case "sweep":
		return []any{d.IntN(3000)}
	case "cursors":
		return append([]any{[]string{"move", "begin", "end"}[d.IntN(3)], 1000, 1 + d.IntN(9), d.IntN(2), []string{"", d.waits()}[d.IntN(2)]}, d.pairs()...)
	case "letWait":
		return []any{d.id(), []string{"", "1"}[d.IntN(2)], d.waits(), 1 + d.IntN(9), 1 + d.IntN(9), 1 + d.IntN(9), 1000}
	case "tellUnread":
		args = []any{"workers-a"}
		for range d.IntN(9) {
			args = append(args, d.waits(), d.text(), d.id(), d.text(), d.text())
		}
		return args
	case "trim":
		return []any{d.id(), d.id()}
	case "historyEnds":
		return []any{[]string{"", d.id()}[d.IntN(2)], []string{"", "1000"}[d.IntN(2)]}
	case "trimHistory":
		most := d.IntN(20_000)
		return []any{most, most - most/16}
	}
	return []any{d.text()} // release, unclaim, trimAcks
}
