package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"
	"go.uber.org/goleak"

	"sluice/shared/client"
	"sluice/shared/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 20 * time.Second

// until waits on a condition. In a bubble that takes no time.
func until(t testing.TB, what string, reached func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !reached(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("in vain waited for: %s", what)
		}
	}
}

// pipes is a listener whose connections are pipes, for bubbles of synctest.
type pipes struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.done) })
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.TCPAddr{} }

func (p *pipes) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	here, there := net.Pipe()
	select {
	case p.conns <- there:
		return here, nil
	case <-p.done:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// server is a gateway whose words are the test's.
type server struct {
	t      testing.TB
	url    string
	dialer *websocket.Dialer
	limits map[string]any

	mu     sync.Mutex
	peers  []*peer
	refuse func(http.ResponseWriter) bool
}

// newServer is one over a real socket; piped is one in a bubble.
func newServer(t testing.TB) *server {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return serve(t, ln, "http://"+ln.Addr().String(), nil)
}

func piped(t testing.TB) *server {
	p := &pipes{conns: make(chan net.Conn), done: make(chan struct{})}
	return serve(t, p, "http://gateway", &websocket.Dialer{NetDialContext: p.dial})
}

// bubble runs a test in which time goes on when everybody waits.
func bubble(t *testing.T, f func(t *testing.T, s *server)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { f(t, piped(t)) })
}

func serve(t testing.TB, ln net.Listener, url string, dialer *websocket.Dialer) *server {
	s := &server{t: t, url: url, dialer: dialer, limits: map[string]any{"max_data_bytes": 1000, "max_message_bytes": 5000, "max_targets": 100}}
	h := &http.Server{Handler: http.HandlerFunc(s.upgrade), ReadHeaderTimeout: patience}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = h.Serve(ln)
	}()
	t.Cleanup(func() {
		_ = h.Close()
		<-done
		s.mu.Lock()
		peers := s.peers
		s.mu.Unlock()
		for _, p := range peers {
			_ = p.ws.Close()
			<-p.over
		}
	})
	return s
}

func (s *server) upgrade(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	refuse := s.refuse
	s.mu.Unlock()
	if refuse != nil && refuse(w) {
		return
	}
	u := websocket.Upgrader{Subprotocols: []string{"sluice.v1.json"}}
	ws, err := u.Upgrade(w, r, nil)
	if err != nil {
		s.t.Error(err)
		return
	}
	p := &peer{s: s, ws: ws, query: r.URL.RawQuery, over: make(chan struct{})}
	s.mu.Lock()
	s.peers = append(s.peers, p)
	s.mu.Unlock()
	go p.read()
}

// peer is one connection, from the server's side.
type peer struct {
	s     *server
	ws    *websocket.Conn
	query string
	over  chan struct{}

	mu     sync.Mutex
	frames []wire.ClientFrame
	err    error
}

func (p *peer) read() {
	defer close(p.over)
	for {
		_, msg, err := p.ws.ReadMessage()
		if err != nil {
			p.mu.Lock()
			p.err = err
			p.mu.Unlock()
			return
		}
		f, err := wire.ParseClientFrame(msg)
		if err != nil {
			p.s.t.Errorf("the client sent %s: %v", msg, err)
		}
		p.mu.Lock()
		p.frames = append(p.frames, f)
		p.mu.Unlock()
	}
}

// sent are the frames of a type that have come.
func (p *peer) sent(kind string) (found []wire.ClientFrame) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, f := range p.frames {
		if f.Type == kind {
			found = append(found, f)
		}
	}
	return found
}

// wait waits for the n-th frame of a type, from 1 on.
func (p *peer) wait(kind string, n int) wire.ClientFrame {
	p.s.t.Helper()
	until(p.s.t, fmt.Sprintf("%s number %d", kind, n), func() bool { return len(p.sent(kind)) >= n })
	return p.sent(kind)[n-1]
}

func (p *peer) say(frame any) {
	text, ok := frame.(string)
	if !ok {
		b, err := json.Marshal(frame)
		if err != nil {
			p.s.t.Fatal(err)
		}
		text = string(b)
	}
	_ = p.ws.WriteMessage(websocket.TextMessage, []byte(text)) // a client that has gone
}

type msg map[string]any

// event is number n of a target, behind prev.
func (p *peer) event(to string, n, prev int) {
	f := msg{"type": "event", "to": to, "event": "message", "data": n}
	if n > 0 {
		f["id"], f["prev"] = id(n), id(prev)
	}
	p.say(f)
}

func id(n int) string {
	if n == 0 {
		return "0"
	}
	return fmt.Sprintf("%d-0", n)
}

// subscribed answers the last subscribe of a target; there must be one.
func (p *peer) subscribed(to string, at int) {
	p.s.t.Helper()
	all := p.sent("subscribe")
	for i := len(all) - 1; i >= 0; i-- {
		if f := all[i]; f.To == to {
			p.say(msg{"type": "subscribed", "ref": f.Ref, "to": to, "position": id(at), "recovered": true})
			return
		}
	}
	p.s.t.Fatalf("%s was not asked for", to)
}

func (p *peer) close(code int, reason string) {
	_ = p.ws.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(code, reason), time.Now().Add(time.Second))
}

// peer waits for the n-th connection, from 0 on.
func (s *server) peer(n int) *peer {
	s.t.Helper()
	get := func() *peer {
		s.mu.Lock()
		defer s.mu.Unlock()
		if n < len(s.peers) {
			return s.peers[n]
		}
		return nil
	}
	for end := time.Now().Add(time.Hour); get() == nil; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			s.t.Fatalf("no connection number %d", n)
		}
	}
	return get()
}

func (s *server) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.peers)
}

// welcome lets the n-th connection in.
func (s *server) welcome(n int) *peer {
	s.t.Helper()
	p := s.peer(n)
	p.wait("connect", 1)
	p.say(msg{"type": "welcome", "conn": "c", "server": "s", "user": "alice", "ping_ms": 25_000, "limits": s.limits})
	return p
}

// running is a client that runs, and what it told.
type running struct {
	*client.Client
	t    testing.TB
	end  context.CancelFunc
	over chan error

	mu      sync.Mutex
	states  []client.State
	resumed []client.Resumed
	errs    []error
	tokens  []bool
}

// client makes a client of the server; change may be nil.
func (s *server) client(change func(*client.Options)) *running {
	s.t.Helper()
	r := s.prepared(change)
	r.run()
	return r
}

func (s *server) prepared(change func(*client.Options)) *running {
	s.t.Helper()
	r := &running{t: s.t, over: make(chan error, 1)}
	o := client.Options{
		URL: s.url, Dialer: s.dialer,
		Token: func(_ context.Context, expired bool) (string, error) {
			r.note(func() { r.tokens = append(r.tokens, expired) })
			return "token", nil
		},
		OnState:   func(s client.State) { r.note(func() { r.states = append(r.states, s) }) },
		OnResumed: func(x client.Resumed) { r.note(func() { r.resumed = append(r.resumed, x) }) },
		OnError:   func(err error) { r.note(func() { r.errs = append(r.errs, err) }) },
	}
	if change != nil {
		change(&o)
	}
	c, err := client.New(o)
	if err != nil {
		s.t.Fatal(err)
	}
	r.Client = c
	return r
}

func (r *running) run() {
	ctx, end := context.WithCancel(context.Background())
	r.end = end
	go func() { r.over <- r.Run(ctx) }()
	r.t.Cleanup(func() { _ = r.stop() })
}

// stop ends it and gives Run's error.
func (r *running) stop() error {
	r.end()
	err := <-r.over
	r.over <- err
	return err
}

// wait waits until Run has ended by itself.
func (r *running) wait() error {
	r.t.Helper()
	select {
	case err := <-r.over:
		r.over <- err
		return err
	case <-time.After(time.Hour):
		r.t.Fatal("Run did not end")
		return nil
	}
}

func (r *running) note(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f()
}

// waits are the states Waiting that it was in.
func (r *running) waits() (all []client.State) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.states {
		if s.Phase == client.Waiting {
			all = append(all, s)
		}
	}
	return all
}

func (r *running) errors() []error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.errs)
}

func (r *running) must(to string, h client.Handler, options ...client.SubscribeOption) *client.Subscription {
	r.t.Helper()
	s, err := r.Subscribe(to, h, options...)
	if err != nil {
		r.t.Fatal(err)
	}
	return s
}

// list is what handlers got.
type list struct {
	mu  sync.Mutex
	got []string
}

func (l *list) add(s string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.got = append(l.got, s)
}

func (l *list) all() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.got)
}

func (l *list) handler(_ context.Context, e *client.Event) error {
	l.add(string(e.Data))
	return nil
}

func (l *list) gap(_ context.Context, g *client.Gap) error {
	l.add(fmt.Sprintf("gap %s %v-%v", g.Reason, g.After, g.Position))
	return nil
}

func (l *list) want(t testing.TB, want ...string) {
	t.Helper()
	until(t, fmt.Sprintf("%q (there is %q)", want, l.all()), func() bool { return len(l.all()) >= len(want) })
	if got := l.all(); !slices.Equal(got, want) {
		t.Fatalf("got %q, want %q", got, want)
	}
}

func isCode(err error, code string) bool {
	var e *client.Error
	return errors.As(err, &e) && e.Code == code
}

var ctx = context.Background()

// soon bounds waits for answers, also in a bubble, where the deadline of the tests would not come.
func soon(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(ctx, time.Hour)
	t.Cleanup(cancel)
	return ctx
}
