package inproc_test

import (
	"fmt"
	"testing"
)

// TestDeviceWithNothingToAcknowledge: a device was there and had no event, or none that it
// has acknowledged. What comes while it is away, it has not acknowledged either.
func TestDeviceWithNothingToAcknowledge(t *testing.T) {
	t.Parallel()
	targets := []string{"user:alice", "topic:x", "all"}
	for _, before := range []int{0, 3} {
		for _, ack := range []bool{false, true} {
			t.Run(fmt.Sprintf("%d events before, acknowledges %v", before, ack), func(t *testing.T) {
				t.Parallel()
				r := newRig(t, onePartition)
				g := r.gateway()
				r.worker()
				for _, target := range targets {
					if before > 0 {
						r.add("direct", target, 0, before)
						r.stored(target, before)
					}
				}
				phone := dial(t, g, "alice", asDevice("alice", "phone"))
				phone.waitSubscribed("user:alice")
				phone.send(msg{"type": "subscribe", "ref": "s", "to": "topic:x"})
				phone.answer("s")
				if ack {
					for _, target := range targets {
						phone.send(msg{"type": "ack", "to": target, "id": phone.last(target)})
					}
					phone.send(msg{"type": "ping"})
					phone.wait("pong", func(f frame) bool { return f.Type == "pong" })
				}
				for _, f := range phone.everything() {
					if f.Type == "error" {
						t.Errorf("%+v", f)
					}
				}
				phone.kill() // at once: nothing waits to be written
				for _, target := range targets {
					r.add("direct", target, before, 2)
					r.stored(target, before+2)
				}
				back := dial(t, g, "alice", asDevice("alice", "phone"))
				for _, target := range targets {
					back.mustHave(patience, target, before, before+2)
				}
				// It has not acknowledged these: they come again.
				back.kill()
				again := dial(t, g, "alice", asDevice("alice", "phone"))
				for _, target := range targets {
					again.mustHave(patience, target, before, before+2)
				}
			})
		}
	}
}

// TestDeviceUnsubscribed: a device does not come back with what it has unsubscribed, also
// when acks of it are still on their way; when it subscribes again, it begins there.
func TestDeviceUnsubscribed(t *testing.T) {
	t.Parallel()
	for _, full := range []bool{false, true} {
		t.Run(fmt.Sprint("Redis is full meanwhile ", full), func(t *testing.T) {
			t.Parallel()
			unsubscribed(t, full)
		})
	}
}

func unsubscribed(t *testing.T, full bool) {
	r := newRig(t, onePartition)
	g := r.gateway()
	w := r.worker()
	phone := dial(t, g, "alice", asDevice("alice", "phone"))
	phone.waitSubscribed("user:alice")
	phone.send(msg{"type": "subscribe", "ref": "s", "to": "topic:x"})
	phone.answer("s")
	r.add("direct", "topic:x", 0, 2)
	phone.waitEvents(patience, "topic:x", 2)
	memory := func(limit string) {
		if err := r.rdb.ConfigSet(ctx, "maxmemory", limit).Err(); err != nil {
			t.Fatal(err)
		}
	}
	if full {
		memory("1")
	}
	phone.send(msg{"type": "ack", "to": "topic:x", "id": phone.last("topic:x")})
	if full {
		phone.send(msg{"type": "unsubscribe", "ref": "full", "to": "topic:x"})
		if f := phone.answer("full"); f.Type != "error" || f.Code != "unavailable" {
			t.Fatalf("%+v, want unavailable", f)
		}
		memory("0")
	}
	phone.send(msg{"type": "unsubscribe", "ref": "u", "to": "topic:x"})
	if f := phone.answer("u"); f.Type != "unsubscribed" {
		t.Fatalf("%+v", f)
	}
	eventually(t, patience, "the ack has arrived", func() error {
		if n := w.metric("sluice_worker_acks_total"); n != 1 {
			return fmt.Errorf("%v", n)
		}
		return nil
	})
	phone.leave()
	r.add("direct", "topic:x", 2, 3)
	back := dial(t, g, "alice", asDevice("alice", "phone"))
	back.waitSubscribed("all")
	back.send(msg{"type": "ping"})
	back.wait("pong", func(f frame) bool { return f.Type == "pong" })
	if frames := back.all("topic:x"); len(frames) > 0 {
		t.Errorf("it has come back to %+v", frames[0])
	}
	back.send(msg{"type": "subscribe", "ref": "s", "to": "topic:x"})
	position := back.answer("s").Position
	back.kill()
	r.add("direct", "topic:x", 5, 2)
	last := dial(t, g, "alice", asDevice("alice", "phone"))
	last.mustHave(patience, "topic:x", 5, 7)
	if f := last.all("topic:x")[0]; f.Position != position {
		t.Errorf("%+v, want position %s", f, position)
	}
}

// TestDeviceAfterFlush: Redis lost the cursors of devices that are connected and have
// acknowledged nothing: they are written again, so what comes while such a device is away
// is not acknowledged.
func TestDeviceAfterFlush(t *testing.T) {
	t.Parallel()
	r := newRig(t, onePartition)
	g := r.gateway()
	r.worker()
	phone := dial(t, g, "alice", asDevice("alice", "phone"))
	phone.waitSubscribed("all")
	if err := r.rdb.FlushAll(ctx).Err(); err != nil {
		t.Fatal(err)
	}
	eventually(t, patience, "the cursors are there again", func() error {
		if n := r.rdb.HLen(ctx, r.key("user:alice", "cursor")+":user:alice").Val(); n != 2 {
			return fmt.Errorf("%d cursors", n)
		}
		return nil
	})
	phone.kill()
	r.add("direct", "user:alice", 0, 2)
	back := dial(t, g, "alice", asDevice("alice", "phone"))
	back.mustHave(patience, "user:alice", 0, 2)
}
