package socket

import (
	"encoding/binary"
	"net"
	"sync"
	"time"

	"github.com/gorilla/websocket"
)

// maxQueued bounds the frames in a queue, whatever their size.
const maxQueued = 4096

// Conn is one WebSocket.
type Conn struct {
	group   *Group
	ws      *websocket.Conn
	nc      net.Conn
	handler Handler
	slot    int
	ended   chan struct{} // closed after Handler.Closed
	flushed chan struct{} // closed when the close frame has been written, or cannot be

	mu      sync.Mutex
	queue   [][]byte // ready frames; shared with other sockets, never written to
	bytes   int      // of the queue and of the write under way
	writing bool     // a goroutine writes
	refused bool     // a Send was refused since there was room
	closing bool     // a close frame is queued or the socket is dead: nothing more is taken
	code    int      // of the close, once there is one
	missed  int      // pings without pong
	stuck   int      // rounds without progress of the writer
	wrote   bool     // progress since the last round
}

// Attach sets who is told; it comes before everything else.
func (c *Conn) Attach(h Handler) { c.handler = h }

// Start begins to read and to ping. No message is handed over before.
func (c *Conn) Start() {
	c.group.add(c)
	c.group.wg.Add(1)
	go func() {
		defer c.group.wg.Done()
		c.read()
	}()
}

// Abandon ends a socket that was never started, with a close code.
func (c *Conn) Abandon(code int, reason string) {
	c.Attach(deaf{})
	c.Start()
	c.Close(code, reason)
}

// deaf handles sockets that are only closed.
type deaf struct{}

func (deaf) Message([]byte) {}
func (deaf) Pong()          {}
func (deaf) Drained()       {}
func (deaf) Closed(int)     {}

// Send queues a ready frame and reports whether it was taken. It is refused when
// the queue is full, then Drained follows; or when the socket closes, then Closed
// follows. The frame must never be changed again.
func (c *Conn) Send(frame []byte) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closing {
		return false
	}
	if c.bytes > 0 && (c.bytes+len(frame) > c.group.opts.QueueBytes || len(c.queue) >= maxQueued) {
		c.refused = true
		return false
	}
	c.push(frame)
	return true
}

// push queues a frame; c.mu is held.
func (c *Conn) push(frame []byte) {
	c.queue = append(c.queue, frame)
	c.bytes += len(frame)
	if !c.writing {
		c.writing = true
		c.group.wg.Add(1)
		go c.write()
	}
}

// write writes what is queued, several frames at once, until there is nothing left.
func (c *Conn) write() {
	defer c.group.wg.Done()
	for {
		c.mu.Lock()
		batch := net.Buffers(c.queue)
		c.queue = nil
		if len(batch) == 0 {
			c.writing = false
			if c.closing {
				c.finish()
			}
			c.mu.Unlock()
			return
		}
		c.mu.Unlock()

		n, err := batch.WriteTo(c.nc)
		c.mu.Lock()
		c.bytes -= int(n)
		c.wrote = true
		room := c.refused && c.bytes <= c.group.opts.QueueBytes/2 && !c.closing
		if room {
			c.refused = false
		}
		if err != nil {
			c.writing, c.closing, c.queue = false, true, nil
			c.finish()
		}
		c.mu.Unlock()
		if err != nil {
			_ = c.nc.Close() // the reader sees it and ends
			return
		}
		if room {
			c.handler.Drained()
		}
	}
}

// finish says that nothing will be written any more; c.mu is held.
func (c *Conn) finish() {
	select {
	case <-c.flushed:
	default:
		close(c.flushed)
	}
}

// Close sends what is queued and a close frame, waits for the client's for at most
// CloseTimeout, and ends the socket. It does not wait. Codes 1005 and 1006 mean to
// send none.
func (c *Conn) Close(code int, reason string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closing {
		return
	}
	c.closing, c.code = true, code
	c.push(closeFrame(code, reason))
	deadline := time.Now().Add(c.group.opts.CloseTimeout)
	_ = c.nc.SetDeadline(deadline) // for the writer and the reader
}

// Kill ends the socket at once.
func (c *Conn) Kill() { _ = c.nc.Close() }

// Done is closed when the socket is gone and the handler knows.
func (c *Conn) Done() <-chan struct{} { return c.ended }

func closeFrame(code int, reason string) []byte {
	if len(reason) > 123 { // RFC 6455, 5.5: control frames have at most 125 bytes
		reason = reason[:123]
	}
	b := append(make([]byte, 0, 4+len(reason)), 0x88, byte(2+len(reason)))
	b = binary.BigEndian.AppendUint16(b, uint16(code))
	return append(b, reason...)
}

var pingFrame = []byte{0x89, 0}

// ping is called once a round.
func (c *Conn) ping() {
	c.mu.Lock()
	progress := c.wrote || c.bytes == 0
	c.wrote = false
	if progress {
		c.stuck = 0
	} else {
		c.stuck++
	}
	stuck, missed := c.stuck >= maxMissed, c.missed >= maxMissed
	if c.closing || stuck || missed {
		c.mu.Unlock()
		switch {
		case stuck:
			c.Close(CloseTooSlow, "too slow")
		case missed:
			c.Close(CloseNoPong, "no pong")
		}
		return
	}
	if c.bytes < c.group.opts.QueueBytes {
		c.missed++
		c.push(pingFrame)
	}
	c.mu.Unlock()
}

// Close codes of this package; 4001 and 4002 are the project's own.
const (
	CloseTooSlow = 4001
	CloseNoPong  = 4002
)
