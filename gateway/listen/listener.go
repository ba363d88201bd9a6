package listen

import (
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"sluice/gateway/limits"
)

// Reasons why a connection was not taken, or ended.
const (
	ReasonPending = "pending_full" // too many without a token, and it was the oldest
	ReasonFull    = "connections_full"
	ReasonFiles   = "open_files" // the system has no descriptor, or no memory for one
	ReasonHeader  = "header_too_large"
	ReasonProxy   = "proxy_protocol" // not what PROXY protocol allows
)

const (
	// grace is what a stranger has in any case: who comes in a crowd is not sent away
	// while it is being served.
	grace = time.Second
	// reserve are descriptors for everything but clients: Redis, logs, profiles. A share
	// of the limit comes on top.
	reserve      = 64
	reserveShare = 16
	// sayEvery bounds the lines in the log about clients that cannot be taken.
	sayEvery = 10 * time.Second
	// inLine is how many headers get parsed at a time.
	inLine = 32
	// longestPause is after a failure to accept.
	longestPause = time.Second
)

// Options are what a Listener needs besides its settings.
type Options struct {
	Config
	Files   int                                    // descriptors that this process may open; 0: not known
	Refused func(reason string, client netip.Addr) // counts
	Bound   func(net.Conn)                         // sets what the kernel may keep for a connection; nil: as the system is set
	Log     *slog.Logger
}

// Listener accepts clients. It never gives up for lack of descriptors: it says so, and
// makes room where strangers have it.
type Listener struct {
	net.Listener
	o    Options
	most int           // connections; 0: any number
	room chan struct{} // something ended
	done chan struct{}
	end  sync.Once
	line limits.Line // of those whose header is whole

	mu      sync.Mutex
	open    int
	pending pending
	said    map[string]time.Time // by text
}

// New makes a listener of one. The Listener closes it.
func New(l net.Listener, o Options) *Listener {
	listener := &Listener{Listener: l, o: o, room: make(chan struct{}, 1), done: make(chan struct{}), said: make(map[string]time.Time), line: limits.NewLine(inLine)}
	if o.Files > 0 {
		listener.most = max(1, o.Files-reserve-o.Files/reserveShare)
	}
	return listener
}

// Most is how many connections there may be, 0 for any number.
func (l *Listener) Most() int { return l.most }

// Pending is how many strangers there are.
func (l *Listener) Pending() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.pending.n
}

// Accept waits for the next client.
func (l *Listener) Accept() (net.Conn, error) {
	for pause := time.Duration(0); ; {
		nc, err := l.Listener.Accept()
		switch {
		case err == nil && !l.awaitRoom():
			_ = nc.Close()
			return nil, net.ErrClosed
		case err == nil:
			pause = 0
			if c := l.enter(nc); c != nil {
				return c, nil
			}
		case !isShortage(err):
			return nil, err
		default:
			l.o.Refused(ReasonFiles, netip.Addr{})
			l.say("cannot accept clients; they wait until others leave. Raise the limit of open files (ulimit -n, LimitNOFILE)", "err", err)
			l.evict(true)
			pause = min(max(2*pause, 5*time.Millisecond), longestPause)
			l.wait(pause)
		}
	}
}

// Close ends Accept.
func (l *Listener) Close() error {
	l.end.Do(func() { close(l.done) })
	return l.Listener.Close()
}

// isShortage reports whether a later Accept may work.
func isShortage(err error) bool {
	for _, e := range []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.ECONNABORTED, syscall.EINTR} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// awaitRoom waits while there are too many strangers, and sends away the oldest ones that
// have had their time. Others wait in the system's backlog meanwhile. false: Close was
// called.
func (l *Listener) awaitRoom() bool {
	for {
		wait := l.evict(false)
		if wait == 0 {
			return true
		}
		if !l.wait(wait) {
			return false
		}
	}
}

func (l *Listener) wait(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-l.room:
	case <-l.done:
		return false
	}
	return true
}

// evict sends the oldest stranger away if there is no room, or in any case. It returns how
// long to wait until it is worth another look, 0 if there is room, or only those with a
// token are there.
func (l *Listener) evict(always bool) (wait time.Duration) {
	l.mu.Lock()
	full := l.o.MaxPending > 0 && l.pending.n >= l.o.MaxPending || l.most > 0 && l.open >= l.most
	oldest := l.pending.first
	if !full && !always || oldest == nil {
		l.mu.Unlock()
		return 0
	}
	if left := grace - time.Since(oldest.since); left > 0 {
		l.mu.Unlock()
		return left
	}
	l.pending.remove(oldest)
	oldest.evicted = true
	end, nc, addr := oldest.end, oldest.Conn, oldest.addr
	l.mu.Unlock()
	l.o.Refused(ReasonPending, addr)
	l.say("too many connections have no token; the oldest of them are closed", "limit", l.o.MaxPending, "client", addr)
	switch {
	case end != nil:
		end()
	case nc != nil:
		_ = nc.Close() // its goroutine sees it
	}
	return time.Millisecond
}

// enter counts a connection. nil: there are too many, and it was told so.
func (l *Listener) enter(nc net.Conn) *Conn {
	c := &Conn{Conn: nc, listener: l, addr: addrOf(nc.RemoteAddr()), since: time.Now(), gated: true}
	l.mu.Lock()
	full := l.most > 0 && l.open >= l.most
	if !full {
		l.open++
		l.pending.add(c)
	}
	l.mu.Unlock()
	if !full {
		if l.o.Bound != nil {
			l.o.Bound(nc)
		}
		return c
	}
	l.o.Refused(ReasonFull, c.addr)
	l.say("there are as many connections as the limit of open files allows; others are refused. Raise it (ulimit -n, LimitNOFILE), or start more gateways",
		"connections", l.most, "open_files", l.o.Files)
	if _, secure := nc.(*tls.Conn); !secure { // it would have to shake hands first, and Accept would wait
		answer(nc, "503 Service Unavailable", "this gateway has as many connections as it can have")
	}
	_ = nc.Close()
	return nil
}

// leave ends the counting of a connection.
func (l *Listener) leave(c *Conn) {
	l.mu.Lock()
	if !c.gone {
		c.gone = true
		l.open--
		l.pending.remove(c)
	}
	l.mu.Unlock()
	l.signal()
}

// Gone says that a connection has ended of which Known said that its Conn is over: an idle
// connection keeps no more than it needs.
func (l *Listener) Gone() {
	l.mu.Lock()
	l.open--
	l.mu.Unlock()
	l.signal()
}

func (l *Listener) signal() {
	select {
	case l.room <- struct{}{}:
	default:
	}
}

// say writes a line, but not again and again.
func (l *Listener) say(text string, args ...any) {
	l.mu.Lock()
	last, before := l.said[text]
	quiet := before && time.Since(last) < sayEvery
	if !quiet {
		l.said[text] = time.Now()
	}
	l.mu.Unlock()
	if !quiet {
		l.o.Log.Error(text, args...) //nolint:sloglint // the callers' texts are constants
	}
}

// answer writes an HTTP answer to who has no server yet. It does not wait.
func answer(nc net.Conn, status, text string) {
	_ = nc.SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
	_, _ = nc.Write([]byte("HTTP/1.1 " + status + "\r\nConnection: close\r\nRetry-After: 5\r\nContent-Type: text/plain\r\n\r\n" + text + "\n"))
}

// pending are the strangers, the oldest first.
type pending struct {
	n           int
	first, last *Conn
}

func (p *pending) add(c *Conn) {
	if c.prev = p.last; p.last != nil {
		p.last.next = c
	} else {
		p.first = c
	}
	p.last, c.waits = c, true
	p.n++
}

func (p *pending) remove(c *Conn) {
	if !c.waits {
		return
	}
	if c.prev != nil {
		c.prev.next = c.next
	} else {
		p.first = c.next
	}
	if c.next != nil {
		c.next.prev = c.prev
	} else {
		p.last = c.prev
	}
	c.prev, c.next, c.waits = nil, nil, false
	p.n--
}
