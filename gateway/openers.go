package gateway

import (
	"sync"

	"sluice/gateway/auth"
)

// maxOpening is how many connections are opened at once. Opening waits for Redis, and
// takes a goroutine's stack: ten thousand clients that come at once would take ten
// times the memory that they need from then on.
const maxOpening = 256

// openers open connections of which the request said everything. The goroutine of the
// request ends before, with its buffers.
type openers struct {
	gw *Gateway

	mu      sync.Mutex
	running int
	waiting []opening // each is a socket: the limit of open files bounds them
}

type opening struct {
	conn  *conn
	id    auth.Identity
	asked *asked
}

// add opens a connection and starts its socket, when it is its turn. The caller holds
// gw.wg.
func (o *openers) add(x opening) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.running >= maxOpening {
		o.waiting = append(o.waiting, x)
		return
	}
	o.running++
	o.gw.wg.Add(1)
	go func() {
		defer o.gw.wg.Done()
		for more := true; more; x, more = o.next() {
			if !x.conn.isLeaving() { // a drain may have come first
				x.conn.open(x.id, x.asked)
			}
			x.conn.sock.Start()
		}
	}()
}

func (o *openers) next() (x opening, ok bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.waiting) == 0 {
		o.running, o.waiting = o.running-1, nil
		return x, false
	}
	x, o.waiting[0] = o.waiting[0], opening{}
	o.waiting = o.waiting[1:]
	return x, true
}
