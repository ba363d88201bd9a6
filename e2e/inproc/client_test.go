package inproc_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

// frame is any frame from the server.
type frame struct {
	Type      string          `json:"type"`
	Ref       string          `json:"ref"`
	To        string          `json:"to"`
	ID        string          `json:"id"`
	Prev      string          `json:"prev"`
	Event     string          `json:"event"`
	Data      json.RawMessage `json:"data"`
	Conn      string          `json:"conn"`
	Server    string          `json:"server"`
	Position  string          `json:"position"`
	Recovered bool            `json:"recovered"`
	After     string          `json:"after"`
	Oldest    string          `json:"oldest"`
	Reason    string          `json:"reason"`
	Code      string          `json:"code"`
	Message   string          `json:"message"`
	Duplicate bool            `json:"duplicate"`
	AfterMs   int64           `json:"after_ms"`

	RetryAfterMs int64 `json:"retry_after_ms"`
}

type msg map[string]any

// client is a client that keeps all frames, each as asyncapi.json describes it, and can stop reading. It has a WebSocket or an event stream.
type client struct {
	t    testing.TB
	name string
	ws   *websocket.Conn
	es   *eventSource
	done chan struct{} // closed when the reader has ended

	mu     sync.Mutex
	cond   *sync.Cond
	frames []frame
	at     []time.Time // when they came
	err    error       // why the reader ended
	paused bool
	slow   *time.Ticker // one frame at each tick, as over a slow link
}

type dialOption func(*dialing)

type dialing struct {
	query  url.Values
	header http.Header
	buffer int
	paused bool
	stream bool
	first  msg // the frame connect, when the token is not in the handshake
}

// topics subscribes by the query.
func topics(names ...string) dialOption {
	return func(d *dialing) {
		for i := range names {
			names[i] = strings.TrimPrefix(names[i], "topic:")
		}
		d.query.Set("topics", strings.Join(names, ","))
	}
}

// resuming connects by the frame connect, with positions.
func resuming(user string, positions map[string]string) dialOption {
	return func(d *dialing) {
		d.query.Del("token")
		d.first = msg{"type": "connect", "token": "dev:" + user, "resume": positions}
	}
}

// asDevice connects with a device's name, and resumes from its cursors.
func asDevice(user, device string) dialOption {
	return func(d *dialing) {
		d.query.Del("token")
		d.first = msg{"type": "connect", "token": "dev:" + user, "device": device, "resume": "device"}
	}
}

// lastEventID resumes by the query.
func lastEventID(id string) dialOption {
	return func(d *dialing) { d.query.Set("last_event_id", id) }
}

// onGap chooses by the query what follows a gap.
func onGap(what string) dialOption {
	return func(d *dialing) { d.query.Set("on_gap", what) }
}

// narrow keeps the kernel from being the client's queue.
func narrow(d *dialing) { d.buffer = 8 << 10 }

// narrowLink gives a socket a small receive buffer and, since a window below the
// loopback's large segments hardly moves, segments of a usual size. Both must be set
// before the connection is made.
func narrowLink(buffer int) func(network, address string, c syscall.RawConn) error {
	return func(_, _ string, c syscall.RawConn) error {
		var failed error
		err := c.Control(func(fd uintptr) {
			failed = errors.Join(
				syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, buffer),
				syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, syscall.TCP_MAXSEG, 1400))
		})
		return errors.Join(err, failed)
	}
}

// silent does not read before resume.
func silent(d *dialing) { d.paused = true }

// dial connects as a user, without waiting for any frame.
func dial(t testing.TB, g *gatewayProcess, user string, opts ...dialOption) *client {
	t.Helper()
	d := &dialing{query: url.Values{"token": {"dev:" + user}}, header: http.Header{}}
	for _, o := range opts {
		o(d)
	}
	network := net.Dialer{Timeout: patience}
	if d.buffer > 0 {
		network.Control = narrowLink(d.buffer)
	}
	c := &client{t: t, name: user + "@" + g.name, done: make(chan struct{}), paused: d.paused}
	if d.stream {
		c.es = openStream(t, g, d, network.DialContext)
	} else {
		dialer := websocket.Dialer{HandshakeTimeout: patience, NetDialContext: network.DialContext}
		ws, resp, err := dialer.Dial("ws://"+g.addr+"/v1/ws?"+d.query.Encode(), d.header)
		if err != nil {
			t.Fatalf("%s cannot connect to %s: %v", user, g.name, err)
		}
		_ = resp.Body.Close()
		c.ws = ws
	}
	c.cond = sync.NewCond(&c.mu)
	go c.read()
	t.Cleanup(c.leave)
	if d.first != nil {
		c.send(d.first)
	}
	return c
}

// join connects and waits until everything is subscribed that was asked for.
func join(t testing.TB, g *gatewayProcess, user string, opts ...dialOption) *client {
	t.Helper()
	c := dial(t, g, user, opts...)
	c.waitSubscribed("user:" + user)
	c.waitSubscribed("all")
	d := &dialing{query: url.Values{}, header: http.Header{}}
	for _, o := range opts {
		o(d)
	}
	if names := d.query.Get("topics"); names != "" {
		for name := range strings.SplitSeq(names, ",") {
			c.waitSubscribed("topic:" + name)
		}
	}
	return c
}

func (c *client) read() {
	defer close(c.done)
	events := 0 // the first ones stand for all
	for {
		c.mu.Lock()
		for c.paused && c.err == nil {
			c.cond.Wait()
		}
		slow := c.slow
		c.mu.Unlock()
		if slow != nil {
			<-slow.C
		}
		text, err := c.next()
		var f frame
		if err == nil {
			if err = json.Unmarshal(text, &f); err == nil && (f.Type != "event" || events < 10) {
				err = described(text, f.Type)
			}
			if err != nil {
				err = fmt.Errorf("frame %.200q: %w", text, err)
				c.t.Errorf("%s: %v", c.name, err)
			}
			if f.Type == "event" {
				events++
			}
		}
		c.mu.Lock()
		if err != nil {
			if c.err == nil {
				c.err = err
			}
			c.cond.Broadcast()
			c.mu.Unlock()
			return
		}
		c.frames = append(c.frames, f)
		c.at = append(c.at, time.Now())
		c.cond.Broadcast()
		c.mu.Unlock()
	}
}

// next reads one frame.
func (c *client) next() (text []byte, err error) {
	if c.es != nil {
		return c.es.next()
	}
	kind, text, err := c.ws.ReadMessage()
	if err == nil && kind != websocket.TextMessage {
		err = fmt.Errorf("message of kind %d", kind)
	}
	return text, err
}

// pause stops reading, after at most one more message; resume goes on.
func (c *client) pause() { c.setPaused(true) }

func (c *client) resume() { c.setPaused(false) }

// pace limits the frames that are read in a second.
func (c *client) pace(perSecond int) {
	c.mu.Lock()
	c.slow = time.NewTicker(time.Second / time.Duration(perSecond))
	c.mu.Unlock()
}

func (c *client) setPaused(paused bool) {
	c.mu.Lock()
	c.paused = paused
	c.cond.Broadcast()
	c.mu.Unlock()
}

// leave closes the connection from the client's side, and waits for the reader.
func (c *client) leave() {
	if c.ws != nil {
		bye := websocket.FormatCloseMessage(websocket.CloseNormalClosure, "")
		_ = c.ws.WriteControl(websocket.CloseMessage, bye, time.Now().Add(time.Second))
	}
	c.kill()
}

// kill ends the connection without a word.
func (c *client) kill() {
	if c.es != nil {
		_ = c.es.nc.Close()
	} else {
		_ = c.ws.Close()
	}
	c.mu.Lock()
	if c.err == nil {
		c.err = errors.New("left")
	}
	c.cond.Broadcast()
	c.mu.Unlock()
	<-c.done
}

func (c *client) send(m msg) {
	c.t.Helper()
	_ = c.ws.SetWriteDeadline(time.Now().Add(patience))
	_ = c.ws.WriteJSON(m) // a failure shows as the end of the connection
}

// until waits for a condition on the frames that have come.
func (c *client) until(limit time.Duration, what string, reached func(frames []frame) bool) {
	c.t.Helper()
	c.untilBy(within(limit), what, reached)
}

func (c *client) untilBy(d deadline, what string, reached func(frames []frame) bool) {
	c.t.Helper()
	timer := time.AfterFunc(d.left(), func() {
		c.mu.Lock()
		c.cond.Broadcast()
		c.mu.Unlock()
	})
	defer timer.Stop()
	c.mu.Lock()
	defer c.mu.Unlock()
	for !reached(c.frames) {
		if c.err != nil {
			c.t.Fatalf("%s: the connection ended (%v) before %s\n%s", c.name, c.err, what, c.recent())
		}
		left := d.left()
		if left <= 0 {
			c.t.Fatalf("%s: not within %v: %s\n%s", c.name, d, what, c.recent())
		}
		timer.Reset(left)
		c.cond.Wait()
	}
}

// recent are the last frames; c.mu is held.
func (c *client) recent() string {
	var b strings.Builder
	for i := max(0, len(c.frames)-12); i < len(c.frames); i++ {
		f := c.frames[i]
		fmt.Fprintf(&b, "  %s to=%s id=%s prev=%s data=%.40s %s%s pos=%s\n", f.Type, f.To, f.ID, f.Prev, f.Data, f.Reason, f.Code, f.Position)
	}
	return b.String()
}

// wait waits for the first frame that matches, among all that came.
func (c *client) wait(what string, match func(frame) bool) (found frame) {
	c.t.Helper()
	seen := 0
	c.until(patience, what, func(frames []frame) bool {
		for ; seen < len(frames); seen++ {
			if match(frames[seen]) {
				found = frames[seen]
				return true
			}
		}
		return false
	})
	return found
}

func (c *client) waitSubscribed(target string) frame {
	c.t.Helper()
	return c.wait("subscribed to "+target, func(f frame) bool { return f.Type == "subscribed" && f.To == target })
}

// answer waits for the answer to a ref.
func (c *client) answer(ref string) frame {
	c.t.Helper()
	return c.wait("answer to "+ref, func(f frame) bool { return f.Ref == ref })
}

// waitEvents waits for n retained events of a target.
func (c *client) waitEvents(limit time.Duration, target string, n int) {
	c.t.Helper()
	c.waitEventsBy(within(limit), target, n)
}

func (c *client) waitEventsBy(d deadline, target string, n int) {
	c.t.Helper()
	seen, got := 0, 0
	c.untilBy(d, fmt.Sprintf("%d events of %s", n, target), func(frames []frame) bool {
		if seen > len(frames) { // the test threw them away
			seen = 0
		}
		got += events(frames[seen:], target)
		seen = len(frames)
		return got >= n
	})
}

func events(frames []frame, target string) (n int) {
	for _, f := range frames {
		if f.Type == "event" && f.To == target && f.ID != "" {
			n++
		}
	}
	return n
}

// liveOnly are the events without history that came for a target.
func liveOnly(frames []frame, target string) (live []frame) {
	for _, f := range frames {
		if f.Type == "event" && f.To == target && f.ID == "" {
			live = append(live, f)
		}
	}
	return live
}

// all are the frames that have come for a target.
func (c *client) all(target string) (frames []frame) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, f := range c.frames {
		if f.To == target {
			frames = append(frames, f)
		}
	}
	return frames
}

// everything are all frames that have come.
func (c *client) everything() []frame {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]frame(nil), c.frames...)
}

// last is the id of the newest event of a target, or the position of subscribed.
func (c *client) last(target string) string {
	last := ""
	for _, f := range c.all(target) {
		switch f.Type {
		case "event", "skip":
			last = f.ID
		case "subscribed", "gap":
			last = f.Position
		}
	}
	return last
}

// waitClose waits for the end and returns the close code; 1006 without a close frame.
func (c *client) waitClose(limit time.Duration) int {
	c.t.Helper()
	if _, ok := await(c.done, limit); !ok {
		c.t.Fatalf("%s: not closed within %v", c.name, limit)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	var ce *websocket.CloseError
	if errors.As(c.err, &ce) {
		return ce.Code
	}
	return websocket.CloseAbnormalClosure
}

// ended reports whether the connection has ended, and why.
func (c *client) ended() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// token is a signed token in place of the one for development.
func token(secret, user string, expires time.Time) dialOption {
	return func(d *dialing) {
		encode := base64.RawURLEncoding.EncodeToString
		body := encode([]byte(`{"alg":"HS256","typ":"JWT"}`)) + "." +
			encode(fmt.Appendf(nil, `{"sub":%q,"exp":%d}`, user, expires.Unix()))
		mac := hmac.New(sha256.New, []byte(secret))
		mac.Write([]byte(body))
		d.query.Set("token", body+"."+encode(mac.Sum(nil)))
	}
}
