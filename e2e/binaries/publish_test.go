package binaries_test

import (
	"encoding/json"
	"testing"
)

// TestPublish: `published` comes after the append, with the event's id; `from` is the server's word.
func TestPublish(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	author := join(t, c.gateways[0], unique("author"))
	reader := join(t, c.gateways[1], unique("reader"))
	topic := "topic:" + unique("published")
	for _, s := range []*client{author, reader} {
		s.subscribe(topic, "")
	}
	for i, tc := range []struct {
		event string
		data  string
	}{
		{"", `{ "a": [1,  2] }`}, {"named", `"text"`}, {"", `12345678901234567890`}, {"", `null`}, {"", `""`},
	} {
		v := msg{"type": "publish", "to": topic, "data": json.RawMessage(tc.data), "from": "user:somebody-else"}
		want := "message"
		if tc.event != "" {
			v["event"], want = tc.event, tc.event
		}
		answer := author.must(author.ask(v), "published")
		if kept := c.XRange(ctx, c.history(topic), answer.ID, answer.ID).Val(); len(kept) != 1 {
			t.Errorf("published before it is in the history: %s", answer)
		}
		if answer.To != topic || answer.Duplicate {
			t.Errorf("not the answer of a first publish to %s: %s", topic, answer)
		}
		for _, s := range []*client{reader, author} {
			f := s.waitEvents(topic, i+1)[i]
			if f.ID != answer.ID || f.Event != want || f.From != "user:"+author.welcome.User || f.Enc != "" {
				t.Errorf("%s got %s for %s", s, f, answer)
			}
			if !sameJSON(t, string(f.Data), tc.data) {
				t.Errorf("%s got %s, published was %s", s, f.Data, tc.data)
			}
		}
	}
}

// sameJSON compares without regard to the white space between tokens, which an encoder on the way may drop.
func sameJSON(t *testing.T, a, b string) bool {
	t.Helper()
	compact := func(s string) string {
		b, err := json.Marshal(json.RawMessage(s))
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	return compact(a) == compact(b)
}

// TestPublishToEachKind: another user (only subscribing to it is forbidden) and everybody.
func TestPublishToEachKind(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	author, reader := join(t, c.gateways[0], unique("author")), join(t, c.gateways[1], unique("reader"))
	for _, target := range []string{"user:" + reader.welcome.User, "all"} {
		mark := unique("mark")
		answer := author.must(author.ask(msg{"type": "publish", "to": target, "data": mark}), "published")
		if f := reader.waitData(target, `"`+mark+`"`); f.ID != answer.ID {
			t.Errorf("%s got %s for %s", reader, f, answer)
		}
	}
}

// TestPublishTwice: a user's second publish with the key is a duplicate with the first one's id, from whatever connection.
func TestPublishTwice(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	user := unique("author")
	author, again := join(t, c.gateways[0], user), join(t, c.gateways[1], user)
	topic := "topic:" + unique("twice")
	author.subscribe(topic, "")
	v := func(n int) msg {
		return msg{"type": "publish", "to": topic, "data": msg{"n": n}, "id": "order-7"}
	}
	first := author.must(author.ask(v(0)), "published")
	for _, s := range []*client{author, again} {
		if f := s.must(s.ask(v(1)), "published"); !f.Duplicate || f.ID != first.ID || f.To != topic {
			t.Errorf("want a duplicate with the id %s: %s", first.ID, f)
		}
	}
	// The key is the user's own: those of backends and of other users are others.
	c.sendDirect(t, topic, number(1), "id", "order-7")
	other := join(t, c.gateways[0], unique("author"))
	if f := other.must(other.ask(v(2)), "published"); f.Duplicate {
		t.Errorf("another user's key counts: %s", f)
	}
	author.must(author.ask(msg{"type": "publish", "to": topic, "data": msg{"n": 3}}), "published")
	requireNumbers(t, topic, author.waitEvents(topic, 4), 0, 4)
	requireNumbers(t, topic, author.syncEvents(topic), 0, 4)
}

// TestPublishLiveOnly: retain 0 and JSON false mean the same.
func TestPublishLiveOnly(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	topic := "topic:" + unique("live")
	s := join(t, c.gateways[0], unique("author"))
	s.subscribe(topic, "")
	for i, retain := range []any{false, 0} {
		s.must(s.ask(msg{"type": "publish", "to": topic, "data": msg{"n": i}, "retain": retain}), "published")
		f := s.waitEvents(topic, i+1)[i]
		if f.has("id") || f.has("prev") {
			t.Errorf("retain %v: a live-only event has a position: %s", retain, f)
		}
	}
	s.must(s.ask(msg{"type": "publish", "to": topic, "data": msg{"n": 2}}), "published")
	events := s.waitEvents(topic, 3)
	requireNumbers(t, topic, events, 0, 3)
	if events[2].Prev != "0" {
		t.Errorf("live-only events are in the chain: %s", events[2])
	}
	if n := c.XLen(ctx, c.history(topic)).Val(); n != 1 {
		t.Errorf("the history holds %d events, want 1", n)
	}
}

// TestPublishOrder: publishes of one connection keep their order, also without waiting for the answers.
func TestPublishOrder(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	topic := "topic:" + unique("stream")
	author, reader := join(t, c.gateways[0], unique("author")), join(t, c.gateways[1], unique("reader"))
	reader.subscribe(topic, "")
	const events = 200
	for n := range events {
		author.send(msg{"type": "publish", "ref": "p", "to": topic, "data": msg{"n": n}})
	}
	requireNumbers(t, topic, reader.waitEvents(topic, events), 0, events)
	author.until("200 answers", func() bool {
		n := 0
		for _, f := range author.frames {
			if f.Type == "published" && f.Ref == "p" {
				n++
			}
		}
		return n == events
	})
	requireNumbers(t, topic, reader.syncEvents(topic), 0, events)
}
