package inproc_test

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"sluice/shared/wire"
)

// TestBadSessionKey: the session key of one target holds something else. Its subscribers
// are told that it is unavailable, all others do not notice; when the key is deleted, it
// can be subscribed.
func TestBadSessionKey(t *testing.T) {
	t.Parallel()
	r := newRig(t, onePartition)
	g := r.gateway()
	r.worker()
	if err := r.rdb.Set(ctx, r.key("topic:x", "session"), "x", 0).Err(); err != nil {
		t.Fatal(err)
	}
	c := join(t, g, "alice")
	for n := range 3 {
		bad, good := fmt.Sprint("bad", n), fmt.Sprint("good", n)
		c.send(msg{"type": "subscribe", "ref": bad, "to": "topic:x"})
		c.send(msg{"type": "subscribe", "ref": good, "to": "topic:y"})
		if f := c.answer(bad); f.Type != "error" || f.Code != "unavailable" {
			t.Errorf("subscribed to what cannot be subscribed: %+v, want unavailable", f)
		}
		if f := c.answer(good); f.Type != "subscribed" {
			t.Errorf("subscribed to another target: %+v", f)
		}
		join(t, g, fmt.Sprint("bob", n), topics("y"))
	}
	r.add("direct", "topic:y", 0, 3)
	c.mustHave(patience, "topic:y", 0, 3)
	if err := r.rdb.Del(ctx, r.key("topic:x", "session")).Err(); err != nil {
		t.Fatal(err)
	}
	c.send(msg{"type": "subscribe", "ref": "again", "to": "topic:x"})
	if f := c.answer("again"); f.Type != "subscribed" {
		t.Errorf("subscribed after the key was deleted: %+v", f)
	}
	r.add("direct", "topic:x", 0, 3)
	c.mustHave(patience, "topic:x", 0, 3)
}

// TestBadKeyOfOneEvent: events for whose session Hash or idempotency key the worker finds
// another type are appended and delivered all the same, and counted.
func TestBadKeyOfOneEvent(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"session", "idempotency"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, onePartition)
			g, w := r.gateway(), r.worker()
			const target = "topic:x"
			c := join(t, g, "alice", topics("x"))
			key := r.key(target, "session")
			if kind == "idempotency" {
				key = r.key(target, "idem:"+target+":k")
			}
			if err := errors.Join(r.rdb.Del(ctx, key).Err(), r.rdb.SAdd(ctx, key, "x").Err()); err != nil {
				t.Fatal(err)
			}
			r.add("direct", target, 0, 1, "id", "k")
			r.stored(target, 1)
			eventually(t, patience, "it is counted", func() error {
				if n := w.metric("sluice_worker_bad_keys_total", "key", kind); n != 1 {
					return fmt.Errorf("%v events went on without such a key, want 1", n)
				}
				return nil
			})
			if kind == "idempotency" {
				c.waitEvents(patience, target, 1)
			}
		})
	}
}

// TestBadPartition: a key of one partition is something else. That partition stands still,
// is named by the worker's readiness, and goes on when the key is deleted. All others go on
// meanwhile, by both ways.
func TestBadPartition(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"events", "epoch", "lease", "forwarded", "acks", "slow"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			g, w := r.gateway(), r.worker()
			r.waitOwners(patience, map[string]int{w.name: 16})
			good, bad := r.targetOf(4, 0), r.targetOf(3, 0)
			c := join(t, g, "alice", topics(good, bad))
			key := r.keyOf(3, name)
			r.add("intake", bad, 0, 1)
			c.waitEvents(patience, bad, 1)
			r.add("direct", good, 0, 1)
			c.waitEvents(patience, good, 1)
			tx := r.rdb.TxPipeline() // or the worker makes the key again in between
			tx.Del(ctx, key)
			tx.HSet(ctx, key, "a", "b")
			if name == "epoch" {
				tx.Del(ctx, r.keyOf(3, "lease")) // its owner need not look at it; a new term must
			}
			if _, err := tx.Exec(ctx); err != nil {
				t.Fatal(err)
			}
			if name == "forwarded" {
				r.add("intake", bad, 1, 1)
			}
			r.add("direct", good, 1, 5)
			r.add("intake", good, 6, 5)
			eventually(t, patience, "it is set apart", func() error {
				if n := w.metric("sluice_worker_set_apart"); n == 0 {
					return fmt.Errorf("nothing is")
				}
				return nil
			})
			c.mustHave(patience, good, 0, 11)
			if name != "events" && name != "forwarded" {
				r.add("intake", bad, 1, 1) // waits, or comes now
			}
			r.rdb.Del(ctx, key)
			if name == "events" {
				r.add("intake", bad, 1, 1)
			}
			r.add("intake", bad, 2, 5)
			c.mustHave(patience, bad, 0, 7)
			c.mustHave(patience, good, 0, 11)
			r.noDead()
		})
	}
}

// TestFullPartition: a partition's stream ends at the highest id of all, which nothing can
// mend but deleting it. What the intake has for it becomes dead letters; others go on.
func TestFullPartition(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	g := r.gateway()
	r.worker()
	bad, good := r.targetOf(3, 0), r.targetOf(4, 0)
	c := join(t, g, "alice", topics(bad, good))
	last := &redis.XAddArgs{Stream: r.key(bad, "events"), ID: "18446744073709551615-18446744073709551615", Values: []string{"to", bad, "data", "0"}}
	if err := r.rdb.XAdd(ctx, last).Err(); err != nil {
		t.Fatal(err)
	}
	c.waitEvents(patience, bad, 1)
	r.add("intake", good, 0, 1)
	r.add("intake", bad, 1, 3)
	r.add("intake", good, 1, 5)
	c.mustHave(patience, good, 0, 6)
	eventually(t, patience, "dead letters of the bad one", func() error {
		if dead := r.dead(); dead["partition_full"] != 3 {
			return fmt.Errorf("%v", dead)
		}
		return nil
	})
}

// TestBadDeadLetters: the key of the dead letters holds something else. Entries that cannot be
// processed stop nobody, and are dead letters when it is deleted; until then the worker says it.
func TestBadDeadLetters(t *testing.T) {
	t.Parallel()
	r := newRig(t, onePartition)
	if err := r.rdb.Set(ctx, "sluice:dead", "x", 0).Err(); err != nil {
		t.Fatal(err)
	}
	g, w := r.gateway(), r.worker()
	c := join(t, g, "alice", topics("x"))
	for _, stream := range []string{r.intake(), r.key("topic:x", "events")} {
		if err := r.rdb.XAdd(ctx, &redis.XAddArgs{Stream: stream, Values: []any{"to", "nobody", "data", "1"}}).Err(); err != nil {
			t.Fatal(err)
		}
	}
	r.add("direct", "topic:x", 0, 3)
	r.add("intake", "topic:x", 3, 3)
	c.mustHave(patience, "topic:x", 0, 6)
	eventually(t, patience, "the worker says it", func() error {
		if w.metric("sluice_worker_set_apart", "what", "dead letters") != 1 {
			return fmt.Errorf("it does not")
		}
		return nil
	})
	r.rdb.Del(ctx, "sluice:dead")
	eventually(t, patience, "both are dead letters", func() error {
		if dead := r.dead(); dead["bad_to"] != 2 {
			return fmt.Errorf("%v", dead)
		}
		return nil
	})
}

// TestBadKeyOfFunctions: keys of what functions are to hear hold something else, each in another partition. It is counted and said, and what
// needs none of these keys they hear all the same; the rest when its key is deleted, once.
func TestBadKeyOfFunctions(t *testing.T) {
	t.Parallel()
	f := startFunction(t, func(heard) (int, string) { return 200, "" })
	r := newRig(t)
	said := new(lines)
	r.log = slog.New(slog.NewTextHandler(io.MultiWriter(said, logWriter{t}), nil))
	w := r.worker(f.serves("unread"))
	ids := make(map[string]wire.ID)
	var users []string // of partitions 0 to 5
	for p := range 6 {
		user := "u"
		for n := 0; wire.Partition(wire.UserTarget(user), r.cfg.Partitions) != p; n++ {
			user = fmt.Sprint("u", n)
		}
		users = append(users, user)
		r.addUnread("intake", user, "1h", 1)
		ids[user] = r.waitWaiting(user, 1)[0]
	}
	tx := r.rdb.TxPipeline()
	for p, name := range []string{"unread-of", "watched", "leaving"} {
		tx.Del(ctx, r.keyOf(p, name))
		tx.Set(ctx, r.keyOf(p, name), "x", 0)
	}
	for p, user := range users {
		tx.ZAddXX(ctx, r.keyOf(p, "unread"), redis.Z{Score: 1, Member: wire.UnreadKey(user, ids[user])})
	}
	if _, err := tx.Exec(ctx); err != nil {
		t.Fatal(err)
	}
	for _, user := range users[1:] {
		r.waitUnread(f, user, ids[user])
	}
	for kind, least := range map[string]float64{"unread": 2, "connections": 4} { // at each look
		eventually(t, patience, "it is counted", func() error {
			if n := w.metric("sluice_worker_bad_keys_total", "key", kind); n < least {
				return fmt.Errorf("%v times of %s", n, kind)
			}
			return nil
		})
	}
	if text := said.String(); !strings.Contains(text, "a key holds another type and is not used") {
		t.Errorf("the log says nothing of a bad key: %s", text)
	}
	r.waitUnread(f, users[0])
	for p, name := range []string{"unread-of", "watched", "leaving"} {
		r.rdb.Del(ctx, r.keyOf(p, name))
	}
	r.waitUnread(f, users[0], ids[users[0]])
	if n := w.metric("sluice_worker_unread_total", "outcome", "told"); n != float64(len(users)) {
		t.Errorf("%v events were told, want %d", n, len(users))
	}
}
