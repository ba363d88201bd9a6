package limits

import (
	"context"
	"errors"
	"sync"
)

// ErrFull says that as many wait as may: the caller refuses, or comes again later.
var ErrFull = errors.New("limits: as many wait as may")

// Semaphore is a budget, in bytes or in numbers, that keys share. Who waits for it is
// served in turn by key, and no key has more than its share (Bounds.KeySize), so one that
// wants much and holds it for long waits only for itself.
type Semaphore struct {
	mu    sync.Mutex
	queue *Queue[chan<- struct{}]
}

// NewSemaphore makes a budget. A weight above Bounds.KeySize counts as that, so that it can
// be had, alone: what is larger than a share must be cut by the caller if that matters.
func NewSemaphore(b Bounds) *Semaphore {
	return &Semaphore{queue: NewQueue[chan<- struct{}](b)}
}

// Acquire waits for its turn. It returns ErrFull at once when as many wait as may, and the
// context's error when that ends first. After nil Release must follow, with the same key
// and weight.
func (s *Semaphore) Acquire(ctx context.Context, key string, weight int64) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.Lock()
	if s.queue.TryTake(key, weight) {
		s.mu.Unlock()
		return nil
	}
	turn := make(chan struct{})
	item, ok := s.queue.Push(key, weight, turn)
	s.serve() // what could go does not wait for the next Release
	s.mu.Unlock()
	if !ok {
		return ErrFull
	}
	select {
	case <-turn:
		return nil
	case <-ctx.Done():
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.queue.Remove(item) { // its turn came in the same moment
		s.queue.Done(key, weight)
	}
	s.serve()
	return ctx.Err()
}

// TryAcquire takes the weight if nobody has to wait for it.
func (s *Semaphore) TryAcquire(key string, weight int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.queue.TryTake(key, weight)
}

// Release gives back what Acquire took.
func (s *Semaphore) Release(key string, weight int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.queue.Done(key, weight)
	s.serve()
}

// Waiting is how many wait; Taken the weight that is taken: for metrics.
func (s *Semaphore) Waiting() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.queue.Waiting()
}

// Taken is the weight that is taken.
func (s *Semaphore) Taken() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.queue.Taken()
}

// serve wakes those whose turn it is; s.mu is held.
func (s *Semaphore) serve() {
	for {
		turn, _, _, ok := s.queue.Pop()
		if !ok {
			return
		}
		close(turn)
	}
}
