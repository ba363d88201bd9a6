package socket

import (
	"context"
	"math"
	"sync/atomic"
	"time"

	"sluice/gateway/lock"
)

const (
	wheelSlots = 256
	// maxTick is how exact deadlines are, at worst.
	maxTick = 100 * time.Millisecond
	never   = math.MaxInt64

	// maxMissed is how many rounds of pings may stay without a pong, or without any
	// progress of the writer.
	maxMissed = 2

	// A process that did not run for stillFrom stood still. For stillFor more it may find what came meanwhile.
	stillFrom, stillFor = 2 * time.Second, 2 * time.Second
)

// wheel is a timing wheel: a ring of slots, and each tick looks at one of them. A
// socket is in the slot of its earliest deadline. Times are in ticks since the start.
type wheel struct {
	tick  time.Duration
	ping  int64 // ticks between two pings
	quiet int64 // and between two comments on an event stream
	close int64 // ticks for a close
	begin time.Time

	// When the last tick was, and until when it counts that the process stood still; in ns since begin.
	ticked, stillUntil atomic.Int64

	mu    lock.Mutex[lock.Wheel]
	now   int64
	phase int64 // of the next socket's pings: they are spread evenly
	over  bool
	slots [wheelSlots]*Conn
}

// timer is a socket's part of the wheel.
type timer struct {
	// Guarded by the socket's lock.
	pingAt, endAt, callAt int64 // never, 0 until the socket is started
	call                  func()

	// Guarded by the wheel's lock.
	at         int64 // 0: not in the wheel
	prev, next *Conn
}

func (w *wheel) init(o Options) {
	w.tick = max(time.Millisecond, min(maxTick, o.PingInterval/50, o.CloseTimeout/20))
	w.ping = max(1, int64(o.PingInterval/w.tick))
	if w.quiet = w.ping; o.StreamPing > 0 {
		w.quiet = max(1, int64(o.StreamPing/w.tick))
	}
	w.close = int64(o.CloseTimeout / w.tick)
	w.begin = time.Now()
}

// every is how many ticks lie between two pings.
func (w *wheel) every(f *framing) int64 {
	if f.hears {
		return w.ping
	}
	return w.quiet
}

// run ticks until ctx ends.
func (w *wheel) run(ctx context.Context, each func(now int64)) {
	tick := time.NewTicker(w.tick)
	defer tick.Stop()
	var due []*Conn
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		w.lives()
		now := w.time()
		due = w.turnTo(now, due[:0])
		for _, c := range due {
			c.tick(now)
		}
		clear(due)
		each(now)
	}
}

// lives notes a tick: first what it says, so that nobody sees the tick without it.
func (w *wheel) lives() {
	now := int64(time.Since(w.begin))
	if now-w.ticked.Load() > int64(stillFrom) {
		w.stillUntil.Store(now + int64(stillFor))
	}
	w.ticked.Store(now)
}

// stoodStill reports whether the process stood still after a time, or shortly before it.
func (w *wheel) stoodStill(since time.Time) bool {
	now := int64(time.Since(w.begin))
	return now-w.ticked.Load() > int64(stillFrom) || int64(since.Sub(w.begin)) < w.stillUntil.Load()
}

// turnTo moves the wheel on and appends the sockets that are due.
func (w *wheel) turnTo(now int64, due []*Conn) []*Conn {
	w.mu.Lock()
	defer w.mu.Unlock()
	// After a long sleep of the process one turn of the wheel sees all slots.
	first := max(w.now+1, now-wheelSlots+1)
	w.now = now
	for i := first; i <= now; i++ {
		for c := w.slots[i%wheelSlots]; c != nil; {
			next := c.timer.next
			if c.timer.at <= now {
				w.unlink(c)
				due = append(due, c)
			}
			c = next
		}
	}
	return due
}

// start takes a socket into the wheel; its lock is held. false: the group has ended.
func (w *wheel) start(c *Conn) bool {
	t := &c.timer
	now := w.time()
	w.mu.Lock()
	over := w.over
	w.phase = (w.phase + w.ping - 1) % w.ping // the first one after a whole interval
	t.pingAt = now + 1 + w.phase%w.every(c.framing)
	w.mu.Unlock()
	t.endAt = never
	if c.phase >= closing {
		t.endAt = now + w.close
	}
	if t.call == nil {
		t.callAt = never
	}
	w.set(c)
	return !over
}

// endBy ends a socket after the time for a close; its lock is held.
func (w *wheel) endBy(c *Conn) {
	if c.started {
		c.timer.endAt = w.time() + w.close
		w.set(c)
	}
}

// time is the present; the wheel itself may lag behind.
func (w *wheel) time() int64 { return int64(time.Since(w.begin) / w.tick) }

// set brings a socket to the slot of its earliest deadline; its lock is held.
func (w *wheel) set(c *Conn) {
	t := &c.timer
	at := min(t.pingAt, t.endAt, t.callAt)
	w.mu.Lock()
	defer w.mu.Unlock()
	if at = max(at, w.now+1); at == t.at || c.phase >= gone {
		return
	}
	w.unlink(c)
	slot := &w.slots[at%wheelSlots]
	t.at, t.next = at, *slot
	if t.next != nil {
		t.next.timer.prev = c
	}
	*slot = c
}

func (w *wheel) unlink(c *Conn) {
	t := &c.timer
	switch {
	case t.at == 0:
		return
	case t.prev != nil:
		t.prev.timer.next = t.next
	default:
		w.slots[t.at%wheelSlots] = t.next
	}
	if t.next != nil {
		t.next.timer.prev = t.prev
	}
	t.at, t.prev, t.next = 0, nil, nil
}

func (w *wheel) remove(c *Conn) {
	w.mu.Lock()
	w.unlink(c)
	w.mu.Unlock()
}

// end lets nobody in any more, and returns who is there.
func (w *wheel) end() (all []*Conn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.over = true
	for _, c := range w.slots {
		for ; c != nil; c = c.timer.next {
			all = append(all, c)
		}
	}
	return all
}
