package socket

const (
	// answerBytes and answerFrames are the room that answers have beyond that of events:
	// a client that does not keep up can still ask for something.
	answerBytes  = 16 << 10
	answerFrames = 64
)

// Answer queues a frame that the client waits for: behind the events, also when these
// have filled the queue. It is refused when too many answers wait, or the socket closes.
func (c *Conn) Answer(frame []byte) bool { return c.AnswerPieces(frame) }

// AnswerPieces is Answer of a frame that lies in several places.
func (c *Conn) AnswerPieces(pieces ...[]byte) bool {
	size := length(pieces)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.phase >= closing {
		return false
	}
	waits := c.out.bytes + c.out.offset - length(c.out.queue.front(c.framing.pieces)) // an event of any size may be the first one
	if c.out.bytes > 0 && (waits+size > c.group.opts.QueueBytes+answerBytes || c.out.queue.len() >= maxQueued+answerFrames) {
		return false
	}
	for _, p := range pieces {
		c.push(p)
	}
	return true
}

// Room reports whether half of the queue is free. If not, Drained follows, or Closed.
func (c *Conn) Room() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	room := c.phase < closing && c.halfFree()
	c.out.refused = c.out.refused || !room
	return room
}

// halfFree reports whether half of the queue is free; c.mu is held.
func (c *Conn) halfFree() bool {
	return c.out.bytes <= c.group.opts.QueueBytes/2 && c.out.queue.len() <= maxQueued/2
}

// Taken is how many bytes the kernel has taken for the client so far. It keeps little
// for one that does not read, so what grows tells that the client reads.
func (c *Conn) Taken() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.out.taken
}
