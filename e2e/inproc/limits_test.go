package inproc_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"sluice/gateway"
	"sluice/gateway/limits"
	"sluice/gateway/listen"
)

// limited is a gateway with these limits and no others.
func limited(l limits.Config) func(*gateway.Config) {
	return func(c *gateway.Config) { l.Mode = "on"; c.Limits = l }
}

// TestPublishesAreLimited: who publishes too fast is told so for each event that is refused,
// with its ref and how long to wait; others go on.
func TestPublishesAreLimited(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	g := r.gateway(limited(limits.Config{PublishRate: 1, FrameRate: 1000}))
	r.worker()
	flood, other := join(t, g, "flood"), join(t, g, "other")
	const sent = 40
	for n := range sent {
		flood.send(msg{"type": "publish", "ref": fmt.Sprint("p", n), "to": "topic:x", "data": n})
	}
	other.send(msg{"type": "publish", "ref": "mine", "to": "topic:x", "data": 1})
	if f := other.answer("mine"); f.Type != "published" {
		t.Errorf("another client is refused: %+v", f)
	}
	published, refused, wait := 0, 0, int64(0)
	for n := range sent {
		switch f := flood.answer(fmt.Sprint("p", n)); {
		case f.Type == "published":
			published++
		case f.Code == "rate_limited" && f.RetryAfterMs > 0 && f.RetryAfterMs <= 1000:
			refused++
			wait = max(wait, f.RetryAfterMs)
		default:
			t.Fatalf("got %+v", f)
		}
	}
	if published < limits.Rate(1).Burst() || refused == 0 {
		t.Errorf("%d published and %d refused", published, refused)
	}
	time.Sleep(time.Duration(wait) * time.Millisecond) // as it was told
	flood.send(msg{"type": "publish", "ref": "later", "to": "topic:x", "data": 1})
	if f := flood.answer("later"); f.Type != "published" {
		t.Errorf("after the wait: %+v", f)
	}
	if n := g.metric("sluice_gateway_limited_total", "limit", "publishes"); n != float64(refused) {
		t.Errorf("%v are counted of %d", n, refused)
	}
}

// TestFloodsAreClosed: frames of each kind are first refused, and who goes on is closed.
func TestFloodsAreClosed(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	g := r.gateway(limited(limits.Config{FrameRate: 5}))
	calm := join(t, g, "calm")
	for name, send := range map[string]func(c *client) error{
		"pings of WebSocket": func(c *client) error { return c.ws.WriteControl(websocket.PingMessage, nil, time.Now().Add(patience)) },
		"pong frames":        func(c *client) error { return c.ws.WriteControl(websocket.PongMessage, nil, time.Now().Add(patience)) },
		"frames ping":        func(c *client) error { return c.ws.WriteJSON(msg{"type": "ping"}) },
		"frames auth":        func(c *client) error { return c.ws.WriteJSON(msg{"type": "auth", "token": "dev:flood"}) },
		"acks":               func(c *client) error { return c.ws.WriteJSON(msg{"type": "ack", "to": "all", "id": "0"}) },
		"subscribes":         func(c *client) error { return c.ws.WriteJSON(msg{"type": "subscribe", "to": "topic:x"}) },
		"subscribes to what it has": func(c *client) error {
			return c.ws.WriteJSON(msg{"type": "subscribe", "to": "all", "after": "earliest"})
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := join(t, g, "flood")
			for end := time.Now().Add(patience); c.ended() == nil && send(c) == nil; {
				if time.Now().After(end) {
					t.Fatal("it is never closed")
				}
			}
			code := c.waitClose(patience)
			told := false
			for _, f := range c.everything() {
				told = told || f.Code == "rate_limited" && f.RetryAfterMs > 0
			}
			// A client that floods may have its connection reset before it reads the close.
			if code != 4003 && code != websocket.CloseAbnormalClosure || !told && name != "pong frames" {
				t.Errorf("closed with %d, told before: %v", code, told)
			}
		})
	}
	if n := g.metric("sluice_gateway_closes_total", "code", "4003"); n == 0 {
		t.Error("none is counted as closed for it")
	}
	calm.send(msg{"type": "ping"})
	calm.wait("pong", func(f frame) bool { return f.Type == "pong" })
}

// refusedWith tries to connect, and returns the status and the header Retry-After.
func refusedWith(t *testing.T, g *gatewayProcess, user string) (status int, retryAfter string) {
	t.Helper()
	ws, resp, err := websocket.DefaultDialer.Dial("ws://"+g.addr+"/v1/ws?"+url.Values{"token": {"dev:" + user}}.Encode(), nil)
	if err == nil {
		_ = ws.Close()
		return http.StatusSwitchingProtocols, ""
	}
	if resp == nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	return resp.StatusCode, resp.Header.Get("Retry-After")
}

// TestNumbersAreLimited: connections of a user and of an address, handshakes, and
// subscriptions of a user.
func TestNumbersAreLimited(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	t.Run("connections of a user", func(t *testing.T) {
		g := r.gateway(limited(limits.Config{UserConnections: 2}))
		first := join(t, g, "a")
		join(t, g, "a", asDevice("a", "phone"))
		if code := dial(t, g, "a").waitClose(patience); code != 1013 {
			t.Errorf("a third one by the query is closed with %d", code)
		}
		if code := dial(t, g, "a", asDevice("a", "phone")).waitClose(patience); code != 1013 {
			t.Errorf("a third one by the frame connect is closed with %d", code)
		}
		join(t, g, "b")
		first.leave()
		eventually(t, patience, "a place is free", func() error {
			c := dial(t, g, "a")
			c.until(patience, "it is taken or closed", func(f []frame) bool { return len(f) > 0 || c.err != nil })
			return c.ended()
		})
		if n := g.metric("sluice_gateway_refused_total", "reason", "user_connections"); n < 2 {
			t.Errorf("%v are counted", n)
		}
	})
	t.Run("connections of an address", func(t *testing.T) {
		g := r.gateway(limited(limits.Config{AddressConnections: 2}))
		join(t, g, "a")
		last := join(t, g, "b")
		if status, wait := refusedWith(t, g, "c"); status != http.StatusTooManyRequests || wait == "" {
			t.Errorf("a third one gets %d, Retry-After %q", status, wait)
		}
		last.leave()
		eventually(t, patience, "a place is free", func() error {
			if status, _ := refusedWith(t, g, "c"); status != http.StatusSwitchingProtocols {
				return fmt.Errorf("status %d", status)
			}
			return nil
		})
	})
	t.Run("handshakes", func(t *testing.T) {
		g := r.gateway(limited(limits.Config{HandshakeRate: 1}))
		n := 0
		for ; n < 100; n++ {
			status, wait := refusedWith(t, g, "a")
			if status == http.StatusTooManyRequests {
				if s, err := strconv.Atoi(wait); err != nil || s < 1 || s > 10 {
					t.Errorf("Retry-After: %q", wait)
				}
				break
			}
		}
		if n < 10 || n == 100 {
			t.Errorf("%d handshakes at once, allowed are 10", n)
		}
	})
	t.Run("subscriptions of a user", func(t *testing.T) {
		g := r.gateway(limited(limits.Config{UserTargets: 6}))
		one, two := join(t, g, "a"), join(t, g, "a", topics("topic:x"))
		one.send(msg{"type": "subscribe", "ref": "1", "to": "topic:y"})
		one.send(msg{"type": "subscribe", "ref": "2", "to": "topic:z"})
		if a, b := one.answer("1"), one.answer("2"); a.Type != "subscribed" || b.Code != "too_many" {
			t.Errorf("got %+v and %+v", a, b)
		}
		join(t, g, "b", topics("topic:x", "topic:y"))
		two.send(msg{"type": "unsubscribe", "ref": "1", "to": "topic:x"})
		two.answer("1")
		one.send(msg{"type": "subscribe", "ref": "3", "to": "topic:z"})
		if f := one.answer("3"); f.Type != "subscribed" {
			t.Errorf("got %+v", f)
		}
		two.leave()
		tries := 0
		eventually(t, patience, "the places of a connection that has ended are free", func() error {
			tries++
			ref := fmt.Sprint("again", tries)
			one.send(msg{"type": "subscribe", "ref": ref, "to": "topic:x"})
			if f := one.answer(ref); f.Type != "subscribed" {
				return errors.New(f.Code)
			}
			return nil
		})
	})
}

// TestStrangersCostLittle: nothing that is sent without a token is looked into or kept
// beyond its bytes, and those who send none are bounded, too. It is not parallel, since it
// looks at the memory.
func TestStrangersCostLittle(t *testing.T) {
	r := newRig(t)
	const sockets = 30
	g := r.gateway(func(c *gateway.Config) { c.Listen.MaxPending = 2 * sockets })
	member := join(t, g, "member")
	before := heap()
	for range sockets {
		nc, err := net.Dial("tcp", g.addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = nc.Close() })
		_, _ = fmt.Fprintf(nc, "GET /v1/ws?topics=%s&%s HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
			"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", strings.Repeat(",", 8000), strings.Repeat("a&", 3000), g.addr)
		resp, err := http.ReadResponse(bufio.NewReader(nc), nil)
		if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
			t.Fatal(resp, err)
		}
		_ = resp.Body.Close() // there is none
	}
	if each := (heap() - before) / sockets; each > 100<<10 { // both ends, and what else the process does
		t.Errorf("a stranger costs %d bytes", each)
	}
	// The oldest go when others come, and not those with a token.
	for range 2 * sockets {
		nc, err := net.Dial("tcp", g.addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = nc.Close() })
		_, _ = io.WriteString(nc, "GET /v1/ws HT")
	}
	join(t, g, "newcomer")
	if n := g.metric("sluice_gateway_refused_total", "reason", "pending_full"); n == 0 {
		t.Error("strangers are not bounded, or it is not counted")
	}
	member.send(msg{"type": "ping"})
	member.wait("pong", func(f frame) bool { return f.Type == "pong" })
}

// TestLargeConnect: a client that comes back to many targets is let in, wherever its token stands in the frame; the rest of
// a large one is read once the token is good, and few are read at a time that do not show it.
func TestLargeConnect(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	g := r.gateway()
	positions := map[string]string{}
	for n := range 900 {
		positions[fmt.Sprintf("topic:a-room-with-a-name-%d", n)] = "0"
	}
	many, err := json.Marshal(positions)
	if err != nil {
		t.Fatal(err)
	}
	open := func(text string) *client {
		c := dial(t, g, "", func(d *dialing) { d.query.Del("token") })
		_ = c.ws.WriteMessage(websocket.TextMessage, []byte(text)) // it may be closed before it is sent
		return c
	}
	resume := `"resume":` + string(many)
	for name, text := range map[string]string{
		"first": `{"type":"connect","token":"dev:a",` + resume + `}`, "last": `{` + resume + `,"type":"connect","token":"dev:b"}`,
	} {
		open(text).until(patience, "all subscriptions with the token "+name, func(f []frame) bool { return len(f) == 1+2+len(positions) })
	}
	for text, code := range map[string]int{
		`{"type":"connect","token":"nobody",` + resume + `}`: 4501, `{` + resume + `,"type":"connect","token":"nobody"}`: 4501,
		`{"type":"connect","token":"dev:c","resume":{"` + strings.Repeat("x", 70_000) + `":"0"}}`: 1009, `{"type":"` + strings.Repeat("x", 70_000) + `"}`: 1009,
	} {
		if got := open(text).waitClose(patience); got != code {
			t.Errorf("%.40s... is closed with %d, want %d", text, got, code)
		}
	}
	// Each holds a place as long as its frame does not end.
	begin := append([]byte{0x81, 0x80 | 126, 0xff, 0xff, 0, 0, 0, 0}, `{"resume":{"`+strings.Repeat("x", 20_000)...)
	for range 4 {
		c := dial(t, g, "", func(d *dialing) { d.query.Del("token") })
		if _, err := c.ws.NetConn().Write(begin); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, patience, "no more are read", func() error {
		if code := open(`{` + resume + `,"type":"connect","token":"nobody"}`).waitClose(patience); code != 1013 {
			return fmt.Errorf("closed with %d", code)
		}
		return nil
	})
	if n := g.metric("sluice_gateway_refused_total", "reason", "long_frames"); n == 0 {
		t.Error("it is not counted")
	}
	eventually(t, patience, "they have ended", func() error {
		if code := open(`{` + resume + `,"type":"connect","token":"nobody"}`).waitClose(patience); code != 4501 {
			return fmt.Errorf("closed with %d", code)
		}
		return nil
	})
}

// TestRequestsEnd: a request whose body never comes is not held.
func TestRequestsEnd(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	g := r.gateway(func(c *gateway.Config) { c.Listen.RequestTimeout = 200 * time.Millisecond })
	for name, text := range map[string]string{
		"no body":     "POST /v1/ws HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n",
		"half a body": "POST /nowhere HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
		"no header":   "GET /v1/ws HTTP/1.1\r\nHost: x\r\n",
		"nothing":     "",
	} {
		nc, err := net.Dial("tcp", g.addr)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(nc, text)
		_ = nc.SetReadDeadline(time.Now().Add(patience))
		if _, err := io.Copy(io.Discard, nc); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%s: held for %v", name, patience)
		}
		_ = nc.Close()
	}
}

// TestBodyComesLate: who sends a body too slowly is told to try again, not that the request is wrong, and is not held.
func TestBodyComesLate(t *testing.T) {
	t.Parallel()
	g := newRig(t).gateway()
	nc, err := net.Dial("tcp", g.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	_ = nc.SetDeadline(time.Now().Add(patience))
	_, _ = io.WriteString(nc, "POST /v1/events HTTP/1.1\r\nHost: "+g.addr+"\r\nAuthorization: Bearer dev:a\r\nContent-Length: 1000\r\n\r\n{\"to\":")
	resp, err := http.ReadResponse(bufio.NewReader(nc), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	if resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") == "" || !strings.Contains(string(body), `"unavailable"`) {
		t.Errorf("%d %v: %s", resp.StatusCode, resp.Header, body)
	}
}

func prefixes(list ...string) (all []netip.Prefix) {
	for _, p := range list {
		all = append(all, netip.MustParsePrefix(p))
	}
	return all
}

// lines keeps a log.
type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// TestClientAddress: behind a trusted proxy limits hold for the address of the client, which
// stands in the log; what a client says of itself is not believed.
func TestClientAddress(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	said := new(lines)
	r.log = slog.New(slog.NewTextHandler(io.MultiWriter(said, logWriter{t}), nil))
	g := r.gateway(limited(limits.Config{AddressConnections: 1}), func(c *gateway.Config) {
		c.Listen.TrustedProxies = prefixes("127.0.0.0/8", "10.0.0.0/8")
	})
	from := func(forwarded string) dialOption {
		return func(d *dialing) { d.header.Set("X-Forwarded-For", forwarded) }
	}
	join(t, g, "a", from("203.0.113.1"))
	join(t, g, "b", from("203.0.113.1, 203.0.113.2, 10.0.0.1"))
	_, resp, err := websocket.DefaultDialer.Dial("ws://"+g.addr+"/v1/ws?token=dev:c", http.Header{"X-Forwarded-For": {"192.0.2.66, 203.0.113.2"}})
	if err == nil || resp == nil || resp.StatusCode != http.StatusTooManyRequests {
		t.Fatal("the address of a client has two connections", err)
	}
	_ = resp.Body.Close()
	eventually(t, patience, "it stands in the log", func() error {
		if text := said.String(); !strings.Contains(text, "client=203.0.113.2") || strings.Contains(text, "192.0.2.66") {
			return errors.New(text)
		}
		return nil
	})
	stranger := r.gateway(limited(limits.Config{AddressConnections: 1}), func(c *gateway.Config) {
		c.Listen.ProxyHeader = listen.ForwardedFor
	})
	join(t, stranger, "a", from("203.0.113.1"))
	if status, _ := refusedWith(t, stranger, "b"); status != http.StatusTooManyRequests {
		t.Errorf("a client chose its address: %d", status)
	}
}
