package compose_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

// tally are the figures of one step.
type tally struct {
	mu         sync.Mutex
	begun      time.Time
	events     int // appended
	deliveries int
	repeated   int           // deliveries of what the client had already
	holes      int           // deliveries whose prev was not what the client had last
	slowest    time.Duration // from an append to a delivery
	closes     map[string]int
	returns    []time.Time   // when clients were subscribed again
	away       time.Duration // the longest time that a client was not
	through    string        // the balancer that it came back through
}

// begin starts again.
func (y *tally) begin() {
	y.mu.Lock()
	defer y.mu.Unlock()
	y.begun = time.Now()
	y.events, y.deliveries, y.repeated, y.holes, y.slowest, y.away = 0, 0, 0, 0, 0, 0
	y.closes, y.returns = map[string]int{}, nil
}

func (y *tally) appended() {
	y.mu.Lock()
	y.events++
	y.mu.Unlock()
}

func (y *tally) delivered(after time.Duration, repeated, hole bool) {
	y.mu.Lock()
	defer y.mu.Unlock()
	y.deliveries++
	if repeated {
		y.repeated++
	}
	if hole {
		y.holes++
	}
	y.slowest = max(y.slowest, after)
}

func (y *tally) closed(code string) {
	y.mu.Lock()
	y.closes[code]++
	y.mu.Unlock()
}

func (y *tally) returned(away time.Duration, through string) {
	y.mu.Lock()
	defer y.mu.Unlock()
	y.returns = append(y.returns, time.Now())
	if away > y.away {
		y.away, y.through = away, through
	}
}

// closedWith are the ways in which connections ended, and how often.
func (y *tally) closedWith() map[string]int {
	y.mu.Lock()
	defer y.mu.Unlock()
	return maps.Clone(y.closes)
}

// ordered reports whether nothing came twice, and nothing before what it follows.
func (y *tally) ordered() bool {
	y.mu.Lock()
	defer y.mu.Unlock()
	return y.repeated == 0 && y.holes == 0
}

// String tells the figures in one line. Nothing was lost if the step has settled.
func (y *tally) String() string {
	y.mu.Lock()
	defer y.mu.Unlock()
	peak := 0
	for i := range y.returns { // they grow
		n, _ := slices.BinarySearchFunc(y.returns, y.returns[i].Add(time.Second), time.Time.Compare)
		peak = max(peak, n-i)
	}
	s := fmt.Sprintf("%d events (%.0f/s), %d deliveries, lost 0, repeated %d, out of order %d; the largest pause %v",
		y.events, float64(y.events)/time.Since(y.begun).Seconds(), y.deliveries, y.repeated, y.holes, round(y.slowest))
	if len(y.closes) > 0 {
		var codes []string
		for _, code := range slices.Sorted(maps.Keys(y.closes)) {
			codes = append(codes, fmt.Sprintf("%d with %s", y.closes[code], code))
		}
		s += fmt.Sprintf("; connections closed: %s; %d came back, at most %d in one second, the longest was away for %v (%s)",
			strings.Join(codes, ", "), len(y.returns), peak, round(y.away), y.through)
	}
	return s
}

func round(d time.Duration) time.Duration { return d.Round(time.Millisecond) }
