package binaries_test

import (
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/gorilla/websocket"
)

// client is a WebSocket client that keeps every frame it got. It checks of each that it is a JSON object in a UTF-8
// text message, that the first is `welcome` (or an error), and that events of a target form one unbroken chain. Only its
// test's goroutine may call its methods.
type client struct {
	t        testing.TB
	ws       *websocket.Conn
	welcome  frame
	offended bool // a check failed already: one message is enough
	asked    int
	pongs    int
	frames   []frame
	targets  map[string][]frame // events and skips
	chain    chain

	news  chan struct{} // something has come since it was last received from
	ended chan struct{} // closed when the reader has returned
	mu    sync.Mutex    // guards what follows, which the reader writes
	inbox []message
	pings int
	err   error
	endAt time.Time
}

type message struct {
	kind int
	data []byte
	at   time.Time
}

// option changes a handshake.
type option func(*handshake)

type handshake struct {
	query     url.Values
	header    http.Header
	protocols []string
	mute      bool
	tls       *tls.Config // nil: without
}

func withQuery(name, value string) option {
	return func(h *handshake) { h.query.Set(name, value) }
}

func withHeader(name, value string) option {
	return func(h *handshake) { h.header.Set(name, value) }
}

func withBearer(token string) option { return withHeader("Authorization", "Bearer "+token) }

// withProtocolToken offers the protocol and the token as subprotocols, as a browser has to.
func withProtocolToken(token string) option {
	return func(h *handshake) {
		h.protocols = []string{"sluice.v1.json", "sluice.token." + base64.RawURLEncoding.EncodeToString([]byte(token))}
	}
}

// withoutPongs makes a client that leaves pings unanswered.
func withoutPongs() option {
	return func(h *handshake) { h.mute = true }
}

// tryDial makes the WebSocket handshake. An error means that the handshake was refused.
func tryDial(t testing.TB, addr string, options ...option) (*client, error) {
	t.Helper()
	h := handshake{query: url.Values{}, header: http.Header{}}
	for _, o := range options {
		o(&h)
	}
	dialer := websocket.Dialer{HandshakeTimeout: patience, Subprotocols: h.protocols, TLSClientConfig: h.tls}
	scheme := "ws"
	if h.tls != nil {
		scheme = "wss"
	}
	ws, answer, err := dialer.Dial(scheme+"://"+addr+"/v1/ws?"+h.query.Encode(), h.header)
	if err != nil {
		if answer != nil {
			return nil, fmt.Errorf("%w: %s", err, answer.Status)
		}
		return nil, err
	}
	c := &client{t: t, ws: ws, targets: map[string][]frame{}, chain: chain{}, news: make(chan struct{}, 1), ended: make(chan struct{})}
	pong := ws.PingHandler()
	ws.SetPingHandler(func(text string) error {
		c.mu.Lock()
		c.pings++
		c.mu.Unlock()
		c.notify()
		if h.mute {
			return nil
		}
		return pong(text)
	})
	go c.read()
	t.Cleanup(func() {
		c.leave()
		c.collect()
	})
	return c, nil
}

// dial makes the handshake and nothing else.
func dial(t testing.TB, s *server, options ...option) *client {
	t.Helper()
	c, err := tryDial(t, s.addr, options...)
	if err != nil {
		t.Fatalf("%s refused the handshake: %v\n%s", s.Name, err, s.Tail())
	}
	return c
}

// join connects a user with a dev token in the handshake, and waits for the two targets that each connection has.
func join(t testing.TB, s *server, user string, options ...option) *client {
	t.Helper()
	return dial(t, s, append([]option{withBearer("dev:" + user)}, options...)...).settle()
}

// connect connects a user with a dev token in the frame `connect`, which gets the other fields given.
func connect(t testing.TB, s *server, user string, fields msg) *client {
	t.Helper()
	c := dial(t, s)
	all := msg{"type": "connect", "token": "dev:" + user}
	for k, v := range fields {
		all[k] = v
	}
	c.send(all)
	return c.settle()
}

// settle waits for `welcome` and for the targets that each connection has from the start.
func (c *client) settle() *client {
	c.t.Helper()
	c.welcome = c.waitType("welcome")
	c.waitSubscribed("user:" + c.welcome.User)
	c.waitSubscribed("all")
	return c
}

func (c *client) read() {
	defer close(c.ended)
	for {
		kind, data, err := c.ws.ReadMessage()
		c.mu.Lock()
		if err == nil {
			c.inbox = append(c.inbox, message{kind, data, time.Now()})
		} else {
			c.err, c.endAt = err, time.Now()
		}
		c.mu.Unlock()
		c.notify()
		if err != nil {
			return
		}
	}
}

func (c *client) notify() {
	select {
	case c.news <- struct{}{}:
	default:
	}
}

// collect decodes and checks what has come.
func (c *client) collect() {
	c.t.Helper()
	c.mu.Lock()
	inbox := c.inbox
	c.inbox = nil
	c.mu.Unlock()
	for _, m := range inbox {
		f := frame{raw: m.data, at: m.at, place: len(c.frames)}
		err := json.Unmarshal(m.data, &f)
		switch {
		case m.kind != websocket.TextMessage || !utf8.Valid(m.data):
			err = errors.New("not a text message in UTF-8")
		case err != nil:
		case f.place == 0 && f.Type != "welcome" && f.Type != "error":
			err = errors.New("the first frame is not welcome")
		case f.place > 0 && f.Type == "welcome":
			err = errors.New("a second welcome")
		default:
			err = c.chain.follow(f)
		}
		if err != nil && !c.offended {
			c.offended = true
			c.t.Errorf("%s got %q: %v", c, m.data, err)
		}
		c.frames = append(c.frames, f)
		switch f.Type {
		case "event", "skip":
			c.targets[f.To] = append(c.targets[f.To], f)
		case "pong":
			c.pongs++
		}
	}
}

func (c *client) String() string {
	return fmt.Sprintf("client %s of %s", c.welcome.User, c.welcome.Server)
}

// recent is the end of what the client got, for failure messages.
func (c *client) recent() string {
	from := max(0, len(c.frames)-12)
	lines := []string{fmt.Sprintf("%s got %d frames, the last:", c, len(c.frames))}
	for _, f := range c.frames[from:] {
		lines = append(lines, fmt.Sprintf("  %.300s", f.raw))
	}
	return strings.Join(lines, "\n")
}

// until waits for a condition on what has come.
func (c *client) until(what string, reached func() bool) {
	c.t.Helper()
	c.untilWithin(patience, what, reached)
}

func (c *client) untilWithin(limit time.Duration, what string, reached func() bool) {
	c.t.Helper()
	deadline := time.NewTimer(limit)
	defer deadline.Stop()
	for {
		over := false
		select {
		case <-c.ended: // before collect: then nothing more can come
			over = true
		default:
		}
		c.collect()
		if reached() {
			return
		}
		if over {
			c.t.Fatalf("the connection ended (%v) before %s\n%s", c.err, what, c.recent())
		}
		select {
		case <-c.news:
		case <-c.ended:
		case <-deadline.C:
			c.t.Fatalf("no %s within %v\n%s", what, limit, c.recent())
		}
	}
}

// wait returns the first frame that matches, among all that came since the start.
func (c *client) wait(what string, match func(frame) bool) frame {
	c.t.Helper()
	var found frame
	seen := 0
	c.until(what, func() bool {
		for ; seen < len(c.frames); seen++ {
			if match(c.frames[seen]) {
				found = c.frames[seen]
				return true
			}
		}
		return false
	})
	return found
}

func (c *client) waitType(kind string) frame {
	c.t.Helper()
	return c.wait(kind, func(f frame) bool { return f.Type == kind })
}

func (c *client) waitSubscribed(target string) frame {
	c.t.Helper()
	return c.wait("subscribed to "+target, func(f frame) bool { return f.Type == "subscribed" && f.To == target })
}

// waitErrors waits for the n-th error frame with the code.
func (c *client) waitErrors(code string, n int) frame {
	c.t.Helper()
	return c.wait(fmt.Sprintf("error %s number %d", code, n), func(f frame) bool {
		if f.Type == "error" && f.Code == code {
			n--
			return n == 0
		}
		return false
	})
}

// waitEvents waits for at least n events of a target (skips included) and returns all.
func (c *client) waitEvents(target string, n int) []frame {
	c.t.Helper()
	c.until(fmt.Sprintf("%d events of %s", n, target), func() bool { return len(c.targets[target]) >= n })
	return c.targets[target]
}

// waitData waits for an event with exactly this data.
func (c *client) waitData(target, data string) frame {
	c.t.Helper()
	return c.wait(fmt.Sprintf("event of %s with %.100s", target, data), func(f frame) bool {
		return f.Type == "event" && f.To == target && string(f.Data) == data
	})
}

// sync waits until everything is here that the server had queued for this connection, and returns all frames.
func (c *client) sync() []frame {
	c.t.Helper()
	c.collect()
	before := c.pongs
	c.send(msg{"type": "ping"})
	c.until("pong", func() bool { return c.pongs > before })
	return c.frames
}

// syncEvents returns the events of a target after a sync.
func (c *client) syncEvents(target string) []frame {
	c.t.Helper()
	c.sync()
	return c.targets[target]
}

// last returns the id of the last event of a target, which there must be.
func (c *client) last(target string) string {
	c.t.Helper()
	events := c.targets[target]
	if len(events) == 0 {
		c.t.Fatalf("no event of %s\n%s", target, c.recent())
	}
	return events[len(events)-1].ID
}

// send sends a frame.
func (c *client) send(v msg) {
	c.t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		c.t.Fatal(err)
	}
	c.sendMessage(websocket.TextMessage, b)
}

func (c *client) sendText(text string) {
	c.t.Helper()
	c.sendMessage(websocket.TextMessage, []byte(text))
}

// sendMessage leaves a failed write to be seen as the end of the connection, which has the reason.
func (c *client) sendMessage(kind int, b []byte) {
	c.t.Helper()
	_ = c.ws.SetWriteDeadline(time.Now().Add(patience))
	_ = c.ws.WriteMessage(kind, b)
}

// ask sends a frame with a ref of its own and returns the frame that answers it.
func (c *client) ask(v msg) frame {
	c.t.Helper()
	c.asked++
	ref := fmt.Sprintf("ref-%d", c.asked)
	v["ref"] = ref
	c.send(v)
	return c.wait(fmt.Sprintf("answer to %v", v), func(f frame) bool { return f.Ref == ref && f.Type != "gap" })
}

// subscribe subscribes, with `after` if it is not empty, and returns the frame `subscribed`.
func (c *client) subscribe(target, after string) frame {
	c.t.Helper()
	v := msg{"type": "subscribe", "to": target}
	if after != "" {
		v["after"] = after
	}
	return c.must(c.ask(v), "subscribed")
}

// must fails unless the frame is of the kind.
func (c *client) must(f frame, kind string) frame {
	c.t.Helper()
	if f.Type != kind {
		c.t.Fatalf("%s got %s, not %s", c, f, kind)
	}
	return f
}

// mustError fails unless the frame is an error with the code.
func (c *client) mustError(f frame, code string) {
	c.t.Helper()
	if f.Type != "error" || f.Code != code || f.Message == "" {
		c.t.Fatalf("%s got %s, not an error %s with a message", c, f, code)
	}
}

// waitClose waits for the end of the connection and returns its close code; 1006 is an end without close frame.
func (c *client) waitClose() int {
	c.t.Helper()
	select {
	case <-c.ended:
	case <-time.After(patience):
		c.t.Fatalf("the connection was not closed within %v\n%s", patience, c.recent())
	}
	c.collect()
	var closed *websocket.CloseError
	if errors.As(c.err, &closed) {
		return closed.Code
	}
	return websocket.CloseAbnormalClosure
}

// mustClose fails unless the server closes the connection with the code.
func (c *client) mustClose(code int) {
	c.t.Helper()
	if got := c.waitClose(); got != code {
		c.t.Fatalf("closed with %d (%v), want %d\n%s", got, c.err, code, c.recent())
	}
}

// leave closes the connection from the client's side, and waits for the reader.
func (c *client) leave() {
	bye := websocket.FormatCloseMessage(websocket.CloseNormalClosure, "")
	_ = c.ws.WriteControl(websocket.CloseMessage, bye, time.Now().Add(time.Second))
	_ = c.ws.Close()
	<-c.ended
}

// pinged returns how many pings have come.
func (c *client) pinged() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.pings
}
