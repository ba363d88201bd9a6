package main

import (
	"testing"
	"time"
)

func TestHistogram(t *testing.T) {
	h, other := newHist(), newHist()
	for _, d := range []time.Duration{-time.Second, time.Millisecond, time.Second} {
		h.record(d)
	}
	other.record(time.Hour)
	h.take(other)
	if h.n() != 4 || other.n() != 0 {
		t.Errorf("%d values where all should be, %d where they were", h.n(), other.n())
	}
	for q, want := range map[float64]time.Duration{0: 0, 0.5: time.Millisecond, 0.75: time.Second, 1: longest} {
		if got := h.quantile(q); got < want || got > want+want/100 {
			t.Errorf("the quantile %v is %v, want %v or up to 1 %% more", q, got, want)
		}
	}
	if h.max() < longest {
		t.Errorf("the largest is %v", h.max())
	}
	if h := newHist(); h.quantile(0.5) != 0 || h.max() != 0 {
		t.Error("an empty histogram has values")
	}
}
