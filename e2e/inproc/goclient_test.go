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
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"sluice/gateway"
	"sluice/gateway/auth"
	sluice "sluice/shared/client"
	backend "sluice/shared/producer"
	"sluice/shared/wire"
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

// TestGoClient: events arrive in order and once, whatever happens to the link and the gateways.
func TestGoClient(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	g1, g2, _, _ := r.pair()
	c := newGoClient(t, g1, "alice")
	const target = "topic:links"
	got := c.collect(target)
	for n := 0; n < 60; n += 10 {
		r.add("direct", target, n, 5)
		c.road.lead([]*gatewayProcess{g1, g2}[n/10%2])
		c.road.cut()
		r.add("direct", target, n+5, 5)
		got.want(0, n+9)
	}
	_, resumed, gaps, errs := c.told()
	if len(resumed) < 5 || slices.ContainsFunc(resumed, func(r sluice.Resumed) bool { return !r.Recovered }) || len(gaps)+len(errs) > 0 {
		t.Errorf("resumed %v, gaps %v, errors %v", resumed, gaps, errs)
	}

	// A message that gets lost on its way is a hole, and mends itself.
	before := c.Stats().Holes
	c.road.mu.Lock()
	c.road.lose = `"data":62`
	c.road.mu.Unlock()
	for n := 60; n < 65; n++ {
		r.add("direct", target, n, 1)
	}
	got.want(0, 64)
	if n := c.Stats().Holes; n != before+1 {
		t.Errorf("%d holes", n-before)
	}

	// A gateway that dies.
	c.road.lead(g1)
	c.road.cut()
	r.add("direct", target, 65, 1)
	got.want(0, 65)
	c.road.lead(g2)
	g1.crash()
	c.road.cut()
	r.add("direct", target, 66, 5)
	got.want(0, 70)
}

// TestGoClientDarkLink: a link that says nothing any more is found dead.
func TestGoClientDarkLink(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.worker()
	g := r.gateway(fastPing)
	c := newGoClient(t, g, "alice")
	got := c.collect("topic:dark")
	c.road.darken(true)
	r.add("direct", "topic:dark", 0, 3)
	got.want(0, 2)
	waits, resumed, _, _ := c.told()
	var closed *sluice.CloseError
	if len(waits) == 0 || !errors.As(waits[0].Err, &closed) || closed.Reason != "the link is dead" || len(resumed) != 1 {
		t.Errorf("%v, %v", waits, resumed)
	}
}

// TestGoClientGoaway: a gateway that stops sends its clients to another one.
func TestGoClientGoaway(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	g1, g2, _, _ := r.pair()
	// Only goaway can bring it back in time.
	c := newGoClient(t, g1, "alice", func(o *sluice.Options) { o.MinBackoff, o.MaxBackoff = time.Hour, time.Hour })
	got := c.collect("topic:drain")
	r.add("direct", "topic:drain", 0, 1)
	got.want(0, 0)
	c.road.lead(g2)
	g1.stop()
	r.add("direct", "topic:drain", 1, 2)
	got.want(0, 2)
	waits, _, _, _ := c.told()
	var closed *sluice.CloseError
	if len(waits) != 1 || !errors.As(waits[0].Err, &closed) || closed.Code != wire.CloseRestart || waits[0].RetryIn > time.Second {
		t.Errorf("%+v", waits)
	}
}

// TestGoClientTokens: an expired token is asked for again; one that is refused ends Run.
func TestGoClientTokens(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.worker()
	const secret = "a secret of the tests, 32 bytes long"
	g := r.gateway(func(c *gateway.Config) { c.Auth = auth.Config{Mode: auth.ModeJWT, JWTSecret: secret} })
	sign := func(expires time.Time) string {
		d := &dialing{query: url.Values{}}
		token(secret, "alice", expires)(d)
		return d.query.Get("token")
	}
	c := newGoClient(t, g, "", func(o *sluice.Options) {
		ask := o.Token
		o.Token = func(ctx context.Context, expired bool) (string, error) {
			_, _ = ask(ctx, expired)
			if expired {
				return sign(time.Now().Add(time.Hour)), nil
			}
			return sign(time.Now().Add(-time.Hour)), nil
		}
	})
	got := c.collect("user:alice")
	r.add("direct", "user:alice", 0, 2)
	got.want(0, 1)
	c.mu.Lock()
	if !slices.Equal(c.expired, []bool{false, true}) {
		t.Errorf("asked for tokens: %v", c.expired)
	}
	c.mu.Unlock()
	soon, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var e *sluice.Error
	if _, err := c.Publish(soon, sluice.Publication{To: "all", Data: 1}); !errors.As(err, &e) || e.Code != wire.CodeForbidden {
		t.Errorf("a publish: %v", err)
	}

	refused, err := sluice.New(sluice.Options{URL: "http://" + g.addr, Token: func(context.Context, bool) (string, error) { return "nonsense", nil }})
	if err != nil {
		t.Fatal(err)
	}
	var closed *sluice.CloseError
	if err := refused.Run(ctx); !errors.As(err, &closed) || closed.Code != wire.CloseUnauthorized {
		t.Errorf("Run: %v", err)
	}
}

// TestGoClientGap: what is gone is told, once, before what follows.
func TestGoClientGap(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(c *config) { c.HistorySize = 20 })
	g, _, _, _ := r.pair()
	c := newGoClient(t, g, "alice", func(o *sluice.Options) { o.Retained = true })
	const target = "topic:gap"
	var got *numbersOf
	first := -1
	got = c.collect(target, sluice.OnGap(func(context.Context, *sluice.Gap) error {
		first = len(got.all())
		return nil
	}))
	r.add("direct", target, 0, 1)
	got.want(0, 0)
	c.road.lead(nil)
	c.road.cut()
	for n := 1; n < 300; n += 23 {
		r.add("direct", target, n, 23)
	}
	eventually(t, patience, "the last one is retained", func() error {
		last, err := r.rdb.XRevRangeN(ctx, r.key(target, "history"), "+", "-", 1).Result()
		if err != nil || len(last) == 0 || last[0].Values["data"] != "299" {
			return fmt.Errorf("there is %v, %w", last, err)
		}
		return nil
	})
	c.road.lead(g)
	eventually(t, patience, "the newest", func() error {
		if all := got.all(); all[len(all)-1] != 299 {
			return fmt.Errorf("there is %v", all)
		}
		return nil
	})
	all := got.all()
	_, resumed, gaps, _ := c.told()
	if len(gaps) != 1 || gaps[0].Reason != wire.GapTrimmed || first != 1 || len(all) < 20 || resumed[len(resumed)-1].Recovered {
		t.Errorf("gaps %+v before number %d, %v, %v", gaps, first, all, resumed)
	}
	for i, n := range all[1:] {
		if n != all[1]+i {
			t.Errorf("a hole behind the gap: %v", all)
		}
	}
}

// TestGoClientPublishes: they arrive once and in order, though links break, and answers get lost.
func TestGoClientPublishes(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	g, _, _, _ := r.pair()
	const target = "topic:published"
	got := newGoClient(t, g, "bob").collect(target)
	c := newGoClient(t, g, "alice")
	eventually(t, patience, "connected", func() error {
		if c.User() == "" {
			return errors.New("it is not")
		}
		return nil
	})
	c.road.darken(false) // the answers do not come
	var pending []*sluice.Pending
	for n := range 30 {
		p, err := c.Send(sluice.Publication{To: target, Data: n, Event: "count"})
		if err != nil {
			t.Fatal(err)
		}
		pending = append(pending, p)
	}
	got.want(0, 0)
	c.road.cut()
	ids := map[wire.ID]bool{}
	for n, p := range pending {
		soon, cancel := context.WithTimeout(ctx, patience)
		done, err := p.Wait(soon)
		cancel()
		if err != nil || (n == 0 && !done.Duplicate) {
			t.Fatalf("number %d: %+v, %v", n, done, err)
		}
		ids[done.ID] = true
		if n%10 == 9 {
			c.road.cut()
		}
	}
	got.want(0, 29)
	if len(ids) != 30 {
		t.Errorf("%d ids", len(ids))
	}
}

// TestGoClientDevice: a device goes on where it acknowledged, with nothing kept.
func TestGoClientDevice(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	g1, g2, _, _ := r.pair()
	const target = "topic:device"
	phone := func(o *sluice.Options) { o.Device = "phone-1" }
	cursor := func() string {
		return r.rdb.HGet(ctx, r.keyOf(wire.Partition("user:alice", r.cfg.Partitions), "cursor")+":user:alice", "phone-1 "+target).Val()
	}
	first := newGoClient(t, g1, "alice", phone)
	got := first.collect(target)
	begin := cursor()
	r.add("direct", target, 0, 2)
	got.want(0, 1)
	if err := first.end(); err != nil {
		t.Fatal(err)
	}
	eventually(t, patience, "the cursor moves", func() error {
		if c := cursor(); c == begin || c == "" || c == "0" {
			return fmt.Errorf("it is %q", c)
		}
		return nil
	})
	r.add("direct", target, 2, 3)

	second := newGoClient(t, g2, "alice", phone)
	got = second.collect(target)
	got.want(2, 4)
	got.sub.Unsubscribe()
	eventually(t, patience, "the cursor ends", func() error {
		if c := cursor(); !strings.HasSuffix(c, " ended") {
			return fmt.Errorf("it is %q", c)
		}
		return nil
	})
}

// TestProducerOverHTTP: a backend without Redis publishes by two gateways, of which one is killed and whose links break, and every event is
// there once and in order.
func TestProducerOverHTTP(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	g1, g2, _, _ := r.pair()
	const target, n = "topic:orders", 600
	got := newGoClient(t, g2, "bob").collect(target)
	way := &road{to: g1.addr}
	p, err := backend.New("http://"+g1.addr, backend.Options{
		Token:  func(context.Context) (string, error) { return "dev:shop", nil },
		Client: &http.Client{Transport: &http.Transport{DialContext: way.dialPlain}},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = p.Close() }()
	retries := 0
	b := backend.NewBuffer(p, backend.BufferOptions{Count: 50, OnRetry: func(error, time.Duration) { retries++ }})
	soon, cancel := context.WithTimeout(ctx, 3*patience)
	defer cancel()
	for i := range n {
		switch i {
		case n / 6, n / 3, n / 2:
			way.cut()
		case 2 * n / 3:
			way.lead(g2)
			g1.crash()
			way.cut()
		}
		if err := b.Add(soon, backend.Event{To: target, Data: strconv.AppendInt(nil, int64(i), 10)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Close(soon); err != nil {
		t.Fatal(err)
	}
	got.want(0, n-1)
	t.Logf("requests were repeated %d times", retries)
	r.noDead()
}
