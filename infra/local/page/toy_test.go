package page

import (
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

type frame = map[string]any

// toy is a WebSocket server that knows just enough of the protocol to lead the page through it, and that does
// what it is told: trim, drain, close, keep silent. It serves one connection at a time and knows one user.
type toy struct {
	mu        sync.Mutex
	handlers  sync.WaitGroup
	conn      *websocket.Conn
	wanted    map[string]bool    // targets of the living connection
	history   map[string][]frame // events of each target, oldest first
	trimmed   map[string]string  // target: last id that was trimmed away
	seq       int
	connects  []frame // every connect frame that came
	publishes []frame // every publish frame that came
	mute      bool    // publishes are taken and not answered
}

func newToy() *toy { return &toy{history: map[string][]frame{}, trimmed: map[string]string{}} }

func (s *toy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.handlers.Add(1)
	defer s.handlers.Done()
	up := websocket.Upgrader{Subprotocols: []string{"sluice.v1.json"}}
	c, err := up.Upgrade(w, r, nil) // the default CheckOrigin wants the page's own host, as the gateway does
	if err != nil {
		return
	}
	defer func() { _ = c.Close() }()
	for {
		var f frame
		if c.ReadJSON(&f) != nil {
			s.do(func() {
				if s.conn == c {
					s.conn, s.wanted = nil, nil
				}
			})
			return
		}
		s.handle(c, f)
	}
}

func (s *toy) handle(c *websocket.Conn, f frame) {
	s.mu.Lock()
	defer s.mu.Unlock()
	to, _ := f["to"].(string)
	switch f["type"] {
	case "connect":
		s.conn, s.wanted = c, map[string]bool{}
		s.connects = append(s.connects, f)
		s.send(frame{"type": "welcome", "conn": "c1", "server": "toy-1", "user": "alice", "ping_ms": 25000, "limits": frame{"data": 65536}})
		resume, _ := f["resume"].(map[string]any)
		for target, id := range resume {
			s.subscribe(target, id.(string), nil)
		}
		for _, target := range []string{"user:alice", "all"} {
			if !s.wanted[target] {
				s.subscribe(target, "", nil)
			}
		}
	case "subscribe":
		after, _ := f["after"].(string)
		s.subscribe(to, after, f["ref"])
	case "unsubscribe":
		delete(s.wanted, to)
		s.send(frame{"type": "unsubscribed", "ref": f["ref"], "to": to})
	case "publish":
		s.publishes = append(s.publishes, f)
		if !s.mute {
			id := s.append(to, f["data"], frame{"event": f["event"], "from": "user:alice"})
			s.send(frame{"type": "published", "ref": f["ref"], "to": to, "id": id, "duplicate": false})
		}
	case "ping":
		s.send(frame{"type": "pong"})
	}
}

// subscribe answers as the gateway does: what cannot be had, the subscription, what was missed.
func (s *toy) subscribe(to, after string, ref any) {
	s.wanted[to] = true
	position := s.newest(to)
	recovered := after != ""
	if t := s.trimmed[to]; after != "" && after < t {
		s.send(frame{"type": "gap", "to": to, "after": after, "oldest": t, "position": position, "reason": "trimmed"})
		recovered = false
	}
	answer := frame{"type": "subscribed", "to": to, "position": position, "recovered": recovered}
	if ref != nil {
		answer["ref"] = ref
	}
	s.send(answer)
	for _, e := range s.history[to] {
		if recovered && e["id"].(string) > after {
			s.send(e)
		}
	}
}

func (s *toy) newest(to string) string {
	if h := s.history[to]; len(h) > 0 {
		return h[len(h)-1]["id"].(string)
	}
	return "0"
}

// append adds an event and delivers it to the living connection. Its id holds the time, as Redis makes them; all ids
// have one length, so text compares as numbers do.
func (s *toy) append(to string, data any, more frame) string {
	s.seq++
	e := frame{"type": "event", "to": to, "id": fmt.Sprintf("%d-%05d", time.Now().UnixMilli(), s.seq), "prev": s.newest(to), "event": "message", "data": data}
	for k, v := range more {
		e[k] = v
	}
	s.history[to] = append(s.history[to], e)
	if s.wanted[to] {
		s.send(e)
	}
	return e["id"].(string)
}

func (s *toy) send(f frame) {
	if s.conn != nil {
		_ = s.conn.WriteJSON(f) // fails when the page has left, which the reader sees
	}
}

// do runs one action of the test on the server's state.
func (s *toy) do(action func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	action()
}

// add is an XADD by somebody else: it returns the event's id.
func (s *toy) add(to string, data any) (id string) {
	s.do(func() { id = s.append(to, data, nil) })
	return id
}

// trim forgets all but the newest event of a target.
func (s *toy) trim(to string) {
	s.do(func() {
		h := s.history[to]
		s.trimmed[to] = h[len(h)-2]["id"].(string)
		s.history[to] = h[len(h)-1:]
	})
}

// end closes the living connection with a code, after the frames given.
func (s *toy) end(code int, frames ...frame) {
	s.do(func() {
		for _, f := range frames {
			s.send(f)
		}
		_ = s.conn.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(code, "as told"), time.Now().Add(time.Second))
		s.conn, s.wanted = nil, nil
	})
}

// vanish drops the TCP connection without a close frame: the page sees 1006.
func (s *toy) vanish() {
	s.do(func() {
		_ = s.conn.UnderlyingConn().Close()
		s.conn, s.wanted = nil, nil
	})
}

// resumes returns the resume maps of all connects so far; nil for a connect without one.
func (s *toy) resumes() (all []frame) {
	s.do(func() {
		for _, c := range s.connects {
			r, _ := c["resume"].(map[string]any)
			all = append(all, r)
		}
	})
	return all
}

// await waits until what is asked, under the server's lock, is true.
func (s *toy) await(t *testing.T, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for tick := time.Tick(5 * time.Millisecond); ; <-tick {
		done := false
		s.do(func() { done = ok() })
		if done {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("the server waits in vain")
		}
	}
}
