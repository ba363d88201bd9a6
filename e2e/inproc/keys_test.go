package inproc_test

import "testing"

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
