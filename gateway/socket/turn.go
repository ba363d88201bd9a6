package socket

import (
	"errors"
	"sync"
)

var (
	errAgain       = errors.New("nothing to read yet")
	errInterrupted = errors.New("interrupted")
)

// turn reads until there is nothing more, and ends the socket if it is dead.
func (c *Conn) turn() {
	c.mu.Lock()
	c.waits = false
	for {
		if c.held && !c.dead {
			c.serving = false
			c.mu.Unlock()
			return
		}
		c.again = false
		switch {
		case c.dead && c.writing: // the writer calls again
			c.serving = false
			c.mu.Unlock()
			return
		case c.dead:
			c.gone = true
			c.mu.Unlock()
			c.end()
			return
		case !c.eof:
			deaf := c.deaf
			c.mu.Unlock()
			more := c.link.serve(deaf)
			c.mu.Lock()
			switch {
			case more && !c.dead: // after the others
				c.link.wantTurn()
				c.mu.Unlock()
				return
			case c.deaf && !deaf:
				continue
			}
		}
		if !c.again && !c.dead {
			c.serving = false
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
		_, err := c.link.read(b[:], wait)
		switch {
		case errors.Is(err, errAgain), c.is(&c.dead):
			return
		case errors.Is(err, errInterrupted):
		case err != nil:
			c.over(err)
			return
		}
	}
}

// is reads a flag.
func (c *Conn) is(flag *bool) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return *flag
}

func (c *Conn) message(data []byte) {
	if !c.is(&c.closing) {
		c.handler.Message(data)
	}
}

func (c *Conn) ponged() {
	c.mu.Lock()
	c.missed = 0
	heard := !c.closing
	c.mu.Unlock()
	if heard {
		c.handler.Pong()
	}
}

func (c *Conn) pinged(data []byte) {
	if c.is(&c.closing) || !c.handler.Ping() {
		return
	}
	c.answer(append([]byte{bitFinal | opPong, byte(len(data))}, data...))
}
