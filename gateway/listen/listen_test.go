package listen

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

const patience = 10 * time.Second

// server answers every request with the client's address, behind a Listener.
type server struct {
	t    *testing.T
	l    *Listener
	addr string

	mu      sync.Mutex
	refused map[string]int
	log     bytes.Buffer
}

func (s *server) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.log.Write(p)
}

func (s *server) said() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.log.String()
}

func (s *server) count(reason string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.refused[reason]
}

func serve(t *testing.T, o Options, wrap func(net.Listener) net.Listener) *server {
	t.Helper()
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &server{t: t, addr: inner.Addr().String(), refused: map[string]int{}}
	if wrap != nil {
		inner = wrap(inner)
	}
	if o.RequestTimeout == 0 {
		o.RequestTimeout = patience
	}
	o.Log = slog.New(slog.NewTextHandler(s, nil))
	o.Refused = func(reason string, _ netip.Addr) {
		s.mu.Lock()
		s.refused[reason]++
		s.mu.Unlock()
	}
	s.l = New(inner, o)
	hs := &http.Server{
		MaxHeaderBytes: MaxHeader, ReadHeaderTimeout: o.RequestTimeout, ConnContext: Context, ConnState: State,
		Handler: Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			c := Of(r)
			if r.URL.Path == "/known" {
				c.Known()
			}
			body, _ := io.ReadAll(r.Body)
			_, _ = io.WriteString(w, c.Client(r).String()+" "+string(body))
		})),
	}
	done := make(chan error, 1)
	go func() { done <- hs.Serve(s.l) }()
	t.Cleanup(func() {
		_ = hs.Close()
		select {
		case err := <-done:
			if !errors.Is(err, http.ErrServerClosed) {
				t.Error(err)
			}
		case <-time.After(patience):
			t.Error("the server does not end")
		}
		until(t, "all are gone", func() bool {
			s.l.mu.Lock()
			defer s.l.mu.Unlock()
			return s.l.open == 0 && s.l.pending.n == 0
		})
	})
	return s
}

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("in vain waited for: " + what)
		}
	}
}

type client struct {
	t  *testing.T
	nc net.Conn
	br *bufio.Reader
}

func (s *server) dial() *client {
	s.t.Helper()
	nc, err := net.Dial("tcp", s.addr)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = nc.Close() })
	_ = nc.SetDeadline(time.Now().Add(patience))
	return &client{s.t, nc, bufio.NewReader(nc)}
}

func (c *client) send(text string) { _, _ = io.WriteString(c.nc, text) }

func (c *client) answer() (status int, body string) {
	c.t.Helper()
	r, err := http.ReadResponse(c.br, nil)
	if err != nil {
		c.t.Fatal("no answer: ", err)
	}
	b, _ := io.ReadAll(r.Body)
	_ = r.Body.Close()
	return r.StatusCode, string(b)
}

func (c *client) want(status int, body string) {
	c.t.Helper()
	if got, text := c.answer(); got != status || !strings.Contains(text, body) {
		c.t.Errorf("got %d %q, want %d %q", got, text, status, body)
	}
}

// closed reports whether the server has closed the connection.
func (c *client) closed() bool {
	_, err := io.Copy(io.Discard, c.br) // a last answer may come before the end
	return !errors.Is(err, os.ErrDeadlineExceeded)
}

// TestRequests: requests are as without the gate, in one piece and in many, several on one
// connection, with bodies.
func TestRequests(t *testing.T) {
	s := serve(t, Options{}, nil)
	c := s.dial()
	for range 3 {
		c.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody")
		c.want(200, "127.0.0.1 body")
		for _, piece := range []string{"GE", "T / HTTP/1.1\r", "\nHost: x\r\n", "A: b\r\n\r", "\n"} {
			c.send(piece)
			time.Sleep(time.Millisecond)
		}
		c.want(200, "127.0.0.1")
		c.send("GET / HTTP/1.1\nHost: x\n\nGET / HTTP/1.1\r\nHost: y\r\n\r\n") // two at once
		c.want(200, "127.0.0.1")
		c.want(200, "127.0.0.1")
	}
	c.send("nonsense\r\n\r\n")
	c.want(400, "")
}

// TestBodyIsNoHeader: the body of a request that came together with the one before it is not taken for the header of another.
func TestBodyIsNoHeader(t *testing.T) {
	for name, body := range map[string]string{
		"one line": strings.Repeat("x", 6000), "many lines": strings.Repeat("line\n", 1200), "a long one": strings.Repeat("x", 3*MaxHeader),
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, Options{Config: Config{RequestTimeout: patience / 2}}, nil)
			c := s.dial()
			begin := time.Now()
			for range 2 {
				c.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n" + fmt.Sprintf("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", len(body), body) +
					"GET / HTTP/1.1\r\nHost: y\r\n\r\n")
				c.want(200, "127.0.0.1")
				c.want(200, body)
				c.want(200, "127.0.0.1")
			}
			if took := time.Since(begin); took > patience/4 {
				t.Errorf("it took %v", took)
			}
		})
	}
}

// TestHeadersAreBounded in bytes and in lines, also behind a first request.
func TestHeadersAreBounded(t *testing.T) {
	for name, header := range map[string]string{
		"one long line":    "GET /?topics=" + strings.Repeat(",", 60_000) + " HTTP/1.1\r\nHost: x\r\n\r\n",
		"many short lines": "GET / HTTP/1.1\r\n" + strings.Repeat("a:\r\n", 5000),
		"only just":        "GET / HTTP/1.1\r\nA: " + strings.Repeat("x", MaxHeader),
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, Options{}, nil)
			c := s.dial()
			c.send(header)
			c.want(431, "")
			c = s.dial()
			c.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
			c.want(200, "")
			c.send(header)
			c.want(431, "")
			if n := s.count(ReasonHeader); n != 2 {
				t.Errorf("counted %d times", n)
			}
		})
	}
	s := serve(t, Options{}, nil)
	c := s.dial()
	c.send("GET / HTTP/1.1\r\nHost: x\r\nA: " + strings.Repeat("x", MaxHeader-100) + "\r\n\r\n")
	c.want(200, "")
}

// TestUnfinishedHeaderIsHeld: net/http sees nothing of a header before it is whole.
func TestUnfinishedHeaderIsHeld(t *testing.T) {
	ours, theirs := net.Pipe()
	defer func() { _ = ours.Close() }()
	l := New(nil, Options{Refused: func(string, netip.Addr) {}})
	c := &Conn{Conn: theirs, listener: l, gated: true}
	got := make(chan string, 10)
	go func() {
		defer close(got)
		b := make([]byte, 4096)
		for {
			n, err := c.Read(b)
			if err != nil {
				return
			}
			got <- string(b[:n])
		}
	}()
	for _, piece := range []string{"GET / HTTP/1.1\r\n", "A: b\r\n", "C: d\r\n"} {
		_, _ = io.WriteString(ours, piece)
	}
	select {
	case text := <-got:
		t.Fatalf("handed on before the end: %q", text)
	default:
	}
	_, _ = io.WriteString(ours, "\r\nrest")
	if text := <-got; text != "GET / HTTP/1.1\r\nA: b\r\nC: d\r\n\r\nrest" {
		t.Errorf("handed on %q", text)
	}
	_, _ = io.WriteString(ours, "more")
	if text := <-got; text != "more" {
		t.Errorf("behind the header: %q", text)
	}
	_ = ours.Close()
	<-got
}

// TestSlowHeaderEnds also on a connection that has had a request.
func TestSlowHeaderEnds(t *testing.T) {
	s := serve(t, Options{Config: Config{RequestTimeout: 100 * time.Millisecond}}, nil)
	fresh, used := s.dial(), s.dial()
	used.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	used.want(200, "")
	for _, c := range []*client{fresh, used} {
		c.send("GET / HTTP/1.1\r\nHost")
		if !c.closed() {
			t.Error("a header that does not come is waited for without end")
		}
	}
}

// TestOldestStrangerGoes: strangers beyond the bound go in the order in which they came;
// who is known stays.
func TestOldestStrangerGoes(t *testing.T) {
	s := serve(t, Options{Config: Config{MaxPending: 3}}, nil)
	known := s.dial()
	known.send("GET /known HTTP/1.1\r\nHost: x\r\n\r\n")
	known.want(200, "")
	var strangers []*client
	for range 3 {
		strangers = append(strangers, s.dial())
		strangers[len(strangers)-1].send("GET / HT")
	}
	until(t, "they are counted", func() bool { return s.l.Pending() == 3 })
	newcomer := s.dial()
	newcomer.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	newcomer.want(200, "")
	if !strangers[0].closed() {
		t.Error("the oldest is still there")
	}
	for _, c := range append(strangers[1:], known) {
		if c != known {
			c.send("TP/1.1\r\nHost: x\r\n\r\n")
		} else {
			c.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		}
		c.want(200, "")
	}
	if s.count(ReasonPending) != 1 || !strings.Contains(s.said(), "no token") {
		t.Errorf("counted %d, said %s", s.count(ReasonPending), s.said())
	}
}

// TestFull: what descriptors allow no more is refused, and said.
func TestFull(t *testing.T) {
	s := serve(t, Options{Files: reserve + 6}, nil)
	if s.l.Most() != 2 {
		t.Fatalf("%d connections", s.l.Most())
	}
	var last *client
	for range 2 {
		last = s.dial()
		last.send("GET /known HTTP/1.1\r\nHost: x\r\n\r\n")
		last.want(200, "")
	}
	s.dial().want(503, "as many connections")
	if s.count(ReasonFull) != 1 || !strings.Contains(s.said(), "ulimit") {
		t.Errorf("counted %d, said %s", s.count(ReasonFull), s.said())
	}
	_ = last.nc.Close()
	until(t, "there is room again", func() bool { s.l.mu.Lock(); defer s.l.mu.Unlock(); return s.l.open == 1 })
	c := s.dial()
	c.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	c.want(200, "")
}

// short has no descriptors for a while.
type short struct {
	net.Listener
	times int
}

func (s *short) Accept() (net.Conn, error) {
	if s.times--; s.times >= 0 {
		return nil, &net.OpError{Op: "accept", Err: syscall.EMFILE}
	}
	return s.Listener.Accept()
}

// TestShortageIsSaid once, counted each time, and survived.
func TestShortageIsSaid(t *testing.T) {
	s := serve(t, Options{}, func(l net.Listener) net.Listener { return &short{l, 4} })
	c := s.dial()
	c.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	c.want(200, "")
	if n := s.count(ReasonFiles); n != 4 {
		t.Errorf("counted %d times", n)
	}
	if n := strings.Count(s.said(), "too many open files"); n != 1 {
		t.Errorf("said %d times: %s", n, s.said())
	}
}

// TestDetach: a connection that was taken over counts until it is said to be gone.
func TestDetach(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := New(inner, Options{Config: Config{MaxPending: 10}, Refused: func(string, netip.Addr) {}, Log: slog.New(slog.DiscardHandler)})
	defer func() { _ = l.Close() }()
	nc, err := net.Dial("tcp", inner.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = nc.Close() }()
	accepted, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	c := accepted.(*Conn)
	c.Gone() // it was not detached: the server closes it
	if l.open != 1 || l.Pending() != 1 {
		t.Errorf("%d open, %d pending", l.open, l.Pending())
	}
	own, ok := c.Detach()
	if _, is := own.(*net.TCPConn); !ok || !is {
		t.Errorf("got %T, %v", own, ok)
	}
	_ = own.Close()
	evicted := false
	if !c.OnEvict(func() { evicted = true }) {
		t.Error("it was not evicted")
	}
	if _ = c.Close(); l.open != 1 {
		t.Error("the server does not end what it gave away")
	}
	c.since = c.since.Add(-2 * grace)
	if l.evict(true); !evicted || l.Pending() != 0 || c.OnEvict(nil) {
		t.Error("it was evicted, and should know")
	}
	c.Gone()
	c.Gone()
	if l.open != 0 {
		t.Errorf("%d are open", l.open)
	}
	known := l.enter(own)
	if known.Known() {
		t.Error("who is not detached is needed")
	}
	_, _ = known.Detach()
	if !known.Known() || known.Known() {
		t.Error("who is known and detached is over, once")
	}
	if known.Gone(); l.open != 1 {
		t.Error("its place was given up twice")
	}
	if l.Gone(); l.open != 0 {
		t.Errorf("%d are open", l.open)
	}
}
