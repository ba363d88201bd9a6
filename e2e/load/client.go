package main

import (
	"bytes"
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"net/netip"
	"net/url"
	"strings"
)

// spec says what a client is.
type spec struct {
	gateway netip.AddrPort
	path    string   // of the request, /v1/ws by default
	user    string   // whose token it brings
	token   string   // "" only at the floor
	topics  []string // besides user:<user> and all, which every connection has
	after   string   // last_event_id: a position for each target that it resumes
	resumes int      // targets in after that are neither of topics nor the own user nor all
	next    uint32   // number of the first event that it must get; 0 takes any
	want    uint32   // events that make it complete; 0: it never is
	buffer  int      // receive buffer of the socket in bytes, 0: the kernel's choice
	// positions makes it remember the position of what it subscribes to, and its last event.
	positions bool
}

type state byte

const (
	connecting state = iota
	upgrading        // the request is sent
	opening          // until every `subscribed` is there
	open
	closed
)

// client is one WebSocket. Its loop's lock guards it.
type client struct {
	spec
	loop  *loop
	slot  int32
	fd    int
	state state
	left  int    // `subscribed` that are still to come
	rest  []byte // begin of a frame, or of the answer to the request
	begun int64  // clock, ns
	got   uint32 // events
	last  string // position of the target that it follows
}

// The key of every handshake is the same, so that its answer is known; RFC 6455 wants a random one against caches.
var (
	handshakeKey    = base64.StdEncoding.EncodeToString([]byte("sluice-load-0000"))
	handshakeAccept = func() string {
		sum := sha1.Sum([]byte(handshakeKey + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11")) // RFC 6455, 1.3
		return base64.StdEncoding.EncodeToString(sum[:])
	}()
)

func (s *spec) request() []byte {
	q := url.Values{}
	if len(s.topics) > 0 {
		q.Set("topics", strings.Join(s.topics, ","))
	}
	if s.after != "" {
		q.Set("last_event_id", s.after)
	}
	path := s.path
	if path == "" {
		path = "/v1/ws"
	}
	if len(q) > 0 {
		path += "?" + q.Encode()
	}
	b := fmt.Appendf(nil, "GET %s HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %s\r\n", path, s.gateway, handshakeKey)
	if s.token != "" {
		b = fmt.Appendf(b, "Authorization: Bearer %s\r\n", s.token)
	}
	return append(b, "\r\n"...)
}

// subscriptions is how many `subscribed` a client gets before it is open.
func (s *spec) subscriptions() int {
	if s.token == "" {
		return 0
	}
	return 2 + len(s.topics) + s.resumes
}

// dialled is called once the connection is there, or cannot be made.
func (c *client) dialled() {
	if err := connected(c.fd); err != nil {
		c.fail("cannot connect to %s: %v", c.gateway, err)
		return
	}
	request := c.request()
	if n, err := writeSocket(c.fd, request); err != nil || n < len(request) {
		c.fail("cannot send the request to %s: %v", c.gateway, err)
		return
	}
	c.state = upgrading
	if err := c.loop.poll.change(c.fd, c.slot, wantRead); err != nil {
		c.fail("epoll refuses a socket: %v", err)
	}
}

// feed takes what was read; b is only valid during the call. now is the clock in ns.
func (c *client) feed(b []byte, now int64) {
	if c.state == upgrading {
		n := c.upgraded(b)
		if n == 0 {
			c.keep(b)
			return
		}
		b = b[n:]
		c.state, c.left = opening, c.subscriptions()
		c.settle(now)
	}
	for {
		op, payload, size, err := cutFrame(b)
		if err != nil {
			c.fail("%v", err)
		}
		if size == 0 || c.state == closed {
			break
		}
		c.loop.frames++
		c.frame(op, payload, now)
		b = b[size:]
	}
	c.keep(b)
}

// keep holds what is not whole yet until the next read.
func (c *client) keep(b []byte) { c.rest = append(c.rest[:0], b...) }

// upgraded is the length of the answer to the request, 0 while it is not whole.
func (c *client) upgraded(b []byte) int {
	end := bytes.Index(b, []byte("\r\n\r\n"))
	if end < 0 {
		if len(b) > 16<<10 {
			c.fail("%s answers the handshake with a head of more than 16 KiB", c.gateway)
		}
		return 0
	}
	head := b[:end]
	if line, _, _ := bytes.Cut(head, []byte("\r\n")); !bytes.HasPrefix(line, []byte("HTTP/1.1 101")) {
		c.fail("%s refuses the handshake: %s", c.gateway, line)
		return 0
	}
	if !bytes.Contains(head, []byte(handshakeAccept)) {
		c.fail("%s answers the handshake with a wrong Sec-WebSocket-Accept", c.gateway)
		return 0
	}
	return end + 4
}

// settle notes that the client is open, once it is.
func (c *client) settle(now int64) {
	if c.state == opening && c.left <= 0 {
		c.state = open
		c.loop.opened(now - c.begun)
	}
}

func (c *client) frame(op byte, payload []byte, now int64) {
	switch op {
	case opText:
		c.text(payload, now)
	case opPing:
		c.loop.pings++
		pong := appendControl(c.loop.scratch[:0], opPong, payload)
		if n, err := writeSocket(c.fd, pong); err != nil || n < len(pong) {
			c.fail("cannot send a pong: %v", err)
		}
	case opClose:
		code := 1005
		if len(payload) >= 2 {
			code = int(binary.BigEndian.Uint16(payload))
			payload = payload[2:]
		}
		c.fail("%s closed a connection: %d %s", c.gateway, code, payload)
	}
}

const typeHead = `{"type":"`

// text looks at two letters of the frame's type.
func (c *client) text(payload []byte, now int64) {
	if len(payload) < len(typeHead)+2 || string(payload[:len(typeHead)]) != typeHead {
		c.loop.foreign++
		return
	}
	switch string(payload[len(typeHead) : len(typeHead)+2]) {
	case "ev":
		c.event(payload, now)
	case "su":
		if c.left--; c.positions && c.follows(textField(payload, "to")) {
			c.last = textField(payload, "position")
		}
		c.settle(now)
	case "ga":
		c.loop.gaps++
		c.loop.note("a client got a gap: " + string(payload))
	case "er":
		c.fail("%s refuses something: %s", c.gateway, payload)
	}
}

// follows reports whether the target is the one whose position counts: a client's topic, or its user if it has none.
func (c *client) follows(target string) bool {
	if len(c.topics) == 0 {
		return target == "user:"+c.user
	}
	return target == "topic:"+c.topics[0]
}

func (c *client) event(payload []byte, now int64) {
	l := c.loop
	number, sent, ok := parseData(payload)
	if !ok {
		l.foreign++
		return
	}
	l.counts.events++
	l.latencies.events.record(nanoseconds(now - sent))
	switch {
	case number == c.next || c.next == 0:
		c.next = number + 1
	case number < c.next:
		l.repeats++
		l.note(fmt.Sprintf("a client got event %d after %d: %.80s", number, c.next-1, payload))
		return
	default:
		l.holes += uint64(number - c.next)
		l.note(fmt.Sprintf("a client got event %d after %d: %.80s", number, c.next-1, payload))
		c.next = number + 1
	}
	if c.got++; c.got == c.want {
		l.completed(now - c.begun)
	}
	if c.positions {
		c.last = textField(payload, "id")
	}
}

// fail ends the client, and says why.
func (c *client) fail(format string, args ...any) {
	if c.state == closed {
		return
	}
	c.loop.failed++
	c.loop.note(fmt.Sprintf(format, args...))
	c.end()
}

// end closes the socket.
func (c *client) end() {
	if c.state == closed {
		return
	}
	if c.state == open {
		c.loop.open--
	}
	c.state, c.rest = closed, nil
	resetSocket(c.fd)
}
