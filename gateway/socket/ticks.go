package socket

import (
	"math"
	"time"
)

// After lets f be called once, d from now at the earliest and some 100 ms later at the
// latest, by Run: it must not wait. A call replaces the one before; nil for f ends it.
// f may still be called while the socket ends, not after Done.
func (c *Conn) After(d time.Duration, f func()) {
	w := &c.group.wheel
	c.mu.Lock()
	defer c.mu.Unlock()
	c.timer.call, c.timer.callAt = f, never
	if f != nil {
		d = min(d, math.MaxInt64/2) // "never" must not overflow
		c.timer.callAt = int64((time.Since(w.begin)+d)/w.tick) + 1
	}
	if c.started {
		w.set(c)
	}
}

// tick does what is due.
func (c *Conn) tick(now int64) {
	var call func()
	var lives bool
	c.mu.Lock()
	t := &c.timer
	if t.endAt <= now {
		t.endAt = never
		c.die(c.code)
		c.settle()
	}
	if t.pingAt <= now {
		// The next one keeps its place in the round, also after a sleep of the process.
		every := c.group.wheel.every(c.framing)
		t.pingAt += ((now-t.pingAt)/every + 1) * every
		lives = c.round()
	}
	if t.callAt <= now {
		call, t.call, t.callAt = t.call, nil, never
	}
	if c.phase < gone {
		c.group.wheel.set(c)
	} else {
		call, lives = nil, false
	}
	c.mu.Unlock()
	if lives {
		c.handler.Pong()
	}
	if call != nil {
		call()
	}
}

// round is once in a ping interval. It reports whether the client is known to live though it answers no pings.
func (c *Conn) round() (lives bool) {
	o := &c.out
	o.queue.trim(4)
	empty := o.bytes == 0
	switch {
	case empty:
		o.stuck = 0
	case o.wrote: // a slow client lives, though pings and pongs take their time
		o.stuck, c.in.missed = 0, 0
	default:
		o.stuck++
	}
	lives = !c.framing.hears && c.phase < closing && o.stuck == 0
	if c.in.busy {
		c.in.missed = 0
	}
	o.wrote = false
	switch {
	case c.phase >= closing:
	case o.stuck >= maxMissed:
		c.close(CloseTooSlow, "too slow")
	case c.in.missed >= maxMissed && empty:
		c.close(CloseNoPong, "no pong")
	case o.stuck == 0 && o.bytes < c.group.opts.QueueBytes:
		if c.framing.hears && c.in.turn != waiting && !c.in.held && !c.in.busy { // else its pong may wait, too
			c.in.missed++
		}
		c.push(c.framing.ping)
	}
	return lives
}
