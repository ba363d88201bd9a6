package gateway

import (
	"sync"

	"sluice/gateway/auth"
	"sluice/gateway/limits"
)

// maxOpening is how many connections are opened at once, and half of that how many of one
// user. Opening waits for Redis, and takes a goroutine's stack: ten thousand clients that
// come at once would take ten times the memory that they need from then on. A connection
// that asks for many targets counts for one more for each openTargets of them.
const (
	maxOpening  = 256
	openTargets = 16
)

// openers open connections whose clients are known, users in turn. Their sockets are held
// meanwhile: no goroutine waits for them, and a client that hangs up before its turn costs
// none.
type openers struct {
	opening *sync.WaitGroup // goroutines of connections

	mu    sync.Mutex
	queue *limits.Queue[opening] // by user; each is a socket: the limit of open files bounds them
}

type opening struct {
	conn  *conn
	id    auth.Identity
	asked *asked
}

func newOpeners(goroutines *sync.WaitGroup) *openers {
	return &openers{opening: goroutines, queue: limits.NewQueue[opening](limits.Bounds{Size: maxOpening, KeySize: maxOpening / 2})}
}

// add opens a connection when it is its turn, and releases its socket.
func (o *openers) add(x opening) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.queue.Push(x.id.User, int64(1+len(x.asked.wants)/openTargets), x)
	o.serve()
}

// serve starts those whose turn it is; o.mu is held.
func (o *openers) serve() {
	for {
		x, user, weight, ok := o.queue.Pop()
		if !ok {
			return
		}
		o.opening.Add(1)
		go func() {
			defer o.opening.Done()
			for ok := true; ok; x, user, weight, ok = o.next(user, weight) {
				if !x.conn.isOver() { // its client may have lost patience, or a drain come first
					x.conn.open(x.id, x.asked)
				}
				x.conn.sock.Release()
			}
		}()
	}
}

// next gives back what an opening took, and takes another one: a goroutine whose stack has
// grown is worth keeping.
func (o *openers) next(user string, weight int64) (x opening, next string, its int64, ok bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.queue.Done(user, weight)
	x, next, its, ok = o.queue.Pop()
	o.serve()
	return x, next, its, ok
}
