package limits

import "sync"

// Pool runs functions in goroutines of its own, so many at a time, in turn by key. What waits has no goroutine.
type Pool struct {
	running *sync.WaitGroup // its goroutines

	mu    sync.Mutex
	queue *Queue[func()]
}

// NewPool makes a Pool. Its goroutines are counted in running.
func NewPool(b Bounds, running *sync.WaitGroup) *Pool {
	return &Pool{running: running, queue: NewQueue[func()](b)}
}

// Go runs f when it is its turn. false: as many wait as may, and it is not run.
func (p *Pool) Go(key string, weight int64, f func()) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, ok := p.queue.Push(key, weight, f)
	p.serve()
	return ok
}

// serve starts those whose turn it is; p.mu is held.
func (p *Pool) serve() {
	for {
		f, key, weight, ok := p.queue.Pop()
		if !ok {
			return
		}
		p.running.Add(1)
		go func() {
			defer p.running.Done()
			for ok := true; ok; f, key, weight, ok = p.next(key, weight) {
				f()
			}
		}()
	}
}

// next gives back what one took, and takes another one: a goroutine whose stack has
// grown is worth keeping.
func (p *Pool) next(key string, weight int64) (f func(), next string, its int64, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.queue.Done(key, weight)
	f, next, its, ok = p.queue.Pop()
	p.serve()
	return f, next, its, ok
}
