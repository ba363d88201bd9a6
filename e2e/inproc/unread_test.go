package inproc_test

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"sluice/shared/wire"
	"sluice/worker"
)

// addUnread appends an event that waits to be acknowledged, by the way of a door, and gives its data.
func (r *rig) addUnread(door, user, unread string, n int) {
	r.t.Helper()
	target := wire.UserTarget(user)
	stream := r.intake()
	if door == "direct" {
		stream = r.key(target, "events")
	}
	if err := r.rdb.XAdd(ctx, &redis.XAddArgs{Stream: stream, Values: []any{"to", target, "data", n, "event", "note", "unread", unread}}).Err(); err != nil {
		r.t.Fatal(err)
	}
}

// waiting are the ids of a user's events that wait to be acknowledged.
func (r *rig) waiting(user string) (ids []wire.ID) {
	r.t.Helper()
	for _, name := range r.rdb.ZRange(ctx, r.key(wire.UserTarget(user), "unread-of"), 0, -1).Val() {
		if of, id, ok := wire.ParseUnreadKey(name); ok && of == user {
			ids = append(ids, id)
		}
	}
	return ids
}

func (r *rig) waitWaiting(user string, n int) []wire.ID {
	r.t.Helper()
	eventually(r.t, patience, fmt.Sprintf("%d events of %s wait", n, user), func() error {
		if ids := r.waiting(user); len(ids) != n {
			return fmt.Errorf("%v wait", ids)
		}
		return nil
	})
	return r.waiting(user)
}

// overdue lets what waits of a user be due.
func (r *rig) overdue(user string) {
	r.t.Helper()
	for _, id := range r.waiting(user) {
		due := redis.Z{Score: 1, Member: wire.UnreadKey(user, id)}
		if err := r.rdb.ZAddXX(ctx, r.key(wire.UserTarget(user), "unread"), due).Err(); err != nil {
			r.t.Fatal(err)
		}
	}
}

// unread are the events that a function heard to be unread by a user, by id.
func (f *function) unread(user string) (ids []string) {
	for _, h := range f.of("sluice.unread", user) {
		ids = append(ids, h.Data.ID)
	}
	slices.Sort(ids)
	return ids
}

func (r *rig) waitUnread(f *function, user string, want ...wire.ID) {
	r.t.Helper()
	texts := make([]string, len(want))
	for i, id := range want {
		texts[i] = id.String()
	}
	slices.Sort(texts)
	eventually(r.t, patience, user+" has not read "+fmt.Sprint(texts), func() error {
		if got := f.unread(user); !slices.Equal(got, texts) {
			return fmt.Errorf("the function heard of %v", got)
		}
		return nil
	})
}

// ackEvent acknowledges an event of the client's user when it has come.
func (c *client) ackEvent(user string, id wire.ID) {
	c.t.Helper()
	c.wait("the event", func(f frame) bool { return f.Type == "event" && f.ID == id.String() })
	c.send(msg{"type": "ack", "to": "user:" + user, "id": id.String()})
}

// TestUnread tells functions of events that no device of the user has acknowledged in time, once each, and of no others.
func TestUnread(t *testing.T) {
	t.Parallel()
	f := startFunction(t, func(h heard) (int, string) {
		if h.Subject == "user:bob" {
			return 200, `{"publish":[{"to":"topic:pushed","data":1},{"to":"user:ann","data":1,"unread":"1h"},{"to":"topic:pushed","data":2,"unread":"1h"}]}`
		}
		return 200, ""
	})
	r := newRig(t)
	g := r.gateway()
	w := r.worker(f.serves("unread"))

	// Nobody is there, and the time passes.
	r.addUnread("intake", "bob", "1s", 1)
	r.addUnread("direct", "bob", "1s", 2)
	post, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+g.addr+"/v1/events", strings.NewReader(
		`{"to":["user:bob","topic:x"],"data":{"n":3},"unread":"1s"}`))
	if err != nil {
		t.Fatal(err)
	}
	post.Header.Set("Authorization", "Bearer dev:shop")
	if resp, err := http.DefaultClient.Do(post); err != nil || resp.StatusCode != http.StatusOK || resp.Body.Close() != nil {
		t.Fatalf("%+v, %v", resp, err)
	}
	r.rdb.XAdd(ctx, &redis.XAddArgs{Stream: r.intake(), Values: []any{"to", "user:bob", "data", "\xff", "unread", "1s"}})
	eventually(t, patience, "functions hear of all", func() error {
		if got := f.unread("bob"); len(got) != 4 {
			return fmt.Errorf("they heard of %v", got)
		}
		return nil
	})
	got := map[string]heard{}
	for _, h := range f.of("sluice.unread", "bob") {
		d := h.Data
		got[fmt.Sprintf("%s %s %s %s", d.Data, d.Event, d.From, d.Enc)] = h
		if h.ID != "unread:bob "+d.ID || d.To != "user:bob" || d.Seq != 1 || string(d.State) != "null" || d.Conn != "" || h.Traceparent == "" {
			t.Errorf("%+v", h)
		}
	}
	want := []string{`"/w==" message  base64`, "1 note  ", "2 note  ", `{"n":3} message user:shop `}
	if keys := slices.Sorted(maps.Keys(got)); !slices.Equal(keys, want) {
		t.Errorf("functions heard %q, want %q", keys, want)
	}
	r.waitWaiting("ann", 4) // a function's answer may say so, too
	if n := r.rdb.XLen(ctx, r.key("topic:pushed", "history")).Val(); n != 4 {
		t.Errorf("the function's answers published %d events, want 4", n)
	}

	// A time that is none is a dead letter.
	for _, bad := range []string{"1ms", "25h", "soon", "-5s"} {
		r.addUnread("intake", "bob", bad, 9)
	}
	r.rdb.XAdd(ctx, &redis.XAddArgs{Stream: r.intake(), Values: []any{"to", "topic:x", "data", 1, "unread", "1h"}})
	r.rdb.XAdd(ctx, &redis.XAddArgs{Stream: r.intake(), Values: []any{"to", "user:bob", "data", 1, "unread", "1h", "retain", "0"}})
	eventually(t, patience, "dead letters", func() error {
		if dead := r.dead(); dead["bad_unread"] != 6 {
			return fmt.Errorf("there are %v", dead)
		}
		return nil
	})

	// What one device has acknowledged nobody hears of, whatever others have; what came after it they do.
	phone, laptop := dial(t, g, "carol", asDevice("carol", "phone")), dial(t, g, "carol", asDevice("carol", "laptop"))
	phone.waitSubscribed("user:carol")
	laptop.waitSubscribed("user:carol")
	for n := range 3 {
		r.addUnread("intake", "carol", "1h", n)
	}
	ids := r.waitWaiting("carol", 3)
	phone.ackEvent("carol", ids[0])
	laptop.ackEvent("carol", ids[1])
	r.waitWaiting("carol", 1)
	r.overdue("carol")
	r.waitUnread(f, "carol", ids[2])

	// A device that begins behind an event has not acknowledged it, nor has one that unsubscribes, or acknowledges anything else.
	r.addUnread("intake", "dave", "1h", 1)
	ids = r.waitWaiting("dave", 1)
	late := dial(t, g, "dave", asDevice("dave", "new"))
	late.waitSubscribed("user:dave")
	late.send(msg{"type": "ack", "to": "all", "id": late.last("all")})
	late.send(msg{"type": "ack", "to": "user:dave", "id": "0"})
	late.leave()
	r.overdue("dave")
	r.waitUnread(f, "dave", ids...)

	// Of what has left its history they hear without its data.
	r.addUnread("intake", "erin", "1h", 1)
	ids = r.waitWaiting("erin", 1)
	r.rdb.Del(ctx, r.key("user:erin", "history"))
	r.overdue("erin")
	r.waitUnread(f, "erin", ids...)
	if d := f.of("sluice.unread", "erin")[0].Data; d.To != "user:erin" || d.Data != nil || d.Event != "" {
		t.Errorf("%+v", d)
	}

	r.waitWaiting("bob", 0)
	r.waitUnread(f, "carol", r.lastEvent("carol"))
	for _, outcome := range []struct {
		name string
		want float64
	}{{"waiting", 4 + 4 + 3 + 1 + 1}, {"told", 4 + 1 + 1 + 1}, {"acknowledged", 2}, {"full", 0}, {"no_function", 0}} {
		if got := w.metric("sluice_worker_unread_total", "outcome", outcome.name); got != outcome.want {
			t.Errorf("%v events are %s, want %v", got, outcome.name, outcome.want)
		}
	}
}

// lastEvent is the id of the newest event of a user.
func (r *rig) lastEvent(user string) wire.ID {
	r.t.Helper()
	list := r.rdb.XRevRangeN(ctx, r.key(wire.UserTarget(user), "history"), "+", "-", 1).Val()
	if len(list) != 1 {
		r.t.Fatalf("the history of %s has no event", user)
	}
	id, err := wire.ParseID(list[0].ID)
	if err != nil {
		r.t.Fatal(err)
	}
	return id
}

// TestUnreadBehindAcks: what a device has acknowledged is not told while that has not been worked off, and not told then.
func TestUnreadBehindAcks(t *testing.T) {
	t.Parallel()
	f := startFunction(t, func(heard) (int, string) { return 200, "" })
	r := newRig(t, onePartition)
	g := r.gateway()
	r.worker(f.serves("unread"), as("functions"))
	r.worker(as("events")) // it learns from the other one that functions take them
	phone := dial(t, g, "alice", asDevice("alice", "phone"))
	phone.waitSubscribed("user:alice")
	eventually(t, patience, "functions take unread events", func() error {
		return firstError(r.rdb.Get(ctx, "sluice:functions").Err())
	})
	r.addUnread("intake", "alice", "1h", 1)
	phone.ackEvent("alice", r.waitWaiting("alice", 1)[0])
	var acked wire.ID
	eventually(t, patience, "the ack is there", func() (err error) {
		list := r.rdb.XRange(ctx, r.key("user:alice", "acks"), "-", "+").Val()
		if len(list) != 1 {
			return fmt.Errorf("there are %d", len(list))
		}
		acked, err = wire.ParseID(list[0].ID)
		return err
	})
	r.addUnread("intake", "alice", "1h", 2)
	ids := r.waitWaiting("alice", 2)
	r.addUnread("intake", "bob", "1h", 1)
	bob := r.waitWaiting("bob", 1)
	r.rdb.ZAddXX(ctx, r.key("user:alice", "unread"), redis.Z{Score: float64(acked.Ms), Member: wire.UnreadKey("alice", ids[0])})
	r.overdue("bob") // due before the ack came: it is told, and by then alice's was looked at
	r.waitUnread(f, "bob", bob...)
	r.waitUnread(f, "alice")
	r.worker(as("acks"))
	r.waitWaiting("alice", 1)
	r.overdue("alice")
	r.waitUnread(f, "alice", ids[1])
}

// TestUnreadWithoutAFunction: where no function takes unread events they are delivered, counted, and wait for nothing.
func TestUnreadWithoutAFunction(t *testing.T) {
	t.Parallel()
	r := newRig(t, onePartition)
	g := r.gateway()
	w := r.worker()
	c := join(t, g, "alice")
	r.addUnread("intake", "alice", "1s", 1)
	c.waitEvents(patience, "user:alice", 1)
	if n := w.metric("sluice_worker_unread_total", "outcome", "no_function"); n != 1 || len(r.waiting("alice")) != 0 {
		t.Errorf("%v events are counted, %v wait", n, r.waiting("alice"))
	}
}

// manyWaiting lets 100,000 events wait that are due in a day, and checks what they cost. They have users of 20 characters.
func (r *rig) manyWaiting() (each int64) {
	r.t.Helper()
	const fill = `
for i = 1, tonumber(ARGV[1]) do
  local name = string.format('somebody-with-id%04x %016x%016x', i, 1700000000000 + i, 0)
  redis.call('ZADD', KEYS[1], tonumber(ARGV[2]) + i, name)
  redis.call('ZADD', KEYS[2], 0, name)
end
return redis.call('MEMORY', 'USAGE', KEYS[1], 'SAMPLES', 0) + redis.call('MEMORY', 'USAGE', KEYS[2], 'SAMPLES', 0)`
	each = 100_000 / int64(r.cfg.Partitions)
	var bytes int64
	for p := range r.cfg.Partitions {
		n, err := r.rdb.Eval(ctx, fill, []string{r.keyOf(p, "unread"), r.keyOf(p, "unread-of")}, each, time.Now().Add(24*time.Hour).UnixMilli()).Int64()
		if err != nil {
			r.t.Fatal(err)
		}
		bytes += n
	}
	n := bytes / (each * int64(r.cfg.Partitions))
	r.t.Logf("an event that waits takes %d bytes in Redis", n)
	if n > 350 {
		r.t.Errorf("an event that waits takes %d bytes in Redis", n)
	}
	return each
}

// TestUnreadThroughDeaths: each of many events is told, and none twice, whichever workers die meanwhile, with a hundred thousand others
// that wait.
func TestUnreadThroughDeaths(t *testing.T) {
	t.Parallel()
	const users, each = 40, 10
	halfway := make(chan struct{}, users*each)
	f := startFunction(t, func(heard) (int, string) {
		halfway <- struct{}{}
		return 200, ""
	})
	r := newRig(t)
	others := r.manyWaiting()
	serves := func(c *worker.Config) { f.serves("unread")(c) }
	w := r.worker(serves)
	for n := range each {
		for u := range users {
			r.addUnread("intake", fmt.Sprint("u", u), "1h", n)
		}
		if n == each/2 {
			eventually(t, patience, "some are appended", func() error {
				if w.metric("sluice_worker_unread_total") == 0 {
					return fmt.Errorf("none is")
				}
				return nil
			})
			w.crash() // in the middle of appending
			w = r.worker(serves)
		}
	}
	ids := make(map[string][]wire.ID)
	for u := range users {
		user := fmt.Sprint("u", u)
		ids[user] = r.waitWaiting(user, each)
	}
	for user := range ids {
		r.overdue(user)
	}
	for range users {
		<-halfway
	}
	w.crash() // in the middle of telling
	r.worker(serves)
	for user, want := range ids {
		r.waitUnread(f, user, want...)
	}
	for p := range r.cfg.Partitions {
		for _, key := range []string{"unread", "unread-of"} {
			if n := r.rdb.ZCard(ctx, r.keyOf(p, key)).Val(); n != others {
				t.Errorf("%d events are left in %s of partition %d, want %d", n, key, p, others)
			}
		}
	}
}
