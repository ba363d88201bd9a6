package socket

import (
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

// maxQueued bounds the frames in a queue, whatever their size.
const maxQueued = 4096

// Conn is one client's connection.
//
// Two activities use its link: a turn, which reads and calls the handler, and a
// writer. The link is given back by the last turn, once the socket is dead and no
// writer is left: so a descriptor is never used after it was closed.
type Conn struct {
	// Static: set before Start.
	group   *Group
	framing *framing
	link    link
	handler Handler

	received uint64 // bytes, of the client; the turn's

	timer timer // its sections say who owns them

	// Guarded by mu.
	mu      lock.Mutex[lock.Socket]
	known   bool   // whose it is
	key     string // whose turns it takes
	started bool
	phase   phase
	code    int           // of the close, once there is one
	ended   chan struct{} // closed after Closed; made when asked for
	in      inbound
	out     outbound
}

// phase is how far a socket has come. It only grows.
type phase uint8

const (
	open    phase = iota
	closing       // a close is queued: nothing more is taken
	dead          // nothing more is read or written
	gone          // the last turn is under way
	told          // Closed has returned
)

// inbound is what comes, and whether somebody reads it.
type inbound struct {
	turn   turnState
	again  bool // something came since the turn last looked
	held   bool // no message is handed over: Hold
	deaf   bool // what comes is thrown away
	hungup bool // the end of the stream came, behind what has not been read
	eof    bool // nothing more will come
	missed int8 // pings without pong
	busy   bool // the handler has a message: pongs may wait behind it
	wake   chan struct{}
}

// turnState says whether somebody reads a socket. Who leaves unread sees to it that wantTurn is called.
type turnState uint8

const (
	unread  turnState = iota
	waiting           // for a turn, behind others
	reading
)

// outbound is what goes out, and whether somebody writes it.
type outbound struct {
	queue    fifo[[]byte] // ready frames; shared with other sockets, never written to
	offset   int          // bytes of the first one that have been written
	bytes    int          // of the queue, less offset
	taken    uint64       // bytes written so far
	writer   writerState
	writable bool // the kernel had room since the writer last began
	wrote    bool // progress since the last round
	stuck    int8 // rounds without progress
	refused  bool // a Send was refused since there was room
	halved   bool // nothing more will be sent, and the client knows
	unsent   bool // died with frames in the queue
}

// writerState says whether somebody writes for a socket. Who leaves idle or blocked sees to it that wantWrite is called.
type writerState uint8

const (
	idle writerState = iota
	writing
	blocked // the kernel has no room; whoever hears of room calls the writer
)

// past reports whether the socket has come to a phase.
func (c *Conn) past(p phase) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.phase >= p
}

// maxBatch is how many frames leave in one write.
const maxBatch = 64

// link is a socket's way to the network. wantWrite, wantTurn, interrupt, start and
// halfClose are called with the socket's lock held.
type link interface {
	start() error                // turns begin
	serve(deaf bool) (more bool) // reads what has come: for the handler, or to throw it away; more: others want a turn first
	wantTurn()                   // Conn.turn must be called
	wantWrite()                  // Conn.write must be called, until it is done
	interrupt()                  // the socket is dead or deaf: ends reads that wait, and writes if it is dead
	halfClose() bool             // tells the client that nothing more comes; false: that is not possible
	close(unsent bool)           // the last call; unsent: nobody will get what the kernel still has

	// read waits for bytes if it may, else returns errAgain. errInterrupted: look at
	// the socket's state.
	read(b []byte, wait bool) (int, error)
	// write returns errAgain if the kernel has no room for the rest; Conn.ready follows.
	write(frames [][]byte, v *vector) (int, error)
}

// piece is how much a goroutine writes at once: it must be seen that a slow client
// takes something.
const piece = 16 << 10
