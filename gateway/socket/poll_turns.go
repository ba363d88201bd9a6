//go:build linux && !sluice_goroutines

package socket

import (
	"sync"
	"sync/atomic"
)

// maxTurns bounds the sockets that are read at once: each has a goroutine, and its
// handler may wait for others. Further ones wait until it is their turn.
const maxTurns = 1024

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
	t.waiting.drop(1, keep)
	t.crowd.Store(t.waiting.len() > 0)
	return c
}
