package inproc_test

import (
	"bufio"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// proxy stands between a process and Redis.
type proxy struct {
	addr   string
	target string
	ln     net.Listener
	wg     sync.WaitGroup

	mu      sync.Mutex
	links   map[*link]struct{}
	nextID  int
	severed bool
	frozen  chan struct{} // not nil while frozen; closed when it thaws
	rules   []*rule
	watch   func(link int, f flight) // told of everything on its way to Redis
	swallow func(push []string) bool // which messages of a channel get lost
	// stuckPush, if not nil, holds the messages of channels back until it is closed.
	// Links that are made later are not concerned.
	stuckPush chan struct{}
	stuckUpTo int // id of the last link concerned

	weather  weather
	darkUpTo int // up to this link nothing arrives any more, and no end is told that the other has gone
}

// weather is what happens to all bytes.
type weather struct {
	delay   time.Duration    // of each burst
	pieces  bool             // they arrive a few at a time
	stalled [2]chan struct{} // they wait, of this way, until it is closed
}

// way is the direction of bytes.
type way int

const (
	toRedis way = iota
	fromRedis
)

// rule is a fault that happens once, to the first flight that matches.
type rule struct {
	match  func(flight) bool
	fault  fault
	before func(i int, c command) // of oneByOne
	after  int                    // matching flights that pass before
	hit    chan struct{}          // closed when it has happened
}

type fault int

const (
	loseReply fault = iota // Redis executes all of it, the replies are lost, and the link breaks
	freezeAt               // nothing passes from this flight on, it included, until thaw
	oneByOne               // each command waits for the reply of the one before
	cutBefore              // the link breaks, and Redis gets nothing
)

// link is one connection through the proxy.
type link struct {
	p              *proxy
	id             int
	client, server net.Conn

	mu      sync.Mutex
	cond    *sync.Cond
	replies int // that came from Redis
	lose    int // replies still to be lost
	lost    *rule
	over    bool
}

// newProxy makes a proxy in front of a Redis.
func newProxy(t testing.TB, target string) *proxy {
	t.Helper()
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{addr: ln.Addr().String(), target: target, ln: ln, links: make(map[*link]struct{})}
	p.wg.Add(1)
	go p.accept()
	t.Cleanup(func() {
		p.sever()
		p.wg.Wait()
	})
	return p
}

func (p *proxy) url() string { return "redis://" + p.addr }

func (p *proxy) accept() {
	defer p.wg.Done()
	for {
		c, err := p.ln.Accept()
		if err != nil {
			return
		}
		s, err := net.DialTimeout("tcp", p.target, 2*time.Second)
		if err != nil {
			_ = c.Close()
			continue
		}
		l := &link{p: p, client: c, server: s}
		l.cond = sync.NewCond(&l.mu)
		p.mu.Lock()
		if p.severed {
			p.mu.Unlock()
			l.cut()
			continue
		}
		p.nextID++
		l.id = p.nextID
		p.links[l] = struct{}{}
		p.wg.Add(2)
		p.mu.Unlock()
		go l.up()
		go l.down()
	}
}

// on adds a fault for the first flight that matches.
func (p *proxy) on(f fault, match func(flight) bool) *rule {
	r := &rule{match: match, fault: f, hit: make(chan struct{})}
	p.mu.Lock()
	p.rules = append(p.rules, r)
	p.mu.Unlock()
	return r
}

// between calls back before each command of the first flight that matches; the
// commands before it have been answered.
func (p *proxy) between(match func(flight) bool, before func(i int, c command)) *rule {
	r := &rule{match: match, fault: oneByOne, before: before, hit: make(chan struct{})}
	p.mu.Lock()
	p.rules = append(p.rules, r)
	p.mu.Unlock()
	return r
}

// wait waits until the fault has happened.
func (r *rule) wait(t testing.TB) {
	t.Helper()
	if _, ok := await(r.hit, patience); !ok {
		t.Fatalf("the fault did not happen within %v", patience)
	}
}

// record tells of every flight on its way to Redis.
func (p *proxy) record(watch func(link int, f flight)) {
	p.mu.Lock()
	p.watch = watch
	p.mu.Unlock()
}

// swallowPush sets which messages on channels get lost: args are "message", the
// channel and the payload. nil: none.
func (p *proxy) swallowPush(which func(args []string) bool) {
	p.mu.Lock()
	p.swallow = which
	p.mu.Unlock()
}

// freeze lets nothing pass any more, in both directions. Connections stay.
func (p *proxy) freeze() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.frozen == nil {
		p.frozen = make(chan struct{})
	}
}

// freezePush holds back what comes on channels, and only that.
func (p *proxy) freezePush() {
	stuck := make(chan struct{})
	p.mu.Lock()
	p.stuckPush, p.stuckUpTo = stuck, p.nextID
	p.mu.Unlock()
}

// thaw lets everything pass that was held back, also from clients that have gone.
func (p *proxy) thaw() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.frozen != nil {
		close(p.frozen)
		p.frozen = nil
	}
	if p.stuckPush != nil {
		close(p.stuckPush)
		p.stuckPush = nil
	}
	p.clear()
}

// clear makes the weather fine; p.mu is held.
func (p *proxy) clear() {
	for _, c := range p.weather.stalled {
		if c != nil {
			close(c)
		}
	}
	p.weather = weather{}
}

// change changes the weather.
func (p *proxy) change(w weather) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.clear()
	p.weather = w
}

// stall holds back everything of one way until the weather changes.
func (p *proxy) stall(d way) {
	w := weather{}
	w.stalled[d] = make(chan struct{})
	p.change(w)
}

// darken leaves both ends of all connections in the dark: nothing arrives any more.
func (p *proxy) darken() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.darkUpTo = p.nextID
}

func (l *link) dark() bool {
	l.p.mu.Lock()
	defer l.p.mu.Unlock()
	return l.id <= l.p.darkUpTo
}

// carry brings bytes over, through the weather. burst: they are the first after a while.
func (l *link) carry(d way, to net.Conn, b []byte, burst bool) error {
	l.p.mu.Lock()
	w := l.p.weather
	l.p.mu.Unlock()
	if l.dark() {
		return nil
	}
	if w.stalled[d] != nil {
		<-w.stalled[d]
	}
	if burst {
		time.Sleep(w.delay)
	}
	for len(b) > 0 {
		n := len(b)
		if w.pieces {
			n = min(n, 1+rand.IntN(40))
		}
		if _, err := to.Write(b[:n]); err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

// cut breaks all connections; new ones are possible.
func (p *proxy) cut() {
	p.mu.Lock()
	links := make([]*link, 0, len(p.links))
	for l := range p.links {
		links = append(links, l)
	}
	p.mu.Unlock()
	for _, l := range links {
		l.cut()
	}
}

// sever breaks everything for ever; what was held back is lost.
func (p *proxy) sever() {
	p.mu.Lock()
	p.severed = true
	p.mu.Unlock()
	_ = p.ln.Close()
	p.cut()
	p.thaw()
}

func (p *proxy) hold() {
	p.mu.Lock()
	frozen := p.frozen
	p.mu.Unlock()
	if frozen != nil {
		<-frozen
	}
}

// rule is the fault for a flight, if there is one.
func (p *proxy) rule(f flight) *rule {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, r := range p.rules {
		if !r.match(f) {
			continue
		}
		if r.after > 0 {
			r.after--
			continue
		}
		p.rules = append(p.rules[:i:i], p.rules[i+1:]...)
		return r
	}
	return nil
}

func (l *link) cut() {
	l.mu.Lock()
	l.over = true
	l.cond.Broadcast()
	l.mu.Unlock()
	_ = l.client.Close()
	_ = l.server.Close()
}

// The buffers of a link, and how many links there are: what heap does not count.
const linkUp, linkDown = 64 << 10, 16 << 10

var openLinks atomic.Int64

// up brings requests to Redis.
func (l *link) up() {
	defer l.p.wg.Done()
	openLinks.Add(1)
	defer openLinks.Add(-1)
	r := bufio.NewReaderSize(l.client, linkUp)
	for {
		f, err := readFlight(r)
		if len(f) > 0 && !l.forward(f) {
			l.cut()
			return
		}
		if err != nil {
			// What the client sent before it went is still executed.
			if tcp, ok := l.server.(*net.TCPConn); ok && !l.dark() {
				_ = tcp.CloseWrite()
			}
			return
		}
	}
}

func (l *link) forward(f flight) bool {
	r := l.p.rule(f)
	if r != nil && r.fault == freezeAt {
		l.p.freeze()
		close(r.hit)
	}
	l.p.hold()
	l.p.mu.Lock()
	watch := l.p.watch
	l.p.mu.Unlock()
	if watch != nil {
		watch(l.id, f)
	}
	if r == nil || r.fault == freezeAt {
		return l.carry(toRedis, l.server, f.raw(), true) == nil
	}
	switch r.fault {
	case cutBefore:
		close(r.hit)
		return false
	case loseReply:
		l.mu.Lock()
		l.lose, l.lost = len(f), r
		l.mu.Unlock()
		_, err := l.server.Write(f.raw())
		return err == nil
	case oneByOne:
		defer close(r.hit)
		for i, c := range f { // a callback that waits is the test's to end
			r.before(i, c)
			l.mu.Lock()
			next := l.replies + 1
			l.mu.Unlock()
			if _, err := l.server.Write(c.raw); err != nil {
				return false
			}
			l.mu.Lock()
			for l.replies < next && !l.over {
				l.cond.Wait()
			}
			l.mu.Unlock()
		}
	}
	return true
}

// down brings replies to the client.
func (l *link) down() {
	defer l.p.wg.Done()
	defer func() {
		l.cut()
		l.p.mu.Lock()
		delete(l.p.links, l)
		l.p.mu.Unlock()
	}()
	r := bufio.NewReaderSize(l.server, linkDown)
	for {
		burst := r.Buffered() == 0
		raw, err := readValue(r)
		if err != nil {
			return
		}
		l.mu.Lock()
		l.replies++
		l.cond.Broadcast()
		losing := l.lose > 0
		if losing {
			l.lose--
			if l.lose == 0 {
				close(l.lost.hit)
				l.mu.Unlock()
				return
			}
		}
		l.mu.Unlock()
		if losing || l.swallowed(raw) {
			continue
		}
		l.p.hold()
		_ = l.carry(fromRedis, l.client, raw, burst) // a client that has gone gets nothing; its commands are executed
	}
}

func (l *link) swallowed(raw []byte) bool {
	l.p.mu.Lock()
	which, stuck := l.p.swallow, l.p.stuckPush
	if l.id > l.p.stuckUpTo {
		stuck = nil
	}
	l.p.mu.Unlock()
	if !strings.HasPrefix(string(raw), "*3\r\n$7\r\nmessage\r\n") {
		return false
	}
	if stuck != nil {
		<-stuck
	}
	if which == nil {
		return false
	}
	args, err := parseArgs(raw)
	return err == nil && which(args)
}
