//go:build linux && !sluice_goroutines

package socket

import (
	"sync/atomic"

	"sluice/gateway/limits"
	"sluice/gateway/lock"
)

const (
	// maxTurns bounds the sockets that are read at once: each has a goroutine, and its
	// handler may wait for others. Further ones wait until it is their turn.
	maxTurns = 1024
	// turnsShare is the part of them that the sockets of one key may have, but no less
	// than leastTurns.
	turnsShare = 8
	leastTurns = 4
	// inLine is how many of them go on with the next message at a time.
	inLine = 128
)

// turns lets polled sockets read, in turn by key.
type turns struct {
	group *Group
	crowd atomic.Bool // somebody waits
	line  limits.Line

	mu    lock.Mutex[lock.Turns]
	queue *limits.Queue[*Conn]
}

func (t *turns) init(g *Group) {
	t.group, t.line = g, limits.NewLine(inLine)
	n := g.opts.turns
	if n == 0 {
		n = maxTurns
	}
	t.queue = limits.NewQueue[*Conn](limits.Bounds{Size: int64(n), KeySize: int64(max(leastTurns, n/turnsShare))})
}

// add gives a socket a turn; its lock is held.
func (t *turns) add(c *Conn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.queue.TryTake(c.key, 1) {
		t.group.tally.add()
		go t.run(c, c.key)
		return
	}
	c.in.turn = waiting
	t.queue.Push(c.key, 1, c) // each socket waits at most once
	t.crowd.Store(t.queue.Waiting() > 0)
}

func (t *turns) run(c *Conn, key string) {
	defer t.group.tally.done()
	for c != nil {
		c.turn()
		c, key = t.next(key)
	}
}

// next ends a turn of a key, and begins that of whoever waits.
func (t *turns) next(ended string) (c *Conn, key string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.queue.Done(ended, 1)
	c, key, _, _ = t.queue.Pop()
	t.crowd.Store(t.queue.Waiting() > 0)
	return c, key
}
