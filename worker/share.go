package worker

import "sync/atomic"

// share says how many partitions are this worker's: as many as everybody's, the
// odd ones to whoever is first.
type share struct {
	partitions int
	workers    atomic.Int32 // alive, this one included; 0 until known
	owned      atomic.Int32 // by all lanes of this worker
}

// fair is the most that this worker should own.
func (s *share) fair() int32 {
	n := s.workers.Load()
	if n < 1 {
		n = 1
	}
	return (int32(s.partitions) + n - 1) / n
}

// reserve takes up to n more within the fair share, and returns how many.
func (s *share) reserve(n int32) int32 {
	for {
		owned := s.owned.Load()
		n = min(n, s.fair()-owned)
		if n <= 0 {
			return 0
		}
		if s.owned.CompareAndSwap(owned, owned+n) {
			return n
		}
	}
}

// surplus takes up to n out of what is above the fair share, and returns how many.
func (s *share) surplus(n int32) int32 {
	for {
		owned := s.owned.Load()
		n = min(n, owned-s.fair())
		if n <= 0 {
			return 0
		}
		if s.owned.CompareAndSwap(owned, owned-n) {
			return n
		}
	}
}

// back returns n that are no longer owned.
func (s *share) back(n int32) { s.owned.Add(-n) }
