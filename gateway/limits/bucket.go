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
	if r <= 0 {
		return 0
	}
	units = min(units, float64(r.Burst()))
	cost := int64(math.Ceil(units * float64(time.Second) / float64(r)))
	for {
		old := b.full.Load()
		full := max(old, int64(now)) + cost
		if wait := full - int64(now) - int64(BurstTime); wait > 0 {
			return time.Duration(wait)
		}
		if b.full.CompareAndSwap(old, full) {
			return 0
		}
	}
}

// IsFull reports whether a new bucket would be the same.
func (b *Bucket) IsFull(now time.Duration) bool { return b.full.Load() <= int64(now) }
