package functions

import (
	"sync"
	"time"
)

const (
	// breakAfter failures in a row leave an address alone for restFirst, then after each further one for twice as long,
	// up to restMost. One attempt shows whether it is back.
	breakAfter = 5
	restFirst  = time.Second
	restMost   = 30 * time.Second
)

// breaker leaves an address alone that fails again and again.
type breaker struct {
	mu       sync.Mutex
	failures int       // in a row
	until    time.Time // it is left alone; zero: it is not
	probing  bool      // one attempt is under way that shows whether it is back
}

// ask says how long to wait before an attempt; 0: go on, and tell how it went.
func (b *breaker) ask(now time.Time) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.failures < breakAfter {
		return 0
	}
	if wait := b.until.Sub(now); wait > 0 {
		return wait
	}
	if b.probing {
		return restFirst
	}
	b.probing = true
	return 0
}

// tell says how an attempt went; open: this one was the last straw.
func (b *breaker) tell(ok bool, now time.Time) (open bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.probing = false
	if ok {
		b.failures = 0
		return false
	}
	if b.failures++; b.failures < breakAfter {
		return false
	}
	b.until = now.Add(min(restMost, restFirst<<min(b.failures-breakAfter, 10)))
	return b.failures == breakAfter
}

// dropped says that an attempt has shown nothing: it was given up by whoever made it.
func (b *breaker) dropped() {
	b.mu.Lock()
	b.probing = false
	b.mu.Unlock()
}
