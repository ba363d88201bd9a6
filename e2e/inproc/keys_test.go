package inproc_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// TestKeysTimeInABacklog: events with one key wait for a worker, some of them added more
// than ten minutes after the first one. Those are no repeats, by either way; those within
// ten minutes are.
func TestKeysTimeInABacklog(t *testing.T) {
	t.Parallel()
	for _, way := range []string{"direct", "intake"} {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, onePartition)
			g := r.gateway()
			c := join(t, g, "alice", topics("room"))
			stream := r.key("topic:room", "events")
			if way == "intake" {
				stream = r.intake()
			}
			n, now := 0, time.Now()
			for _, e := range []struct {
				ago    time.Duration
				repeat bool
			}{{31 * time.Minute, false}, {22 * time.Minute, true}, {20 * time.Minute, false}, {11 * time.Minute, true}, {9 * time.Minute, false}, {0, true}} {
				data := n
				if e.repeat {
					data = -1
				} else {
					n++
				}
				err := r.rdb.XAdd(ctx, &redis.XAddArgs{Stream: stream, ID: fmt.Sprint(now.Add(-e.ago).UnixMilli(), "-0"),
					Values: []any{"to", "topic:room", "data", data, "id", "order-4711"}}).Err()
				if err != nil {
					t.Fatal(err)
				}
			}
			w := r.worker()
			r.waitOwners(patience, map[string]int{w.name: 1})
			c.mustHave(patience, "topic:room", 0, n)
			if repeats := w.metric("sluice_worker_duplicates_total"); repeats != 3 {
				t.Errorf("%v were left out, want 3", repeats)
			}
			r.noDead()
		})
	}
}

// TestKeysOfUsers: three who know nothing of each other, a backend and two users, publish
// with one idempotency key. All are delivered; a user's repeat is not.
func TestKeysOfUsers(t *testing.T) {
	t.Parallel()
	r := newRig(t, onePartition)
	g := r.gateway()
	r.worker()
	watch := join(t, g, "watch", topics("room"))
	publish := func(c *client, ref string, data int) frame {
		t.Helper()
		c.send(msg{"type": "publish", "ref": ref, "to": "topic:room", "data": data, "id": "order-4711"})
		f := c.answer(ref)
		if f.Type != "published" {
			t.Fatalf("%+v", f)
		}
		return f
	}
	alice, bob := join(t, g, "alice"), join(t, g, "bob")
	first := publish(alice, "a", 0)
	watch.waitEvents(patience, "topic:room", 1)
	r.add("intake", "topic:room", 1, 1, "id", "order-4711")
	watch.waitEvents(patience, "topic:room", 2)
	if f := publish(bob, "b", 2); f.Duplicate {
		t.Errorf("bob's first event counts as a repeat: %+v", f)
	}
	// Also by another connection, the same user's key is the same.
	if f := publish(join(t, g, "alice"), "again", 3); !f.Duplicate || f.ID != first.ID {
		t.Errorf("alice published again: %+v, want a duplicate of %s", f, first.ID)
	}
	r.add("intake", "topic:room", 4, 1, "id", "order-4711") // the backend's repeat
	r.add("intake", "topic:room", 3, 1)
	watch.mustHave(patience, "topic:room", 0, 4)
	r.noDead()
}
