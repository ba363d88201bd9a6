package inproc_test

import (
	"fmt"
	"testing"
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
