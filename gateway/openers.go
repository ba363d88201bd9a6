package gateway

import (
	"sync"

	"sluice/gateway/auth"
)

// maxOpening is how many connections are opened at once. Opening waits for Redis, and
// takes a goroutine's stack: ten thousand clients that come at once would take ten
// times the memory that they need from then on.
const maxOpening = 256

// openers open connections whose clients are known. Their sockets are held meanwhile: no
// goroutine waits for them, and a client that hangs up before its turn costs none.
type openers struct {
	opening *sync.WaitGroup // goroutines of connections

	mu      sync.Mutex
	running int
	waiting []opening // each is a socket: the limit of open files bounds them
}

type opening struct {
	conn  *conn
	id    auth.Identity
	asked *asked
}

// add opens a connection when it is its turn, and releases its socket.
func (o *openers) add(x opening) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.running >= maxOpening {
		o.waiting = append(o.waiting, x)
		return
	}
	o.running++
	o.opening.Add(1)
	go func() {
		defer o.opening.Done()
		for more := true; more; x, more = o.next() {
			if !x.conn.isOver() { // its client may have lost patience, or a drain come first
				x.conn.open(x.id, x.asked)
			}
			x.conn.sock.Release()
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
