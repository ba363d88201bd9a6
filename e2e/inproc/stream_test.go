package inproc_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/redis/go-redis/v9"

	"sluice/gateway"
	"sluice/gateway/auth"
	"sluice/gateway/limits"
	"sluice/shared/wire"
)

// eventSource reads an event stream as a browser does (HTML Standard, 9.2), and gives the data of its events, which are
// frames. `sluice.close` comes as the error that a WebSocket's close frame is.
type eventSource struct {
	nc net.Conn
	br *bufio.Reader

	mu          sync.Mutex
	first, last string // ids
	retry       string
}

// byStream takes an event stream instead of a WebSocket.
func byStream(d *dialing) { d.stream = true }

// lastEventHeader is what a browser sends when it comes back by itself.
func lastEventHeader(id string) dialOption {
	return func(d *dialing) { d.header.Set("Last-Event-ID", id) }
}

func openStream(t testing.TB, g *gatewayProcess, d *dialing, dial func(ctx context.Context, network, addr string) (net.Conn, error)) *eventSource {
	t.Helper()
	s, res := askStream(t, g, d, dial) //nolint:bodyclose // it is the stream
	if res.StatusCode != http.StatusOK || res.Header.Get("Content-Type") != "text/event-stream" {
		t.Fatalf("the stream is refused: %v", res)
	}
	return s
}

func askStream(t testing.TB, g *gatewayProcess, d *dialing, dial func(ctx context.Context, network, addr string) (net.Conn, error)) (*eventSource, *http.Response) {
	t.Helper()
	nc, err := dial(ctx, "tcp", g.addr)
	if err != nil {
		t.Fatal(err)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+g.addr+"/v1/sse?"+d.query.Encode(), http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	r.Header = d.header
	if err = r.Write(nc); err != nil {
		t.Fatal(err)
	}
	s := &eventSource{nc: nc, br: bufio.NewReader(nc)}
	res, err := http.ReadResponse(s.br, r)
	if err != nil {
		t.Fatal(err)
	}
	return s, res
}

// next gives the data of the next event that has some.
func (s *eventSource) next() ([]byte, error) {
	var name, id string
	var data []byte
	for {
		line, err := s.br.ReadBytes('\n')
		if err != nil {
			return nil, err
		}
		line = bytes.TrimSuffix(line, []byte("\n"))
		field, value, _ := bytes.Cut(line, []byte(": "))
		switch string(field) {
		case "":
			if data != nil {
				return s.dispatch(name, id, data)
			}
		case "event":
			name = string(value)
		case "id":
			id = string(value)
		case "data":
			data = value
		case "retry":
			s.mu.Lock()
			s.retry = string(value)
			s.mu.Unlock()
		case ":":
		default:
			return nil, fmt.Errorf("the line %.200q of an event stream", line)
		}
	}
}

func (s *eventSource) dispatch(name, id string, data []byte) ([]byte, error) {
	if id != "" {
		s.mu.Lock()
		s.last = id
		if s.first == "" {
			s.first = id
		}
		s.mu.Unlock()
	}
	if name == "sluice.close" {
		var f struct {
			Code   int
			Reason string
		}
		if err := errors.Join(json.Unmarshal(data, &f), described(data, "close")); err != nil {
			return nil, err
		}
		return nil, &websocket.CloseError{Code: f.Code, Text: f.Reason}
	}
	var f frame
	if err := json.Unmarshal(data, &f); err != nil {
		return nil, fmt.Errorf("data %.200q: %w", data, err)
	}
	if want := "sluice." + f.Type; f.Type != "event" && name != want || f.Type == "event" && name != f.Event {
		return nil, fmt.Errorf("the event %.200q has the name %q", data, name)
	}
	return data, nil
}

func (s *eventSource) state() (last, retry string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.last, s.retry
}

// TestStreams: an event stream gets what a WebSocket gets, and either goes on where the other was, with nothing lost and
// nothing twice.
func TestStreams(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	g1, g2, _, _ := r.pair()
	const target = "topic:room"
	c := join(t, g1, "anna", byStream, topics("room"))
	r.add("direct", target, 0, 20)
	c.waitEvents(patience, target, 20)
	last, retry := c.es.state()
	if retry == "" || !strings.Contains(last, target+"=") || !strings.Contains(last, "user:anna=") {
		t.Errorf("retry is %q, the id %q", retry, last)
	}
	c.kill()
	r.add("direct", target, 20, 20)

	// As a browser comes back by itself: with what the page asked for at first, and the header.
	c = join(t, g2, "anna", byStream, topics("room"), lastEventID(target+"=0"), lastEventHeader(last))
	r.add("direct", target, 40, 20)
	c.waitEvents(patience, target, 40)
	c.check(target, 20, 60)
	last, _ = c.es.state()
	c.kill()
	r.add("direct", target, 60, 10)

	w := join(t, g1, "anna", topics("room"), lastEventID(last))
	w.mustHave(patience, target, 60, 70)
	positions := map[string]string{target: w.last(target)}
	w.kill()
	r.add("direct", target, 70, 10)
	c = join(t, g2, "anna", byStream, topics("room"), lastEventID(cursorOf(positions)))
	c.mustHave(patience, target, 70, 80)
}

func cursorOf(positions map[string]string) string {
	ids := make(map[string]wire.ID)
	for target, text := range positions {
		ids[target], _ = wire.ParseID(text)
	}
	return wire.Cursor(ids)
}

// TestStreamBreaksEarly: a stream that breaks before it has said anything of a target does not forget where the client
// was: the positions that it brought are in every id.
func TestStreamBreaksEarly(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	g := r.gateway()
	r.worker()
	c := join(t, g, "anna", byStream, topics("a", "b"))
	at := cursorOf(map[string]string{"topic:a": c.last("topic:a"), "topic:b": "5-5", "topic:forbidden!": "1-1"})
	c.kill()
	c = dial(t, g, "anna", byStream, lastEventHeader(at))
	c.waitSubscribed("user:anna")
	c.es.mu.Lock()
	defer c.es.mu.Unlock()
	if !strings.Contains(c.es.first, "topic:b=5-5") || strings.Contains(c.es.first, "forbidden") {
		t.Errorf("the first id is %q", c.es.first)
	}
}

// TestSlowStream: an event stream that does not keep up catches up from the history like a WebSocket.
func TestSlowStream(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	g := r.gateway()
	r.worker()
	const target = "topic:long"
	c := join(t, g, "slow", byStream, narrow, topics("long"))
	c.pause()
	pad := strings.Repeat("x", 4<<10)
	pipe := r.rdb.Pipeline()
	for i := range 300 {
		r.entry(pipe, "direct", target, fmt.Sprintf(`{"n":%d,"pad":"%s"}`, i, pad))
	}
	if _, err := pipe.Exec(ctx); err != nil {
		t.Fatal(err)
	}
	eventually(t, patience, "it lags", func() error {
		if g.metric("sluice_gateway_lagging_total") == 0 {
			return fmt.Errorf("it does not")
		}
		return nil
	})
	c.resume()
	c.mustHave(patience, target, 0, 300)
}

// TestStreamIsRenewed: the session of a stream, which answers no pings, is renewed as long as it takes the comments. These are no
// frames of the client, and count for none of its limits.
func TestStreamIsRenewed(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(c *config) { c.SessionTTL = 2 * time.Second })
	g := r.gateway(limited(limits.Config{FrameRate: 1, UserFrameRate: 1}), func(c *gateway.Config) { c.PingInterval = 100 * time.Millisecond })
	r.worker()
	c := join(t, g, "anna", byStream)
	begin := time.Now()
	for n := 0; time.Since(begin) < 2*r.cfg.SessionTTL; n++ {
		r.add("direct", "user:anna", n, 1)
		c.waitEvents(patience, "user:anna", n+1)
	}
}

// TestStreamEnds: what ends a connection is said on the stream.
func TestStreamEnds(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	const secret = "a secret of at least 32 bytes, for tests"
	g := r.gateway(func(c *gateway.Config) { c.Auth = auth.Config{Mode: auth.ModeJWT, JWTSecret: secret} })
	c := dial(t, g, "anna", byStream, token(secret, "anna", time.Now().Add(3*time.Second)))
	c.waitSubscribed("all")
	if code := c.waitClose(patience); code != wire.CloseExpired {
		t.Errorf("an expired token ends it with %d", code)
	}
	c = join(t, g, "anna", byStream, token(secret, "anna", time.Now().Add(time.Hour)))
	go g.stop()
	f := c.wait("goaway", func(f frame) bool { return f.Type == "goaway" })
	if code := c.waitClose(patience); code != wire.CloseRestart {
		t.Errorf("a drain ends it with %d", code)
	}
	if _, retry := c.es.state(); retry != fmt.Sprint(f.AfterMs) {
		t.Errorf("retry is %s, the frame says %d", retry, f.AfterMs)
	}
}

// TestStreamRefused: what stays refused is a status, so that a browser does not try for ever; what may be otherwise for
// other targets is said on the stream.
func TestStreamRefused(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	g := r.gateway(func(c *gateway.Config) { c.StreamTargets = 4 })
	for _, c := range []struct {
		name, token, origin string
		status              int
		code                string
	}{
		{"no token", "", "", http.StatusUnauthorized, wire.CodeUnauthorized},
		{"a bad token", "nonsense", "", http.StatusUnauthorized, wire.CodeUnauthorized},
		{"another page", "dev:anna", "https://elsewhere.example", http.StatusForbidden, wire.CodeForbidden},
	} {
		d := &dialing{query: map[string][]string{}, header: http.Header{}}
		if c.token != "" {
			d.query.Set("token", c.token)
		}
		if c.origin != "" {
			d.header.Set("Origin", c.origin)
		}
		s, res := askStream(t, g, d, (&net.Dialer{}).DialContext) //nolint:bodyclose // it ends with the connection
		body, _ := io.ReadAll(res.Body)
		_ = s.nc.Close()
		if res.StatusCode != c.status || !strings.Contains(string(body), `"code":"`+c.code+`"`) {
			t.Errorf("%s: %d %s", c.name, res.StatusCode, body)
		}
	}
	c := dial(t, g, "anna", byStream, topics("a", "b", "c"))
	c.waitSubscribed("topic:b")
	c.wait("too many", func(f frame) bool {
		return f.Type == "error" && f.Code == wire.CodeTooMany && strings.Contains(f.Message, "topic:c")
	})
}

// TestStreamUnsubscribed: a device that has an event stream, on which it can say nothing, unsubscribes by a request to any gateway:
// it does not come back with the target, nor when an ack comes later, of whatever was sent; and it may subscribe again.
func TestStreamUnsubscribed(t *testing.T) {
	t.Parallel()
	r := newRig(t, onePartition)
	g1, g2 := r.gateway(), r.gateway()
	w := r.worker()
	device := func(d *dialing) { d.query.Set("device", "tv"); d.query.Set("resume", "device") }
	post := func(path, body string) {
		t.Helper()
		q, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+g2.addr+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		q.Header.Set("Authorization", "Bearer dev:alice")
		a, err := http.DefaultClient.Do(q)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = a.Body.Close() }()
		if text, _ := io.ReadAll(a.Body); a.StatusCode != http.StatusOK {
			t.Fatalf("%s: %d %s", path, a.StatusCode, text)
		}
	}
	c := join(t, g1, "alice", byStream, device, topics("left", "kept"))
	ahead := fmt.Sprintf("%d-0", time.Now().Add(time.Hour).UnixMilli()) // above the clock
	r.rdb.XAdd(ctx, &redis.XAddArgs{Stream: r.key("topic:left", "events"), ID: ahead, Values: []any{"to", "topic:left", "data", "0"}})
	c.waitEvents(patience, "topic:left", 1)
	c.kill()
	post("/v1/unsubscribe", `{"device":"tv","to":"topic:left"}`)
	post("/v1/acks", `{"device":"tv","acks":[{"to":"topic:left","id":"`+c.last("topic:left")+`"}]}`)
	eventually(t, patience, "the ack has arrived", func() error {
		if n := w.metric("sluice_worker_acks_total"); n != 1 {
			return fmt.Errorf("%v", n)
		}
		return nil
	})
	r.add("direct", "topic:left", 0, 2)
	r.add("direct", "topic:kept", 0, 2)
	c = join(t, g1, "alice", byStream, device)
	c.mustHave(patience, "topic:kept", 0, 2)
	if frames := c.all("topic:left"); len(frames) > 0 {
		t.Errorf("it has come back to %+v", frames[0])
	}
	c.kill()
	join(t, g1, "alice", byStream, device, topics("left")).kill()
	r.add("direct", "topic:left", 2, 2)
	join(t, g1, "alice", byStream, device).mustHave(patience, "topic:left", 2, 4)
}
