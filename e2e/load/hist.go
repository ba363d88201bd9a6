package main

import (
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// hist is a histogram of durations, which are known to 1 %.
type hist struct{ h *hdrhistogram.Histogram }

// longest is the most that a hist tells apart.
const longest = 18 * time.Minute

func newHist() hist { return hist{hdrhistogram.New(1, int64(longest), 2)} }

func (h hist) record(d time.Duration) {
	_ = h.h.RecordValue(int64(min(max(d, 0), longest))) // only what is out of range is refused
}

// take moves all values of o to h.
func (h hist) take(o hist) {
	h.h.Merge(o.h)
	o.h.Reset()
}

func (h hist) n() int64 { return h.h.TotalCount() }

func (h hist) max() time.Duration { return time.Duration(h.h.Max()) }

// quantile is the value that a share q of all values does not exceed, 0 if there are none.
func (h hist) quantile(q float64) time.Duration { return time.Duration(h.h.ValueAtQuantile(100 * q)) }
