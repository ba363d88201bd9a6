package socket

import (
	"math"
	"sync/atomic"
	"testing"
	"time"
)

func TestAfter(t *testing.T) {
	each(t, func(t *testing.T, o Options) {
		o.CloseTimeout = 100 * time.Millisecond
		s := serve(t, o, nil)
		var early atomic.Int64
		begin := time.Now()
		s.before = func(p *peer) {
			p.After(50*time.Millisecond, func() { early.Store(int64(time.Since(begin))) })
		}
		_, p := s.connect(0)
		until(t, "what was set before the start", func() bool { return early.Load() != 0 })
		if took := time.Duration(early.Load()); took < 50*time.Millisecond {
			t.Error("came after", took)
		}
		// The later call counts; one that is called ends it; so does the end of the socket.
		var calls atomic.Int32
		p.After(0, func() { t.Error("was replaced") })
		p.After(10*time.Millisecond, func() { calls.Add(1) })
		until(t, "the call", func() bool { return calls.Load() == 1 })
		p.After(10*time.Millisecond, func() { t.Error("was taken back") })
		p.After(0, nil)
		p.After(math.MaxInt64, func() { t.Error("came 292 years early") })
		time.Sleep(300 * time.Millisecond)
		p.After(10*time.Millisecond, func() { p.Close(4401, "expired") })
		if code := p.ended(); code != 4401 {
			t.Error("code", code)
		}
		p.After(0, func() { t.Error("came after the end") })
		time.Sleep(200 * time.Millisecond)
		if calls.Load() != 1 {
			t.Error("calls:", calls.Load())
		}
	})
}

// TestWheel moves a wheel by hand: each socket is due once, never early, at most a
// tick late, however far away and whatever else is in its slot.
func TestWheel(t *testing.T) {
	g := NewGroup(Options{PingInterval: time.Hour, CloseTimeout: time.Hour, goroutines: true})
	w := &g.wheel
	due := map[*Conn]int64{}
	for _, at := range []int64{1, 2, 2, 255, 256, 257, 258, 512, 513, 1000, 5000, 5000} {
		c := &Conn{group: g, framing: webSocket}
		c.timer = timer{pingAt: never, endAt: at, callAt: at + 7}
		w.set(c)
		due[c] = at
	}
	gone := &Conn{group: g, framing: webSocket}
	gone.timer = timer{pingAt: 2, endAt: never, callAt: never}
	w.set(gone)
	w.remove(gone)
	moved := &Conn{group: g, framing: webSocket}
	for _, at := range []int64{300, 10, 600} {
		moved.timer = timer{pingAt: at, endAt: never, callAt: never, at: moved.timer.at, prev: moved.timer.prev, next: moved.timer.next}
		w.set(moved)
	}
	due[moved] = 600
	last := int64(0)
	for now := int64(1); now <= 6000; now += 1 + now%3 { // ticks are missed
		for _, c := range w.turnTo(now, nil) {
			if at, ok := due[c]; !ok || at > now || at <= last {
				t.Errorf("due at %d comes at %d, after %d (known: %v)", at, now, last, ok)
			}
			delete(due, c)
		}
		last = now
	}
	if len(due) > 0 {
		t.Error("never due:", due)
	}
	// A process that slept for long sees everything at once.
	for i := range int64(100) {
		c := &Conn{group: g, framing: webSocket}
		c.timer = timer{pingAt: w.now + 1 + 97*i, endAt: never, callAt: never}
		w.set(c)
	}
	if n := len(w.turnTo(w.now+1_000_000, nil)); n != 100 {
		t.Error(n, "of 100 are due")
	}
}

// TestPingsAreSpread: sockets that come at once are not pinged at once.
func TestPingsAreSpread(t *testing.T) {
	g := NewGroup(Options{PingInterval: 5 * time.Second, CloseTimeout: 2 * time.Second, goroutines: true})
	w := &g.wheel
	for range 500 {
		w.start(&Conn{group: g, framing: webSocket})
	}
	all := 0
	for now := int64(1); now <= 2*w.ping; now++ {
		n := len(w.turnTo(now, nil))
		if n > 20 { // 10, but for ticks that passed meanwhile
			t.Errorf("%d pings in tick %d", n, now)
		}
		all += n
	}
	if all != 500 {
		t.Error(all, "pings")
	}
}

// TestStoodStill: a process that did not tick for a while stood still, for whatever had come before, and shortly after, it goes on.
func TestStoodStill(t *testing.T) {
	begin := time.Now().Add(-time.Minute)
	w := &wheel{begin: begin}
	at := func(seconds float64) time.Time { return begin.Add(time.Duration(seconds * float64(time.Second))) }
	w.ticked.Store(int64(time.Minute)) // as if it had ticked all the time
	if w.stoodStill(at(0)) {
		t.Error("it stood still, it says, and did not")
	}
	w.ticked.Store(int64(50 * time.Second))
	if !w.stoodStill(at(100)) {
		t.Error("it does not know that it stands still")
	}
	w.lives()
	for second, want := range map[float64]bool{0: true, 55: true, 61: true, 70: false} { // it went on after a minute and little
		if w.stoodStill(at(second)) != want {
			t.Errorf("it stood still, as for what came after %v s: %v", second, !want)
		}
	}
}
