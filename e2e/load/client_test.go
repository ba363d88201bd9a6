package main

import (
	"fmt"
	"strings"
	"testing"
)

// stream is what a gateway sends to a client with one topic, from the handshake to three events.
func stream() []byte {
	b := fmt.Appendf(nil, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n", handshakeAccept)
	b = appendServerText(b, []byte(`{"type":"welcome","conn":"c","server":"s","user":"u","ping_ms":25000}`))
	for _, to := range []string{"user:u", "all", "topic:t"} {
		b = appendServerText(b, fmt.Appendf(nil, `{"type":"subscribed","to":"%s","position":"5-1","recovered":true}`, to))
	}
	for i := range 3 {
		b = appendEventFrame(b, "topic:t", 256, uint32(7+i), clock())
	}
	return b
}

// unconnected is a client without a socket.
func unconnected(s spec) *client {
	c := &client{spec: s, loop: &loop{latencies: newLatencies()}, fd: -1, state: upgrading}
	c.begun = clock()
	return c
}

// feedIn hands over b in pieces, as reads do.
func (c *client) feedIn(b []byte, piece int) {
	for len(b) > 0 && c.state != closed {
		n := min(piece, len(b))
		c.feed(append(append([]byte(nil), c.rest...), b[:n]...), clock())
		b = b[n:]
	}
}

func TestClientReadsPieces(t *testing.T) {
	all := stream()
	for _, piece := range []int{1, 2, 3, 7, 100, 1000, len(all)} {
		c := unconnected(spec{user: "u", token: "x", topics: []string{"t"}, want: 3, next: 7, positions: true})
		c.feedIn(all, piece)
		l := c.loop
		if c.state != open || l.opens != 1 || l.counts.events != 3 || l.whole != 1 || l.holes+l.repeats+l.gaps+l.failed+l.foreign != 0 {
			t.Errorf("in pieces of %d: state %d, counts %+v, problems %q", piece, c.state, l.counts, l.problems)
		}
		if c.last != "1700000000000-12" || len(c.rest) != 0 {
			t.Errorf("in pieces of %d: position %q, rest %q", piece, c.last, c.rest)
		}
		if l.latencies.events.n() != 3 || l.opening.n() != 1 || l.wholes.n() != 1 {
			t.Errorf("in pieces of %d: %d latencies, %d opened, %d complete", piece, l.latencies.events.n(), l.opening.n(), l.wholes.n())
		}
	}
}

// TestClientOpens looks at each of the frames that make a client with one topic open.
func TestClientOpens(t *testing.T) {
	c := unconnected(spec{user: "u", token: "x", topics: []string{"t"}})
	c.state, c.left = opening, c.subscriptions()
	for i, to := range []string{"user:u", "all", "topic:t"} {
		if c.state != opening {
			t.Fatalf("state %d after %d of 3 targets", c.state, i)
		}
		c.feed(appendServerText(nil, fmt.Appendf(nil, `{"type":"subscribed","to":"%s","position":"0","recovered":true}`, to)), clock())
	}
	if c.state != open || c.loop.opens != 1 {
		t.Errorf("state %d, opened %d after all targets", c.state, c.loop.opens)
	}
}

func TestClientCounts(t *testing.T) {
	event := func(n uint32) []byte { return appendEventFrame(nil, "topic:t", 256, n, clock()) }
	text := func(s string) []byte { return appendServerText(nil, []byte(s)) }
	for name, x := range map[string]struct {
		frames [][]byte
		want   counts
		says   string
	}{
		"hole":    {[][]byte{event(1), event(4)}, counts{events: 2, holes: 2, frames: 2}, "event 4 after 1"},
		"repeat":  {[][]byte{event(3), event(3)}, counts{events: 2, repeats: 1, frames: 2}, "event 3 after 3"},
		"late":    {[][]byte{event(3), event(2)}, counts{events: 2, repeats: 1, frames: 2}, "event 2 after 3"},
		"gap":     {[][]byte{text(`{"type":"gap","to":"topic:t","reason":"trimmed"}`)}, counts{gaps: 1, frames: 1}, "trimmed"},
		"error":   {[][]byte{text(`{"type":"error","code":"too_many"}`)}, counts{failed: 1, frames: 1}, "too_many"},
		"foreign": {[][]byte{text(`{"type":"event","to":"all","data":1}`), text("hello")}, counts{foreign: 2, frames: 2}, ""},
		"close":   {[][]byte{{0x88, 4, 3, 0xf4, 'n', 'o'}}, counts{failed: 1, frames: 1}, "1012 no"},
		"broken":  {[][]byte{{0x02, 0}}, counts{failed: 1}, "fragmented"},
	} {
		c := unconnected(spec{})
		c.state = opening
		for _, f := range x.frames {
			c.feedIn(f, len(f))
		}
		if c.loop.counts != x.want {
			t.Errorf("%s: %+v, want %+v", name, c.loop.counts, x.want)
		}
		if said := strings.Join(c.loop.problems, "; "); !strings.Contains(said, x.says) {
			t.Errorf("%s: says %q, want %q in it", name, said, x.says)
		}
	}
}

func TestClientRefused(t *testing.T) {
	for answer, want := range map[string]string{
		"HTTP/1.1 503 Service Unavailable\r\n\r\n":                                        "503",
		"HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: somethingelse\r\n\r\n": "Sec-WebSocket-Accept",
		strings.Repeat("x", 20<<10):                                                       "16 KiB",
	} {
		c := unconnected(spec{})
		c.feedIn([]byte(answer), len(answer))
		if c.state != closed || c.loop.failed != 1 || !strings.Contains(c.loop.problems[0], want) {
			t.Errorf("%.40q: state %d, problems %q; want one with %q", answer, c.state, c.loop.problems, want)
		}
	}
}

func TestRequest(t *testing.T) {
	s := spec{token: "dev:a", topics: []string{"x", "y"}, after: "user:a=1-0"}
	r := string(s.request())
	for _, want := range []string{"GET /v1/ws?last_event_id=user%3Aa%3D1-0&topics=x%2Cy HTTP/1.1\r\n", "Authorization: Bearer dev:a\r\n"} {
		if !strings.Contains(r, want) || !strings.HasSuffix(r, "\r\n\r\n") {
			t.Errorf("the request lacks %q:\n%s", want, r)
		}
	}
}
