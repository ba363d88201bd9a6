package socket

const (
	// answerBytes and answerFrames are the room that answers have beyond that of events:
	// a client that does not keep up can still ask for something.
	answerBytes  = 16 << 10
	answerFrames = 64
)

// Answer queues a frame that the client waits for: behind the events, also when these
// have filled the queue. It is refused when too many answers wait, or the socket closes.
func (c *Conn) Answer(frame []byte) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closing {
		return false
	}
	waits := c.bytes
	if first := c.queue.front(1); len(first) > 0 {
		waits -= len(first[0]) - c.offset // an event of any size may be the first one
	}
	if c.bytes > 0 && (waits+len(frame) > c.group.opts.QueueBytes+answerBytes || c.queue.len() >= maxQueued+answerFrames) {
		return false
	}
	c.push(frame)
	return true
}

// Room reports whether half of the queue is free. If not, Drained follows, or Closed.
func (c *Conn) Room() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	room := !c.closing && c.bytes <= c.group.opts.QueueBytes/2 && c.queue.len() <= maxQueued/2
	c.refused = c.refused || !room
	return room
}

// Taken is how many bytes the kernel has taken for the client so far. It keeps little
// for one that does not read, so what grows tells that the client reads.
func (c *Conn) Taken() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.taken
}
