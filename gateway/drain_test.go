package gateway

import (
	"testing"
	"time"
)

// TestReturnWithin: clients come back at no more than returnRate a second, unless that
// would take too long.
func TestReturnWithin(t *testing.T) {
	for _, x := range []struct {
		clients      int
		window, want time.Duration
	}{
		{0, 16 * time.Second, time.Second},
		{10, 0, time.Second},
		{10_000, 16 * time.Second, time.Second}, // the drain spreads them
		{10_000, time.Second, 9 * time.Second},
		{10_000, 0, 10 * time.Second},
		{50_000, 16 * time.Second, 34 * time.Second},
		{1_000_000, 16 * time.Second, time.Minute},
	} {
		if got := returnWithin(x.clients, x.window); got != x.want {
			t.Errorf("%d clients in %v: %v, want %v", x.clients, x.window, got, x.want)
		}
	}
}
