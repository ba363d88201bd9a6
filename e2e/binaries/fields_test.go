package binaries_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"
)

// TestData is what becomes of the bytes of `data`: JSON is embedded as it is, other text is a string, the rest base64.
func TestData(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	topic := "topic:" + unique("data")
	s := join(t, c.gateways[0], unique("reader"))
	s.subscribe(topic, "")

	str := func(text string) string {
		b, err := json.Marshal(text)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	const limit = 64 << 10
	largest := strings.Repeat("x", limit)
	cases := []struct{ name, data, json, enc string }{
		{"object", `{"hello":1}`, `{"hello":1}`, ""},
		{"spaces and order kept", `{ "b": 1,  "a" : [ 2 , 3 ] }`, `{ "b": 1,  "a" : [ 2 , 3 ] }`, ""},
		{"number beyond float64", `12345678901234567890.0123456789`, `12345678901234567890.0123456789`, ""},
		{"null", `null`, `null`, ""},
		{"false", `false`, `false`, ""},
		{"JSON string", `"a \u00e9 \ud83d\ude00 <&>"`, `"a \u00e9 \ud83d\ude00 <&>"`, ""},
		{"text", `hello`, str(`hello`), ""},
		{"broken JSON is text", `{"a":`, str(`{"a":`), ""},
		{"two JSON values are text", `1 2`, str(`1 2`), ""},
		{"text that needs escapes", "quote \" backslash \\ tab \t line \n nul \x00 \u2028 é 😀", str("quote \" backslash \\ tab \t line \n nul \x00 \u2028 é 😀"), ""},
		{"empty", ``, `""`, ""},
		{"binary", "\x00\xff\xfe\x80", str(base64.StdEncoding.EncodeToString([]byte("\x00\xff\xfe\x80"))), "base64"},
		{"text cut within a rune", "caf\xc3", str(base64.StdEncoding.EncodeToString([]byte("caf\xc3"))), "base64"},
		{"JSON around invalid UTF-8", "\"\xff\"", str(base64.StdEncoding.EncodeToString([]byte("\"\xff\""))), "base64"},
		{"the largest", largest, str(largest), ""},
	}
	for i, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			name := fmt.Sprintf("case-%d", i)
			c.send(t, topic, tc.data, "event", name)
			f := s.wait("the event", func(f frame) bool { return f.Event == name })
			if f.Enc != tc.enc {
				t.Errorf("enc %q, want %q", f.Enc, tc.enc)
			}
			if bytes.Equal(f.Data, []byte(tc.json)) {
				return
			}
			var got, want string
			isString := json.Unmarshal(f.Data, &got) == nil && json.Unmarshal([]byte(tc.json), &want) == nil
			if asItIs := json.Valid([]byte(tc.data)) && tc.enc == ""; asItIs || !isString || got != want {
				t.Errorf("data %.200s, want %.200s", f.Data, tc.json)
			}
		})
	}
}

// TestNames: `event` and `from` are passed on; whatever they hold, a frame stays a frame.
func TestNames(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	topic := "topic:" + unique("names")
	s := join(t, c.gateways[0], unique("reader"))
	s.subscribe(topic, "")

	c.send(t, topic, number(0), "event", "order.paid", "from", "user:shop", "traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "colour", "blue")
	f := s.waitData(topic, number(0))
	if f.Event != "order.paid" || f.From != "user:shop" {
		t.Errorf("event and from are not as given: %s", f)
	}
	c.send(t, topic, number(1))
	if f := s.waitData(topic, number(1)); f.Event != "message" || f.has("from") && f.From != "" || f.has("enc") && f.Enc != "" {
		t.Errorf("not the defaults: %s", f)
	}

	// Each of these may become an event or a dead letter; the client checks that every frame is JSON in UTF-8.
	for _, name := range []string{`","to":"all","x":"`, "line\nbreak", "\x00\x01", "bad \xff utf-8", `back\slash`, strings.Repeat("long", 5000)} {
		c.send(t, topic, `"odd"`, "event", name)
		c.send(t, topic, `"odd"`, "from", name)
	}
	c.send(t, topic, number(2))
	s.waitData(topic, number(2))
	for _, f := range s.sync() {
		if string(f.Data) == `"odd"` && f.To != topic {
			t.Errorf("a name changed the frame: %s", f)
		}
	}
}

// TestLiveOnly: retain 0 has no id and no prev, and is not kept.
func TestLiveOnly(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	topic := "topic:" + unique("live")
	s := join(t, c.gateways[1], unique("reader"))
	// The gateway knows the partition's owner before the topic is subscribed: of a new one it looks into the histories of
	// what is subscribed then, and what is live only may come behind what it finds there.
	eventually(t, c.sharedOut)
	known := "topic:" + unique("known")
	for c.ingress(known) != c.ingress(topic) {
		known = "topic:" + unique("known")
	}
	s.subscribe(known, "")
	c.sendDirect(t, known, number(0))
	s.waitEvents(known, 1)
	s.subscribe(topic, "")

	c.addAll(t,
		entry{c.ingress(topic), fields(topic, number(0))},
		entry{c.ingress(topic), fields(topic, number(1), "retain", "0")},
		entry{c.ingress(topic), fields(topic, number(2))})
	events := s.waitEvents(topic, 3)
	requireNumbers(t, topic, events, 0, 3)
	if live := events[1]; live.has("id") || live.has("prev") {
		t.Errorf("a live-only event has a position: %s", live)
	}
	if events[2].Prev != events[0].ID {
		t.Errorf("the live-only event is in the chain: %s follows %s", events[2], events[0])
	}
	if n := c.XLen(ctx, c.history(topic)).Val(); n != 2 {
		t.Errorf("the history holds %d events, want 2", n)
	}

	late := join(t, c.gateways[0], unique("late"))
	late.subscribe(topic, "earliest")
	late.waitEvents(topic, 2)
	replay := late.syncEvents(topic)
	if len(replay) != 2 || replay[0].ID != events[0].ID || replay[1].ID != events[2].ID {
		t.Errorf("the replay is %v", replay)
	}
}

// TestExcept: the skipped connection gets a `skip` in the event's place, and under another id the event.
func TestExcept(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	topic := "topic:" + unique("except")
	author, reader := join(t, c.gateways[0], unique("author")), join(t, c.gateways[1], unique("reader"))
	for _, s := range []*client{author, reader} {
		s.subscribe(topic, "")
	}
	before := c.sendDirect(t, topic, number(0))
	skipped := c.sendDirect(t, topic, number(1), "except", author.welcome.Conn)
	c.sendDirect(t, topic, number(2))

	requireNumbers(t, "reader", reader.waitEvents(topic, 3), 0, 3)
	got := author.waitEvents(topic, 3)
	if f := got[1]; f.Type != "skip" || f.ID != skipped || f.Prev != before || f.has("data") {
		t.Errorf("want a skip of %s after %s, got %s", skipped, before, f)
	}
	requireNumbers(t, "author", []frame{got[2]}, 2, 3)

	again := join(t, c.gateways[1], author.welcome.User)
	again.subscribe(topic, before)
	requireNumbers(t, "author's next connection", again.waitEvents(topic, 2), 1, 3)
}

// TestIdempotencyKey: two events with the same `to` and `id` are one, whichever ways they came.
func TestIdempotencyKey(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	one, two := "topic:"+unique("idem"), "topic:"+unique("idem")
	s := join(t, c.gateways[0], unique("reader"))
	s.subscribe(one, "")
	s.subscribe(two, "")

	c.send(t, one, number(0), "id", "key-1")
	first := s.waitData(one, number(0))
	key := c.key(one, "idem:"+one+":key-1")
	if id, _, _ := strings.Cut(c.Get(ctx, key).Val(), "@"); id != first.ID { // and when it was added
		t.Errorf("%s holds %q, want the event's id %s", key, id, first.ID)
	}
	if ttl := c.PTTL(ctx, key).Val(); ttl <= 9*time.Minute || ttl > 10*time.Minute {
		t.Errorf("%s expires in %v, want 10 minutes", key, ttl)
	}

	c.send(t, one, `"again"`, "id", "key-1")
	c.sendDirect(t, one, `"again"`, "id", "key-1")
	c.addAll(t, entry{c.ingress(one), fields(one, number(1), "id", "key-2")}, entry{c.ingress(one), fields(one, `"again"`, "id", "key-2")})
	c.send(t, two, number(0), "id", "key-1")
	c.send(t, one, number(2)) // after the repeats, by the way that the first one took
	s.waitData(one, number(2))
	s.waitData(two, number(0))

	for _, f := range s.sync() {
		if string(f.Data) == `"again"` {
			t.Errorf("delivered a second time: %s", f)
		}
	}
	if n := c.XLen(ctx, c.history(one)).Val(); n != 3 {
		t.Errorf("the history holds %d events, want 3", n)
	}
}
