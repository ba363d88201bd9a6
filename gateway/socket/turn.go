package socket

import (
	"errors"
	"io"
	"sync"
)

var (
	errAgain       = errors.New("nothing to read yet")
	errInterrupted = errors.New("interrupted")
)

// turn reads until there is nothing more, and ends the socket if it is dead.
func (c *Conn) turn() {
	c.mu.Lock()
	c.in.turn = reading
	for {
		if c.in.held && c.phase < dead {
			c.in.turn = unread
			c.mu.Unlock()
			return
		}
		c.in.again = false
		switch {
		case c.phase == dead && c.out.writer == writing: // the writer calls again
			c.in.turn = unread
			c.mu.Unlock()
			return
		case c.phase == dead:
			c.phase = gone
			c.mu.Unlock()
			c.end()
			return
		case !c.in.eof:
			deaf := c.in.deaf
			c.mu.Unlock()
			more := c.link.serve(deaf)
			c.mu.Lock()
			switch {
			case more && c.phase < dead: // after the others
				c.link.wantTurn()
				c.mu.Unlock()
				return
			case c.in.deaf && !deaf:
				continue
			}
		}
		if !c.in.again && c.phase < dead {
			c.in.turn = unread
			c.mu.Unlock()
			return
		}
	}
}

var scraps = sync.Pool{New: func() any { return new([4096]byte) }}

// discard throws away what comes.
func (c *Conn) discard(wait bool) {
	b := scraps.Get().(*[4096]byte)
	defer scraps.Put(b)
	for {
		n, err := c.link.read(b[:], wait)
		switch {
		case errors.Is(err, errAgain), c.past(dead):
			return
		case n > 0 && !c.framing.hears && !c.past(closing): // nothing may come on it: who sends would cost turns without end
			c.Kill()
			return
		case errors.Is(err, errInterrupted):
		case err != nil:
			c.over(err)
			return
		}
	}
}

// isHeld reports whether messages wait for Release.
func (c *Conn) isHeld() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.in.held
}

func (c *Conn) message(data []byte) {
	c.mu.Lock()
	heard := c.phase < closing
	c.in.busy = heard
	c.mu.Unlock()
	if !heard {
		return
	}
	c.handler.Message(data)
	c.mu.Lock()
	c.in.busy = false
	c.mu.Unlock()
}

func (c *Conn) early(begin []byte) bool { return !c.past(closing) && c.handler.Early(begin) }

func (c *Conn) ponged() {
	c.mu.Lock()
	c.in.missed = 0
	heard := c.phase < closing
	c.mu.Unlock()
	if heard {
		c.handler.Pong()
	}
}

func (c *Conn) pinged(data []byte) {
	if c.past(closing) || !c.handler.Ping() {
		return
	}
	c.answer(append([]byte{bitFinal | opPong, byte(len(data))}, data...))
}

// over is told when no more can be read.
func (c *Conn) over(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.in.deaf = true
	if !errors.Is(err, io.EOF) || c.phase < closing { // a close under way may still be sent
		c.die(abnormal)
	}
	c.in.eof = true
	c.settle()
}
