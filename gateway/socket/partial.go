package socket

import (
	"time"

	"sluice/gateway/lock"
)

const (
	// maxPartials bounds the messages that have come in part: each has a goroutine and
	// a buffer. Beyond it the oldest one, which had the most time, is given up of the key that
	// has the most. Sockets that are nobody's yet have a bound of their own.
	maxPartials  = 256
	maxStrangers = 128
	// maxUnknown is how much is read of a message of a socket that is nobody's yet, in bytes. The frame `connect` of a
	// client that comes back to many targets may be longer: the handler says whether the rest may come. As long as the
	// socket is nobody's the message has maxStranger bytes at most.
	maxUnknown  = 16 << 10
	maxStranger = 68 << 10
	// partialTimeout is how long a message may take from its first byte.
	partialTimeout = 30 * time.Second
)

// partials are the messages that have come in part, the oldest first.
type partials struct {
	max     map[bool]int // of sockets that are known, and of those that are not
	timeout int64        // in ticks of the wheel

	mu          lock.Mutex[lock.Parts]
	n           map[bool]int
	now         int64
	first, last *reader
}

func (p *partials) init(o Options, tick time.Duration) {
	p.max, p.n = map[bool]int{true: maxPartials, false: maxStrangers}, make(map[bool]int)
	if o.partials > 0 {
		p.max = map[bool]int{true: o.partials, false: o.partials}
	}
	if o.partialTimeout == 0 {
		o.partialTimeout = partialTimeout
	}
	p.timeout = int64(o.partialTimeout/tick) + 1
}

// begin counts a reader's message; it may be given up until end.
func (p *partials) begin(r *reader) {
	key, known := r.c.whose()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.n[known] >= p.max[known] {
		p.giveUp(p.greediest(known))
	}
	r.began, r.key, r.known = max(1, p.now), key, known
	if r.prev = p.last; p.last != nil {
		p.last.next = r
	} else {
		p.first = r
	}
	p.last = r
	p.n[known]++
}

// greediest is the oldest one of the key that has the most.
func (p *partials) greediest(known bool) (oldest *reader) {
	has, most := make(map[string]int), 0
	for r := p.first; r != nil; r = r.next {
		if r.known == known {
			has[r.key]++
			most = max(most, has[r.key])
		}
	}
	for r := p.first; r != nil; r = r.next {
		if r.known == known && has[r.key] == most {
			return r
		}
	}
	return nil
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
	p.n[r.known]--
	r.began, r.key, r.prev, r.next = 0, "", nil, nil
}

// expire gives up what takes too long.
func (p *partials) expire(now int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.now = now
	for p.first != nil && p.first.began+p.timeout <= now {
		p.giveUp(p.first)
	}
}

func (p *partials) giveUp(r *reader) {
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

// Known says that it is known whose socket it is. Until then its messages are not long, and
// those that come in part give way to each other only.
func (c *Conn) Known() {
	c.mu.Lock()
	c.known = true
	c.mu.Unlock()
}

func (c *Conn) whose() (key string, known bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.key, c.known
}

func (p *partials) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.n[true] + p.n[false]
}
