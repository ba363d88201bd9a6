package torture

import (
	"bytes"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// direction is the way of bytes on a link.
type direction int

const (
	up   direction = iota // from who dials
	down                  // to who dials
)

// link is a TCP proxy between two parts of the system.
type link struct {
	name     string
	listener net.Listener
	narrow   bool // small buffers: a stall is felt soon
	wg       sync.WaitGroup

	mu      sync.Mutex
	to      string // where it leads; empty: nowhere
	pairs   map[*pair]struct{}
	weather weather
	changed chan struct{} // closed when the weather changes
	closed  bool
}

// weather is what a link does to bytes.
type weather struct {
	refuse  bool // new connections are closed at once
	delay   time.Duration
	answers time.Duration // a delay of what Redis answers, and not of what it publishes
	stalled [2]bool       // bytes wait
	split   bool          // bytes go in small pieces
}

// pair is one connection through a link: two sockets.
type pair struct {
	link  *link
	sides [2]net.Conn // of who dialed, and to the other part
	done  chan struct{}
	once  sync.Once

	channel atomic.Bool // it has subscribed to a channel of Redis's

	mu     sync.Mutex
	silent [2]bool // bytes of this direction vanish
}

// newLink listens on a free loopback port and leads nowhere yet.
func newLink(t testing.TB, name string) *link {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	k := &link{name: name, listener: l, pairs: map[*pair]struct{}{}, changed: make(chan struct{})}
	k.wg.Add(1)
	go k.accept()
	t.Cleanup(k.close)
	return k
}

func (k *link) addr() string { return k.listener.Addr().String() }

// lead makes the link lead somewhere else: connections that are there stay.
func (k *link) lead(to string) {
	k.mu.Lock()
	k.to = to
	k.mu.Unlock()
}

func (k *link) accept() {
	defer k.wg.Done()
	for {
		c, err := k.listener.Accept()
		if err != nil {
			return
		}
		k.wg.Add(1)
		go k.serve(c)
	}
}

func (k *link) serve(c net.Conn) {
	defer k.wg.Done()
	k.mu.Lock()
	to, refuse := k.to, k.weather.refuse || k.closed
	k.mu.Unlock()
	if refuse || to == "" {
		abort(c)
		return
	}
	other, err := net.DialTimeout("tcp", to, 5*time.Second)
	if err != nil {
		abort(c)
		return
	}
	if k.narrow {
		_ = other.(*net.TCPConn).SetReadBuffer(8 << 10)
		_ = c.(*net.TCPConn).SetWriteBuffer(8 << 10)
	}
	p := &pair{link: k, sides: [2]net.Conn{c, other}, done: make(chan struct{})}
	k.mu.Lock()
	k.pairs[p] = struct{}{}
	closed := k.closed
	k.mu.Unlock()
	if closed {
		p.close()
	}
	var pumps sync.WaitGroup
	for _, d := range []direction{up, down} {
		pumps.Add(1)
		go func() {
			defer pumps.Done()
			p.pump(d)
		}()
	}
	pumps.Wait()
	p.close()
	k.mu.Lock()
	delete(k.pairs, p)
	k.mu.Unlock()
}

// pump brings the bytes of one direction over until an end closes or the pair is closed.
func (p *pair) pump(d direction) {
	from, to := p.sides[d], p.sides[1-d]
	buf := make([]byte, 16<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 && !p.pass(d, to, buf[:n]) {
			return
		}
		if err != nil {
			p.mu.Lock()
			silent := p.silent != [2]bool{}
			p.mu.Unlock()
			if silent { // the other end is not told
				<-p.done
				return
			}
			p.close()
			return
		}
	}
}

// pass does to bytes what the weather is.
func (p *pair) pass(d direction, to net.Conn, b []byte) bool {
	for len(b) > 0 {
		w, changed := p.link.now()
		p.mu.Lock()
		silent := p.silent[d]
		p.mu.Unlock()
		if silent {
			return true
		}
		if w.stalled[d] {
			select {
			case <-changed:
			case <-p.done:
				return false
			}
			continue
		}
		delay := w.delay
		if d == up && w.answers > 0 && bytes.Contains(b, []byte("\r\nsubscribe\r\n")) {
			p.channel.Store(true)
		}
		if d == down && !p.channel.Load() {
			delay += w.answers
		}
		if delay > 0 && !p.sleep(delay) {
			return false
		}
		n := len(b)
		if w.split {
			n = min(n, 1+rand.IntN(24))
		}
		if _, err := to.Write(b[:n]); err != nil {
			p.mu.Lock()
			silent := p.silent != [2]bool{}
			p.mu.Unlock()
			if !silent {
				p.close()
				return false
			}
		}
		b = b[n:]
	}
	return true
}

func (p *pair) sleep(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-p.done:
		return false
	}
}

func (p *pair) close() {
	p.once.Do(func() {
		close(p.done)
		for _, c := range p.sides {
			_ = c.Close()
		}
	})
}

// abort closes with a reset, as a dead machine's kernel does.
func abort(c net.Conn) {
	_ = c.(*net.TCPConn).SetLinger(0)
	_ = c.Close()
}

func (k *link) now() (weather, <-chan struct{}) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.weather, k.changed
}

// change changes the weather, at once also for bytes that wait.
func (k *link) change(f func(*weather)) {
	k.mu.Lock()
	defer k.mu.Unlock()
	f(&k.weather)
	close(k.changed)
	k.changed = make(chan struct{})
}

// clear makes the weather fine; connections that fell silent stay so.
func (k *link) clear() { k.change(func(w *weather) { *w = weather{} }) }

func (k *link) all() []*pair {
	k.mu.Lock()
	defer k.mu.Unlock()
	all := make([]*pair, 0, len(k.pairs))
	for p := range k.pairs {
		all = append(all, p)
	}
	return all
}

// cut resets all connections.
func (k *link) cut() {
	for _, p := range k.all() {
		for _, c := range p.sides {
			_ = c.(*net.TCPConn).SetLinger(0)
		}
		p.close()
	}
}

// silence makes all connections that are there lose every byte for ever, without an end being told. With half, only
// one end is left in the dark: the other is closed.
func (k *link) silence(half bool, dark direction) {
	for _, p := range k.all() {
		p.mu.Lock()
		p.silent = [2]bool{true, true}
		p.mu.Unlock()
		if half {
			_ = p.sides[1-dark].Close()
		}
	}
}

// hush loses what comes in one direction from now on, for the connections that are there.
func (k *link) hush(d direction) {
	for _, p := range k.all() {
		p.mu.Lock()
		p.silent[d] = true
		p.mu.Unlock()
	}
}

func (k *link) close() {
	k.mu.Lock()
	k.closed = true
	k.mu.Unlock()
	_ = k.listener.Close()
	for _, p := range k.all() {
		p.close()
	}
	k.wg.Wait()
}
