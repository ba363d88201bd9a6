package main

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

func TestHistogramBuckets(t *testing.T) {
	if b := bucket(-5); b != 0 {
		t.Errorf("a negative value is in bucket %d", b)
	}
	if b := bucket(1 << 62); b != histBuckets-1 {
		t.Errorf("a huge value is in bucket %d of %d", b, histBuckets)
	}
	last := -1
	for _, v := range []int64{0, 1, 63, 64, 65, 127, 128, 129, 255, 256, 1000, 1e6, 1e9, 60e9, 1<<40 - 1} {
		b := bucket(v)
		if b < last {
			t.Errorf("bucket(%d) = %d is below that of a smaller value", v, b)
		}
		last = b
		if end := bucketEnd(b); end < v || float64(end-v) > float64(v)/subBuckets {
			t.Errorf("%d is in a bucket that ends with %d: want at most a %dth above", v, end, subBuckets)
		}
		if b < histBuckets-1 && bucket(bucketEnd(b)+1) != b+1 {
			t.Errorf("behind bucket %d comes %d", b, bucket(bucketEnd(b)+1))
		}
	}
}

func TestHistogramQuantiles(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var h, other hist
	var all []int64
	for i := range 100_000 {
		v := int64(r.ExpFloat64() * 1e6)
		all = append(all, v)
		if i%3 == 0 {
			other.record(time.Duration(v))
		} else {
			h.record(time.Duration(v))
		}
	}
	h.merge(&other)
	slices.Sort(all)
	for _, q := range []float64{0, 0.001, 0.5, 0.9, 0.99, 0.999, 0.99999, 1} {
		want := float64(all[min(max(int(q*float64(len(all))+0.5)-1, 0), len(all)-1)])
		if got := float64(h.quantile(q)); got < want || got > want*(1+1.0/subBuckets)+1 {
			t.Errorf("quantile(%v) = %v, want %v or up to 1.6 %% more", q, got, want)
		}
	}
	if h.quantile(1) != time.Duration(all[len(all)-1]) {
		t.Errorf("the largest is %v, want %d exactly", h.quantile(1), all[len(all)-1])
	}
	h.reset()
	if h.quantile(0.5) != 0 || h.n != 0 {
		t.Error("an empty histogram has values")
	}
}

func BenchmarkHistogramRecord(b *testing.B) {
	var h hist
	for i := range b.N {
		h.record(time.Duration(i))
	}
}
