package socket

import (
	"bytes"
	"context"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// ways are the implementations that every test runs with; true: goroutines.
var ways = map[string]bool{"goroutines": true}

// each runs a test with every implementation. After it nothing of the group may be
// left.
func each(t *testing.T, test func(t *testing.T, o Options)) {
	for name, goroutines := range ways {
		t.Run(name, func(t *testing.T) {
			before := goleak.IgnoreCurrent()
			t.Cleanup(func() { goleak.VerifyNone(t, before) })
			test(t, Options{
				MaxMessage: 1 << 20, QueueBytes: 64 << 10, PingInterval: 25 * time.Second, CloseTimeout: 2 * time.Second,
				goroutines: goroutines,
			})
		})
	}
}

// server upgrades whoever comes.
type server struct {
	t         testing.TB
	group     *Group
	addr      string
	peers     chan *peer
	before    func(*peer) // called before Start
	strangers atomic.Bool // the sockets that come are nobody's yet
	abandon   bool        // before has done it
	cancel    func()      // ends Run
	stop      func()
}

// peer is the server's side of a client. It checks the promises of Handler.
type peer struct {
	*Conn
	t         testing.TB
	onMessage func(p *peer, data []byte)
	drained   chan struct{}
	onDrained func()
	code      int
	pongs     atomic.Int32
	noPongs   atomic.Bool // Ping refuses
	messages  atomic.Int32
	reading   atomic.Bool
	telling   atomic.Bool
	closed    atomic.Bool
}

func (p *peer) enter() {
	if !p.reading.CompareAndSwap(false, true) {
		p.t.Error("the handler is called twice at once")
	}
	if p.closed.Load() {
		p.t.Error("the handler is called after Closed")
	}
}

func (p *peer) Early(begin []byte) bool {
	p.enter()
	defer p.reading.Store(false)
	if len(begin) != maxUnknown {
		p.t.Errorf("the begin of a message has %d bytes", len(begin))
	}
	if bytes.HasPrefix(begin, []byte("mine")) {
		p.Known()
		return true
	}
	return bytes.HasPrefix(begin, []byte("later"))
}

func (p *peer) Message(data []byte) {
	p.enter()
	defer p.reading.Store(false)
	p.messages.Add(1)
	if p.onMessage != nil {
		p.onMessage(p, data)
	}
}

func (p *peer) Ping() bool {
	p.enter()
	defer p.reading.Store(false)
	return !p.noPongs.Load()
}

func (p *peer) Pong() {
	if !p.framing.hears { // it may come beside everything
		p.pongs.Add(1)
		return
	}
	p.enter()
	defer p.reading.Store(false)
	p.pongs.Add(1)
}

func (p *peer) Drained() {
	if !p.telling.CompareAndSwap(false, true) || p.closed.Load() {
		p.t.Error("Drained is called twice at once, or after Closed")
	}
	if p.onDrained != nil {
		p.onDrained()
	}
	select {
	case p.drained <- struct{}{}:
	default:
	}
	p.telling.Store(false)
}

func (p *peer) Closed(code int) {
	p.enter()
	defer p.reading.Store(false)
	if p.telling.Load() {
		p.t.Error("Closed is called during Drained")
	}
	p.code = code
	p.closed.Store(true)
}

// ended waits for Closed and returns its code.
func (p *peer) ended() int {
	p.t.Helper()
	select {
	case <-p.Done():
	case <-time.After(patience):
		p.t.Fatal("the socket does not end")
	}
	if !p.closed.Load() {
		p.t.Error("done before Closed")
	}
	return p.code
}

// echo sends back what came. What came before may still count as waiting though the client has it.
func echo(p *peer, data []byte) {
	for !p.Send(serverText(data)) {
		select {
		case <-p.drained:
		case <-time.After(patience):
			p.t.Error("an echo was refused")
			return
		}
	}
}

// bounding bounds what the kernel keeps, as who accepts has to.
type bounding struct {
	net.Listener
	group *Group
}

func (b bounding) Accept() (net.Conn, error) {
	nc, err := b.Listener.Accept()
	if err == nil {
		b.group.Bound(nc)
	}
	return nc, err
}

// serve starts a server; it is stopped at the end of the test.
func serve(t testing.TB, o Options, onMessage func(*peer, []byte)) *server {
	t.Helper()
	return serveOn(t, o, onMessage, func(l net.Listener) net.Listener { return wrapping{l} })
}

func serveOn(t testing.TB, o Options, onMessage func(*peer, []byte), accepts func(net.Listener) net.Listener) *server {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &server{t: t, group: NewGroup(o), addr: l.Addr().String(), peers: make(chan *peer, 1)}
	var handlers sync.WaitGroup
	hs := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		handlers.Add(1)
		defer handlers.Done()
		upgrade := func() (*Conn, error) { return s.group.Upgrade(w, r, "") }
		if r.URL.Path == "/stream" {
			w.Header().Set("X-More", "yes")
			upgrade = func() (*Conn, error) { return s.group.Stream(w) }
		}
		c, err := upgrade()
		if err != nil {
			return
		}
		p := &peer{Conn: c, t: t, onMessage: onMessage, drained: make(chan struct{}, 1)}
		c.Attach(p)
		if !s.strangers.Load() {
			c.Known()
		}
		if s.before != nil {
			s.before(p)
		}
		if !s.abandon {
			c.Start()
		}
		s.peers <- p
	})}
	ctx, cancel := context.WithCancel(context.Background())
	s.cancel = cancel
	var parts sync.WaitGroup
	parts.Go(func() { _ = hs.Serve(accepts(bounding{l, s.group})) })
	parts.Go(func() {
		if err := s.group.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	s.stop = sync.OnceFunc(func() {
		_ = hs.Close()
		handlers.Wait()
		cancel()
		done := make(chan struct{})
		go func() { defer close(done); parts.Wait(); s.group.Wait() }()
		select {
		case <-done:
		case <-time.After(patience):
			t.Error("the group does not end")
		}
	})
	t.Cleanup(s.stop)
	return s
}

// connect makes a client and gives its peer.
func (s *server) connect(buffer int) (*client, *peer) {
	s.t.Helper()
	c := dial(s.t, s.addr, buffer)
	select {
	case p := <-s.peers:
		return c, p
	case <-time.After(patience):
		s.t.Fatal("no socket came of the handshake")
		return nil, nil
	}
}

// until waits for a condition.
func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("in vain waited for: " + what)
		}
	}
}
