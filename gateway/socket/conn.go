package socket

import (
	"encoding/binary"
	"sync"
	"unicode/utf8"

	"github.com/gorilla/websocket"
)

// maxQueued bounds the frames in a queue, whatever their size.
const maxQueued = 4096

const abnormal = websocket.CloseAbnormalClosure // 1006: the end without a close frame

// Conn is one WebSocket.
//
// Two activities use its link: a turn, which reads and calls the handler, and a
// writer. The link is given back by the last turn, once the socket is dead and no
// writer is left: so a descriptor is never used after it was closed.
type Conn struct {
	group   *Group
	link    link
	handler Handler
	timer   timer

	received uint64 // bytes, of the client; the turn's

	mu      sync.Mutex
	known   bool         // whose it is
	queue   fifo[[]byte] // ready frames; shared with other sockets, never written to
	offset  int          // bytes of the first one that have been written
	bytes   int          // of the queue, less offset
	taken   uint64       // bytes written so far
	code    int          // of the close, once there is one
	missed  int8         // pings without pong
	stuck   int8         // rounds without progress of the writer
	wrote   bool         // progress since the last round
	refused bool         // a Send was refused since there was room
	unsent  bool         // died with frames in the queue
	key     string       // whose turns it takes

	started bool
	held    bool // no message is handed over: Hold
	closing bool // a close frame is queued or the socket is dead: nothing more is taken
	deaf    bool // what comes is thrown away
	eof     bool // nothing more will come
	halved  bool // nothing more will be sent, and the client knows
	dead    bool // nothing more is read or written
	gone    bool // the last turn is under way
	told    bool // Closed has returned

	serving  bool          // a turn is under way or waits
	waits    bool          // for its turn
	again    bool          // something came since the turn last looked
	hungup   bool          // the end of the stream came, behind what has not been read
	writing  bool          // a writer has the socket, or will
	blocked  bool          // the kernel has no room; whoever hears of room calls the writer
	writable bool          // the kernel had room since the writer last began
	wake     chan struct{} // of a turn that waits for bytes
	ended    chan struct{} // closed after Closed; made when asked for
}

// Attach sets who is told; it comes before everything else.
func (c *Conn) Attach(h Handler) { c.handler = h }

// ServeAs says whose turns the socket takes: the sockets of one key are read in turn with
// those of others. It is called before Start, or in a call of the handler.
func (c *Conn) ServeAs(key string) {
	c.mu.Lock()
	c.key = key
	c.mu.Unlock()
}

// Received is how many bytes have come, whatever is in them. It is called by the handler, in
// Message, Ping or Pong.
func (c *Conn) Received() uint64 { return c.received }

// Start begins to read and to ping. No message is handed over before.
func (c *Conn) Start() {
	c.group.tally.add()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.started = true
	if !c.group.wheel.start(c) {
		c.die(abnormal)
	} else if err := c.link.start(); err != nil {
		c.die(abnormal) // no memory for it in the kernel
	}
	c.settle()
}

// Hold keeps messages from the handler until Release or a close: what the client sends
// stays in the kernel. A client that hangs up meanwhile is dead at once (with epoll; else
// that is seen after Release). It is called before Start, or in Message.
func (c *Conn) Hold() {
	c.mu.Lock()
	c.held = !c.closing
	c.mu.Unlock()
}

// Release ends Hold.
func (c *Conn) Release() {
	c.mu.Lock()
	c.release()
	c.mu.Unlock()
}

// release lets a turn look for what has come meanwhile; c.mu is held.
func (c *Conn) release() {
	if !c.held {
		return
	}
	c.held, c.again = false, true
	if c.started && !c.serving && !c.gone {
		c.serving = true
		c.link.wantTurn()
	}
}

// Abandon ends a socket that was never started, with a close code. ended is called when it
// is gone.
func (c *Conn) Abandon(code int, reason string, ended func()) {
	c.Attach(nobody{ended})
	c.Start()
	c.Close(code, reason)
}

// nobody handles sockets that are only closed.
type nobody struct{ ended func() }

func (nobody) Message([]byte) {}
func (nobody) Ping() bool     { return false }
func (nobody) Pong()          {}
func (nobody) Drained()       {}
func (n nobody) Closed(int)   { n.ended() }

// Send queues a ready frame and reports whether it was taken. It is refused when
// the queue is full, then Drained follows; or when the socket closes, then Closed
// follows. The frame must never be changed again.
func (c *Conn) Send(frame []byte) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closing {
		return false
	}
	if c.bytes > 0 && (c.bytes+len(frame) > c.group.opts.QueueBytes || c.queue.len() >= maxQueued) {
		c.refused = true
		return false
	}
	c.push(frame)
	return true
}

// answer queues a control frame, if there is room: a client that sends pings and
// reads nothing gets no more answers.
func (c *Conn) answer(frame []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.closing && c.bytes < c.group.opts.QueueBytes && c.queue.len() < maxQueued {
		c.push(frame)
	}
}

// push queues a frame; c.mu is held.
func (c *Conn) push(frame []byte) {
	c.queue.push(frame)
	c.bytes += len(frame)
	if !c.writing && !c.blocked {
		c.writing = true
		c.link.wantWrite()
	}
}

// Close sends what is queued and a close frame, waits for the client's for at most
// CloseTimeout, and ends the socket. It does not wait. Codes 1005 and 1006 are never
// sent: the close frame has none.
func (c *Conn) Close(code int, reason string) {
	c.mu.Lock()
	c.close(code, reason)
	c.mu.Unlock()
}

func (c *Conn) close(code int, reason string) {
	if c.closing {
		return
	}
	c.closing, c.code = true, code
	c.push(closeFrame(code, reason))
	c.group.wheel.endBy(c)
	c.release()
}

// refuse closes, and reads no message any more.
func (c *Conn) refuse(code int, reason string) {
	c.mu.Lock()
	c.close(code, reason)
	c.deafen()
	c.mu.Unlock()
}

// deafen throws away what comes from now on. Once everything is sent, the client is
// told so by a half-close, and the socket ends when the client closes, too: a socket
// that is closed with unread bytes resets the connection, and the close frame would
// be lost.
func (c *Conn) deafen() {
	c.deaf = true
	c.settle()
}

// Kill ends the socket at once.
func (c *Conn) Kill() {
	c.mu.Lock()
	c.die(abnormal)
	c.settle()
	c.mu.Unlock()
}

// die ends all reads and writes; settle must follow. code counts if the socket is
// not closing.
func (c *Conn) die(code int) {
	if c.dead {
		return
	}
	if !c.closing {
		c.code = code
	}
	c.dead, c.closing, c.blocked = true, true, false
	c.unsent = c.bytes > 0
	c.queue, c.bytes = fifo[[]byte]{}, 0
	c.link.interrupt()
}

// settle draws the conclusions of a change; c.mu is held.
func (c *Conn) settle() {
	if !c.dead && c.closing && c.queue.len() == 0 && !c.writing {
		if c.deaf && !c.halved {
			c.halved = true
			c.eof = !c.link.halfClose() || c.eof
		}
		if c.eof {
			c.die(c.code)
		}
	}
	if c.dead && c.started && !c.serving && !c.gone {
		c.serving = true
		c.link.wantTurn()
	}
}

// end is the last turn. Nobody else uses the link any more.
func (c *Conn) end() {
	c.group.wheel.remove(c)
	c.link.close(c.unsent)
	c.handler.Closed(c.code)
	c.mu.Lock()
	c.told = true
	if c.ended != nil {
		close(c.ended)
	}
	c.mu.Unlock()
	c.group.tally.done()
}

// Done is closed when the socket is gone and the handler knows.
func (c *Conn) Done() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended == nil {
		c.ended = make(chan struct{})
		if c.told {
			close(c.ended)
		}
	}
	return c.ended
}

func closeFrame(code int, reason string) []byte {
	if code == websocket.CloseNoStatusReceived || code == abnormal {
		return []byte{0x88, 0}
	}
	if len(reason) > 123 { // RFC 6455, 5.5: control frames have at most 125 bytes
		n := 123
		for !utf8.RuneStart(reason[n]) { // and 5.5.1: the reason is UTF-8
			n--
		}
		reason = reason[:n]
	}
	b := append(make([]byte, 0, 4+len(reason)), 0x88, byte(2+len(reason)))
	b = binary.BigEndian.AppendUint16(b, uint16(code))
	return append(b, reason...)
}
