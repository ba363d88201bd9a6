package socket

import "errors"

// writer is what a goroutine needs to write.
type writer struct {
	frames [maxBatch][]byte
	vector vector
}

// write makes one write of the frames that are queued, and reports whether there are
// more for which the kernel may have room.
func (c *Conn) write(w *writer) bool {
	c.mu.Lock()
	frames := w.frames[:copy(w.frames[:], c.out.queue.front(maxBatch))]
	if len(frames) > 0 {
		frames[0] = frames[0][c.out.offset:]
	}
	c.out.writable = false
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
	if c.phase < dead {
		c.out.wrote = c.out.wrote || n > 0
		c.out.advance(n)
		if c.out.refused && c.phase < closing && c.halfFree() {
			c.out.refused = false
			c.mu.Unlock()
			c.handler.Drained() // while there is a writer, Closed cannot come
			c.mu.Lock()
		}
	}
	switch {
	case c.phase >= dead || c.out.queue.len() == 0:
		c.out.writer = idle
		c.settle()
	case errors.Is(err, errAgain) && !c.out.writable:
		c.out.writer = blocked
	default:
		return true
	}
	return false
}

// advance removes n written bytes from the queue.
func (o *outbound) advance(n int) {
	o.bytes -= n
	o.taken += uint64(n)
	n += o.offset
	whole := 0
	for _, f := range o.queue.front(maxBatch) {
		if n < len(f) {
			break
		}
		n -= len(f)
		whole++
	}
	o.queue.drop(whole, keep)
	o.offset = n
}
