package socket

import (
	"sync"
	"time"
)

const (
	// maxPartials bounds the messages that have come in part: each has a goroutine and
	// a buffer. Beyond it the oldest one, which had the most time, is given up.
	maxPartials = 256
	// partialTimeout is how long a message may take from its first byte.
	partialTimeout = 30 * time.Second
)

// partials are the messages that have come in part, the oldest first.
type partials struct {
	max     int
	timeout int64 // in ticks of the wheel

	mu          sync.Mutex
	n           int
	now         int64
	first, last *reader
}

func (p *partials) init(o Options, tick time.Duration) {
	if p.max = o.partials; p.max == 0 {
		p.max = maxPartials
	}
	if o.partialTimeout == 0 {
		o.partialTimeout = partialTimeout
	}
	p.timeout = int64(o.partialTimeout/tick) + 1
}

// begin counts a reader's message; it may be given up until end.
func (p *partials) begin(r *reader) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.n >= p.max {
		p.giveUp()
	}
	r.began = max(1, p.now)
	if r.prev = p.last; p.last != nil {
		p.last.next = r
	} else {
		p.first = r
	}
	p.last = r
	p.n++
}

// end may be called more than once.
func (p *partials) end(r *reader) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.remove(r)
}

func (p *partials) remove(r *reader) {
	if r.began == 0 {
		return
	}
	if r.prev != nil {
		r.prev.next = r.next
	} else {
		p.first = r.next
	}
	if r.next != nil {
		r.next.prev = r.prev
	} else {
		p.last = r.prev
	}
	r.began, r.prev, r.next = 0, nil, nil
	p.n--
}

// expire gives up what takes too long.
func (p *partials) expire(now int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.now = now
	for p.first != nil && p.first.began+p.timeout <= now {
		p.giveUp()
	}
}

// giveUp gives the oldest one up.
func (p *partials) giveUp() {
	r := p.first
	r.c.giveUp()
	p.remove(r)
}

// giveUp closes without waiting for the rest of a message. Called by who has the lock
// of the partials, so the socket's reader cannot be lent to another one meanwhile.
func (c *Conn) giveUp() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.close(CloseTooSlow, "a message must come sooner")
	c.deafen()
	c.link.interrupt()
}

func (p *partials) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.n
}
