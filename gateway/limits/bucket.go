package limits

import (
	"math"
	"sync/atomic"
	"time"
)

// BurstTime is how long a bucket takes to fill: so much of what a rate allows may come at
// once.
const BurstTime = 10 * time.Second

// Rate is how many units a second are allowed. 0: any number.
type Rate int

// Burst is how many units may come at once.
func (r Rate) Burst() int { return int(r) * int(BurstTime/time.Second) }

// Bucket is a token bucket in eight bytes. The zero Bucket is full. It holds the time at
// which it is full again (the generic cell rate algorithm, ITU-T I.371), so nothing has to
// fill it. It is safe for concurrent use.
type Bucket struct{ full atomic.Int64 }

// Take takes units, or says how long to wait until there are enough. now is a time that
// never goes back. More units than fit count as a full bucket.
func (b *Bucket) Take(now time.Duration, r Rate, units float64) (wait time.Duration) {
	for {
		old := b.full.Load()
		full, wait := after(old, now, r, units)
		if wait > 0 || full == old || b.full.CompareAndSwap(old, full) {
			return wait
		}
	}
}

// Wait is what Take would say. It takes nothing.
func (b *Bucket) Wait(now time.Duration, r Rate, units float64) time.Duration {
	_, wait := after(b.full.Load(), now, r, units)
	return wait
}

// after is when a bucket is full again from which units are taken now, or how long they have to wait.
func after(full int64, now time.Duration, r Rate, units float64) (int64, time.Duration) {
	if r <= 0 {
		return full, 0
	}
	units = min(units, float64(r.Burst()))
	then := max(full, int64(now)) + int64(math.Ceil(units*float64(time.Second)/float64(r)))
	return then, max(0, time.Duration(then-int64(now))-BurstTime)
}

// IsFull reports whether a new bucket would be the same.
func (b *Bucket) IsFull(now time.Duration) bool { return b.full.Load() <= int64(now) }
