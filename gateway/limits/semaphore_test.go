package limits

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// TestSemaphoreInTurn: a key that wants much waits for itself, and another that wants
// little is served with it in turn.
func TestSemaphoreInTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewSemaphore(Bounds{Size: 4, KeySize: 2})
		begin := time.Now()
		var all sync.WaitGroup
		use := func(key string, took *time.Duration) {
			all.Go(func() {
				if err := s.Acquire(t.Context(), key, 1); err != nil {
					t.Error(err)
					return
				}
				time.Sleep(time.Second)
				s.Release(key, 1)
				if took != nil {
					*took = time.Since(begin)
				}
			})
		}
		for range 100 {
			use("greedy", nil)
		}
		synctest.Wait()
		var took [6]time.Duration
		for i := range took {
			use("modest", &took[i])
		}
		all.Wait()
		for _, d := range took {
			if d > 3*time.Second {
				t.Errorf("six that take a second each, two at a time, took %v", took)
				break
			}
		}
		if d := time.Since(begin); d != 50*time.Second {
			t.Errorf("the greedy one, alone two at a time, took %v, want 50s", d)
		}
	})
}

// TestSemaphoreContext: who gives up leaves its place, and what it would have held up goes
// on.
func TestSemaphoreContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewSemaphore(Bounds{Size: 4})
		if err := s.Acquire(t.Context(), "a", 3); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		var large error
		var small atomic.Bool
		go func() { large = s.Acquire(ctx, "b", 4) }()
		synctest.Wait()
		go func() { small.Store(s.Acquire(t.Context(), "c", 1) == nil) }()
		synctest.Wait()
		if small.Load() {
			t.Error("it overtook one that waits")
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if !errors.Is(large, context.DeadlineExceeded) || !small.Load() {
			t.Errorf("who gave up got %v; who waited behind it goes on: %v", large, small.Load())
		}
		s.Release("a", 3)
		s.Release("c", 1)
		if s.Taken() != 0 || s.Waiting() != 0 || len(s.queue.keys) != 0 {
			t.Errorf("%d are taken, %d wait, %d keys are kept", s.Taken(), s.Waiting(), len(s.queue.keys))
		}
	})
}

func TestSemaphoreRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewSemaphore(Bounds{Size: 1, KeyWaiting: 2})
		ctx, cancel := context.WithCancel(t.Context())
		for range 3 {
			go func() { _ = s.Acquire(ctx, "a", 1) }()
		}
		synctest.Wait()
		if err := s.Acquire(ctx, "a", 1); !errors.Is(err, ErrFull) {
			t.Errorf("the fourth got %v", err)
		}
		if s.TryAcquire("b", 1) {
			t.Error("there was no room")
		}
		cancel()
		synctest.Wait()
		if err := s.Acquire(ctx, "a", 1); !errors.Is(err, context.Canceled) {
			t.Errorf("with an ended context: %v", err)
		}
	})
}

// TestSemaphoreTogether is for the race detector: nothing is lost between a turn that
// comes and a context that ends.
func TestSemaphoreTogether(t *testing.T) {
	s := NewSemaphore(Bounds{Size: 3, KeySize: 2})
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			for n := range 300 {
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(n%20)*time.Microsecond)
				if s.Acquire(ctx, fmt.Sprint(i%3), int64(n%4)) == nil {
					s.Release(fmt.Sprint(i%3), int64(n%4))
				}
				cancel()
			}
		})
	}
	all.Wait()
	if s.Taken() != 0 || s.Waiting() != 0 || len(s.queue.keys) != 0 {
		t.Errorf("%d are taken, %d wait, %d keys are kept", s.Taken(), s.Waiting(), len(s.queue.keys))
	}
}
