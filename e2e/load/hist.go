package main

import (
	"math/bits"
	"time"
)

// hist is a histogram of durations with logarithmic buckets, as HdrHistogram has them: each power of two is divided
// into 64 parts, so a value is known to 1.6 % wherever it lies, and 18 KiB hold everything from 1 ns to 18 minutes.
type hist struct {
	counts [histBuckets]uint64
	n      uint64
	max    int64
}

const (
	subBits     = 6
	subBuckets  = 1 << subBits
	histBuckets = (40 - subBits + 1) * subBuckets // 2^40 ns and more share the last one
)

// bucket is the value itself below 2*subBuckets, then its exponent and the subBits after its leading bit.
func bucket(ns int64) int {
	if ns < subBuckets {
		return int(max(ns, 0))
	}
	e := bits.Len64(uint64(ns)) - 1 - subBits
	return min(e*subBuckets+int(ns>>e), histBuckets-1)
}

// bucketEnd is the largest value of a bucket.
func bucketEnd(i int) int64 {
	if i < 2*subBuckets {
		return int64(i)
	}
	e := i/subBuckets - 1
	return int64(i-e*subBuckets+1)<<e - 1
}

func (h *hist) record(d time.Duration) {
	ns := int64(d)
	h.counts[bucket(ns)]++
	h.n++
	h.max = max(h.max, ns)
}

func (h *hist) merge(o *hist) {
	for i, n := range &o.counts {
		h.counts[i] += n
	}
	h.n += o.n
	h.max = max(h.max, o.max)
}

func (h *hist) reset() { *h = hist{} }

// quantile is the value that a share q of all values does not exceed, 0 if there are none.
func (h *hist) quantile(q float64) time.Duration {
	if h.n == 0 {
		return 0
	}
	rank := uint64(q*float64(h.n) + 0.5)
	rank = min(max(rank, 1), h.n)
	seen := uint64(0)
	for i, n := range &h.counts {
		if seen += n; seen >= rank {
			return time.Duration(min(bucketEnd(i), h.max))
		}
	}
	return time.Duration(h.max)
}
