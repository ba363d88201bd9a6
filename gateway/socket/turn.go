package socket

import (
	"errors"
	"sync"
	"sync/atomic"
)

// maxTurns bounds the sockets that are read at once: each has a goroutine, and its
// handler may wait for others. Further ones wait until it is their turn.
const maxTurns = 1024

var (
	errAgain       = errors.New("nothing there yet")
	errInterrupted = errors.New("interrupted")
)

// turns lets polled sockets read.
type turns struct {
	group *Group
	max   int

	mu      sync.Mutex
	running int
	waiting fifo[*Conn]
	crowd   atomic.Bool // somebody waits
}

func (t *turns) init(g *Group) {
	t.group = g
	if t.max = g.opts.turns; t.max == 0 {
		t.max = maxTurns
	}
}

// add gives a socket a turn; its lock is held.
func (t *turns) add(c *Conn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.running >= t.max {
		c.waits = true
		t.waiting.push(c)
		t.crowd.Store(true)
		return
	}
	t.running++
	t.group.tally.add()
	go t.run(c)
}

func (t *turns) run(c *Conn) {
	defer t.group.tally.done()
	for c != nil {
		c.turn()
		c = t.next()
	}
}

func (t *turns) next() (c *Conn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.waiting.len() == 0 {
		t.running--
		return nil
	}
	c = t.waiting.front(1)[0]
	t.waiting.drop(1)
	t.crowd.Store(t.waiting.len() > 0)
	return c
}

// turn reads until there is nothing more, and ends the socket if it is dead.
func (c *Conn) turn() {
	c.mu.Lock()
	c.waits = false
	for {
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
			c.link.serve(deaf)
			c.mu.Lock()
			if c.deaf && !deaf {
				continue
			}
		}
		switch {
		case c.dead:
		case !c.again:
			c.serving = false
			c.mu.Unlock()
			return
		case c.group.turns.crowd.Load():
			c.link.wantTurn()
			c.mu.Unlock()
			return
		}
	}
}

// serve lets a reader read what has come. It ends early when others wait for a turn.
func (c *Conn) serve(r *reader) {
	r.c = c
	for r.step() {
		if c.group.turns.crowd.Load() {
			c.mu.Lock()
			c.again = true // there may be more
			c.mu.Unlock()
			break
		}
	}
	r.c = nil
}

var scraps = sync.Pool{New: func() any { return new([4096]byte) }}

// discard throws away what comes.
func (c *Conn) discard(wait bool) {
	b := scraps.Get().(*[4096]byte)
	defer scraps.Put(b)
	for {
		_, err := c.link.read(b[:], wait)
		switch {
		case err == errAgain || err == errInterrupted:
			return
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
	c.answer(append([]byte{bitFinal | opPong, byte(len(data))}, data...))
}
