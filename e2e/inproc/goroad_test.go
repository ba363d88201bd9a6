package inproc_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	sluice "sluice/shared/client"
)

// road is the way of Go clients to a gateway, which can be broken.
type road struct {
	mu    sync.Mutex
	to    string // address; "": it leads nowhere
	conns []*roadConn
	lose  string // the next message with this text is lost
}

func (r *road) dial(ctx context.Context, network, _ string) (net.Conn, error) {
	r.mu.Lock()
	to := r.to
	r.mu.Unlock()
	if to == "" {
		return nil, errors.New("no way")
	}
	c, err := (&net.Dialer{}).DialContext(ctx, network, to)
	if err != nil {
		return nil, err
	}
	rc := &roadConn{Conn: c, road: r, from: bufio.NewReader(c)}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.conns = append(r.conns, rc)
	return rc, nil
}

// dialPlain is dial for HTTP, which is no frames.
func (r *road) dialPlain(ctx context.Context, network, address string) (net.Conn, error) {
	c, err := r.dial(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return c.(*roadConn).Conn, nil
}

func (r *road) lead(g *gatewayProcess) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.to = ""; g != nil {
		r.to = g.addr
	}
}

func (r *road) each(f func(c *roadConn)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.conns {
		f(c)
	}
}

// cut breaks all connections.
func (r *road) cut() { r.each(func(c *roadConn) { _ = c.Close() }) }

// darken: nothing that the server says arrives on the connections that there are, and both: nor what the client says. Nobody
// is told.
func (r *road) darken(both bool) { r.each(func(c *roadConn) { c.dark, c.mute = true, both }) }

// roadConn hands a gateway's frames on, one by one.
type roadConn struct {
	net.Conn
	road       *road
	from       *bufio.Reader
	ready      []byte // to be read
	upgraded   bool
	dark, mute bool // guarded by road.mu
}

func (c *roadConn) Write(b []byte) (int, error) {
	c.road.mu.Lock()
	mute := c.mute
	c.road.mu.Unlock()
	if mute {
		return len(b), nil
	}
	return c.Conn.Write(b)
}

func (c *roadConn) Read(b []byte) (int, error) {
	for len(c.ready) == 0 {
		piece, err := c.next()
		if err != nil {
			return 0, err
		}
		c.road.mu.Lock()
		lost := c.road.lose != "" && bytes.Contains(piece, []byte(c.road.lose))
		if lost {
			c.road.lose = ""
		}
		if !lost && !c.dark {
			c.ready = piece
		}
		c.road.mu.Unlock()
	}
	n := copy(b, c.ready)
	c.ready = c.ready[n:]
	return n, nil
}

// next is a line of the handshake, or a frame.
func (c *roadConn) next() ([]byte, error) {
	if !c.upgraded {
		line, err := c.from.ReadBytes('\n')
		c.upgraded = string(line) == "\r\n"
		return line, err
	}
	head := make([]byte, 2, 10)
	if _, err := io.ReadFull(c.from, head); err != nil {
		return nil, err
	}
	size := int(head[1])
	if more := map[int]int{126: 2, 127: 8}[size]; more > 0 {
		head = head[:2+more]
		if _, err := io.ReadFull(c.from, head[2:]); err != nil {
			return nil, err
		}
		var n [8]byte
		copy(n[8-more:], head[2:])
		size = int(binary.BigEndian.Uint64(n[:])) //nolint:gosec // of a gateway of this test
	}
	frame := make([]byte, len(head)+size)
	_, err := io.ReadFull(c.from, frame[copy(frame, head):])
	return frame, err
}

// goClient is a sluice.Client that runs, and what it told.
type goClient struct {
	*sluice.Client
	t    testing.TB
	road *road
	end  func() error

	mu      sync.Mutex
	states  []sluice.State
	resumed []sluice.Resumed
	gaps    []sluice.Gap
	errs    []error
	expired []bool
}

func newGoClient(t testing.TB, g *gatewayProcess, user string, change ...func(*sluice.Options)) *goClient {
	t.Helper()
	c := &goClient{t: t, road: &road{to: g.addr}}
	note := func(f func()) {
		c.mu.Lock()
		defer c.mu.Unlock()
		f()
	}
	o := sluice.Options{
		URL: "http://" + g.addr, Dialer: &websocket.Dialer{NetDialContext: c.road.dial},
		MinBackoff: 10 * time.Millisecond, MaxBackoff: 100 * time.Millisecond,
		Token: func(_ context.Context, expired bool) (string, error) {
			note(func() { c.expired = append(c.expired, expired) })
			return "dev:" + user, nil
		},
		OnState:   func(s sluice.State) { note(func() { c.states = append(c.states, s) }) },
		OnResumed: func(r sluice.Resumed) { note(func() { c.resumed = append(c.resumed, r) }) },
		OnGap: func(_ context.Context, g *sluice.Gap) error {
			note(func() { c.gaps = append(c.gaps, *g) })
			return nil
		},
		OnError: func(err error) { note(func() { c.errs = append(c.errs, err) }) },
	}
	for _, f := range change {
		f(&o)
	}
	made, err := sluice.New(o)
	if err != nil {
		t.Fatal(err)
	}
	c.Client = made
	life, cancel := context.WithCancel(ctx)
	over := make(chan error, 1)
	go func() { over <- c.Run(life) }()
	c.end = sync.OnceValue(func() error {
		cancel()
		return <-over
	})
	t.Cleanup(func() {
		if err := c.end(); err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return c
}

// told are copies of what the client told.
func (c *goClient) told() (waits []sluice.State, resumed []sluice.Resumed, gaps []sluice.Gap, errs []error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.states {
		if s.Phase == sluice.Waiting {
			waits = append(waits, s)
		}
	}
	return waits, slices.Clone(c.resumed), slices.Clone(c.gaps), slices.Clone(c.errs)
}

// numbersOf is what a target gave, as numbers.
type numbersOf struct {
	t   testing.TB
	sub *sluice.Subscription
	mu  sync.Mutex
	got []int
}

// collect subscribes, and waits until the server has answered.
func (c *goClient) collect(target string, options ...sluice.SubscribeOption) *numbersOf {
	c.t.Helper()
	l := &numbersOf{t: c.t}
	sub, err := c.Subscribe(target, func(_ context.Context, e *sluice.Event) error {
		n, err := strconv.Atoi(string(e.Data))
		l.mu.Lock()
		defer l.mu.Unlock()
		l.got = append(l.got, n)
		return err
	}, options...)
	if err != nil {
		c.t.Fatal(err)
	}
	l.sub = sub
	soon, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if _, err := sub.Ready(soon); err != nil {
		c.t.Fatalf("%s: %v", target, err)
	}
	return l
}

func (l *numbersOf) all() []int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.got)
}

// want waits for the numbers from..to, and nothing else.
func (l *numbersOf) want(from, to int) {
	l.t.Helper()
	eventually(l.t, patience, fmt.Sprintf("numbers %d to %d", from, to), func() error {
		if got := l.all(); len(got) < to-from+1 {
			return fmt.Errorf("there is %v", got)
		}
		return nil
	})
	for i, n := range l.all() {
		if n != from+i || n > to {
			l.t.Fatalf("got %v, want %d to %d", l.all(), from, to)
		}
	}
}
