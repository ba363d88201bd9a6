package socket

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/gorilla/websocket"

	"sluice/gateway/lock"
)

// Options are the same for all sockets of a Group.
type Options struct {
	MaxMessage   int           // longest message of a client, in bytes
	QueueBytes   int           // bytes of events that may wait for one socket
	SendBuffer   int           // bytes that the kernel may keep for one socket; it takes twice as much memory. 0: as the system is set
	PingInterval time.Duration // between two pings
	StreamPing   time.Duration // between two comments on an event stream; 0: as PingInterval
	CloseTimeout time.Duration // how long a close may take, from the close frame to the end

	// For tests.
	goroutines     bool          // one goroutine a socket also where there is epoll
	turns          int           // instead of maxTurns
	partials       int           // instead of maxPartials
	partialTimeout time.Duration // instead of partialTimeout
}

// Handler is told what happens on a socket. Early, Message, Ping, Pong and Closed come one after
// the other; Drained may come at the same time as the first four, and so may Pong of an
// event stream, also at the same time as Closed. Early and Message may wait. Drained and Pong must
// not: they hold up other sockets.
type Handler interface {
	// Early gets the begin of a text message of a socket that is nobody's yet, which is too long for that, valid during
	// the call and perhaps cut in a character. true: the rest may come; it may be long if it is known now whose it is (Known).
	Early(begin []byte) bool
	Message(data []byte) // a whole text message, valid UTF-8, valid during the call; none after Close
	Ping() bool          // the client wants an answer, and may have it
	Pong()               // the client lives: it answered a ping, or took what was sent where there are no answers
	Drained()            // there is room again after a Send was refused
	Closed(code int)     // the socket is gone; the last call
}

// Close codes of this package, which are the project's own.
const (
	CloseTooSlow     = 4001
	CloseNoPong      = 4002
	CloseRateLimited = 4003
)

// Group are the sockets of a process.
type Group struct {
	opts     Options
	upgrader websocket.Upgrader
	poller   *poller // nil: every socket has a goroutine
	failed   error   // why there is none
	partials partials
	wheel    wheel
	tally    tally
}

// NewGroup makes a group; Run must be called.
func NewGroup(o Options) *Group {
	g := &Group{opts: o, upgrader: websocket.Upgrader{
		WriteBufferPool: &sync.Pool{},                             // gorilla writes nothing but the handshake
		CheckOrigin:     func(*http.Request) bool { return true }, // the caller decides, with a close code
	}}
	g.wheel.init(o)
	g.partials.init(o, g.wheel.tick)
	if !o.goroutines {
		g.poller, g.failed = newPoller(g)
	}
	return g
}

// Upgrade makes a WebSocket of a request; protocol is the subprotocol to be echoed,
// or "". On an error the answer has been written. The socket must be attached, and
// then started or abandoned.
func (g *Group) Upgrade(w http.ResponseWriter, r *http.Request, protocol string) (*Conn, error) {
	var header http.Header
	if protocol != "" {
		header = http.Header{"Sec-Websocket-Protocol": {protocol}}
	}
	h := &handshake{ResponseWriter: w, reader: &reader{group: g}}
	ws, err := g.upgrader.Upgrade(h, r, header)
	if err != nil {
		return nil, err
	}
	nc := h.reader.nc
	c := g.newConn(nc, webSocket)
	if c.link == nil {
		h.reader.use(ws)
		c.link = &netLink{c: c, nc: nc, reader: h.reader}
	}
	return c, nil
}

// Together calls f, which is to send little to each socket: it is written when f has
// ended, several frames to one socket in one write. For a few sockets the caller
// writes: to start a goroutine costs more than the write.
func (g *Group) Together(f func()) { g.poller.together(f) }

// Run reads, pings and keeps deadlines until ctx ends. Then it kills the sockets that
// are left; those that are started later are dead at once.
func (g *Group) Run(ctx context.Context) error {
	if g.failed != nil {
		return fmt.Errorf("sockets cannot be polled: %w; is the limit of open files too low?", g.failed)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var polling sync.WaitGroup
	var err error
	polling.Go(func() {
		defer cancel()
		err = g.poller.run(ctx)
	})
	g.wheel.run(ctx, g.partials.expire)
	for _, c := range g.wheel.end() {
		c.Kill()
	}
	g.poller.close()
	polling.Wait()
	return err
}

// StoodStill reports whether the process did not run for a while after a time, or until shortly before it: what a client had sent when
// it was met then may be old, and the client may have come back elsewhere since.
func (g *Group) StoodStill(since time.Time) bool { return g.wheel.stoodStill(since) }

// Wait waits until all started sockets are gone, and their goroutines.
func (g *Group) Wait() { g.tally.wait() }

// tally counts what Wait waits for: started sockets, and goroutines. A WaitGroup must
// not grow from zero while it is waited for, and sockets come when they want.
type tally struct {
	mu   lock.Mutex[lock.Tally]
	n    int
	zero sync.Cond
}

func (t *tally) add() {
	t.mu.Lock()
	t.n++
	t.mu.Unlock()
}

func (t *tally) done() {
	t.mu.Lock()
	if t.n--; t.n == 0 && t.zero.L != nil {
		t.zero.Broadcast()
	}
	t.mu.Unlock()
}

func (t *tally) wait() {
	t.mu.Lock()
	t.zero.L = &t.mu
	for t.n > 0 {
		t.zero.Wait()
	}
	t.mu.Unlock()
}
