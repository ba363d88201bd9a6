package worker

import (
	"sync"
	"testing"
)

func TestShareIsFair(t *testing.T) {
	for _, c := range []struct {
		partitions int
		workers    int32
		fair       int32
	}{
		{16, 0, 16}, {16, 1, 16}, {16, 2, 8}, {16, 3, 6}, {16, 16, 1}, {16, 40, 1}, {1, 2, 1},
	} {
		s := share{partitions: c.partitions}
		s.workers.Store(c.workers)
		if got := s.fair(); got != c.fair {
			t.Errorf("%d partitions, %d workers: %d each, want %d", c.partitions, c.workers, got, c.fair)
		}
	}
}

func TestShareReservesNoMoreThanFairAndGivesTheRestBack(t *testing.T) {
	s := share{partitions: 16}
	s.workers.Store(2)
	var wg sync.WaitGroup
	for range 8 { // as many lanes as want something at once
		wg.Go(func() { s.reserve(3) })
	}
	wg.Wait()
	if got := s.owned.Load(); got != 8 {
		t.Fatalf("%d reserved, want the fair 8", got)
	}
	s.workers.Store(4)
	if got := s.surplus(3); got != 3 {
		t.Errorf("surplus of 3 of 8, fair 4: %d, want 3", got)
	}
	if got := s.surplus(8); got != 1 {
		t.Errorf("surplus of what is left, 5, fair 4: %d, want 1", got)
	}
	s.back(1)
	if got := s.reserve(8); got != 1 {
		t.Errorf("after one came back: %d reserved, want 1", got)
	}
}
