package socket

import "errors"

// maxBatch is how many frames leave in one write.
const maxBatch = 64

// writer is what a goroutine needs to write.
type writer struct {
	frames [maxBatch][]byte
	vector vector
}

// write makes one write of the frames that are queued, and reports whether there are
// more for which the kernel may have room.
func (c *Conn) write(w *writer) bool {
	c.mu.Lock()
	frames := w.frames[:copy(w.frames[:], c.queue.front(maxBatch))]
	if len(frames) > 0 {
		frames[0] = frames[0][c.offset:]
	}
	c.writable = false
	c.mu.Unlock()

	var n int
	var err error
	if len(frames) > 0 {
		n, err = c.link.write(frames, &w.vector)
		clear(frames)
	}

	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil && !errors.Is(err, errAgain) {
		c.die(abnormal)
	}
	if !c.dead {
		c.wrote = c.wrote || n > 0
		c.advance(n)
		if c.refused && !c.closing && c.bytes <= c.group.opts.QueueBytes/2 && c.queue.len() <= maxQueued/2 {
			c.refused = false
			c.mu.Unlock()
			c.handler.Drained() // while c.writing is set, Closed cannot come
			c.mu.Lock()
		}
	}
	switch {
	case c.dead || c.queue.len() == 0:
		c.writing = false
		c.settle()
	case errors.Is(err, errAgain) && !c.writable:
		c.writing, c.blocked = false, true
	default:
		return true
	}
	return false
}

// advance removes n written bytes from the queue.
func (c *Conn) advance(n int) {
	c.bytes -= n
	c.taken += uint64(n)
	n += c.offset
	whole := 0
	for _, f := range c.queue.front(maxBatch) {
		if n < len(f) {
			break
		}
		n -= len(f)
		whole++
	}
	c.queue.drop(whole, keep)
	c.offset = n
}
