package ops

import (
	"context"
	"runtime"
	"runtime/debug"
	"sync/atomic"
	"testing"
	"time"
)

// TestTidyWhen: after a burst, once, and seldom where it does not help.
func TestTidyWhen(t *testing.T) {
	const mib = 1 << 20
	now := time.Unix(1000, 0)
	var td tidy
	look := func(bytes uint64) bool {
		now = now.Add(tidyEvery)
		return td.look(now, bytes)
	}
	for i, bytes := range []uint64{4 * mib, 4 * mib, 4 * mib, 4 * mib} {
		if look(bytes) {
			t.Fatalf("look %d: nothing to gain", i)
		}
	}
	for i, bytes := range []uint64{100 * mib, 200 * mib, 300 * mib, 300 * mib} {
		if look(bytes) {
			t.Fatalf("look %d: in the middle of the burst", i)
		}
	}
	if !look(300 * mib) {
		t.Fatal("the burst is over")
	}
	td.tidied(now, 30*mib)
	for i := range 100 {
		if look(44 * mib) {
			t.Fatalf("look %d: as usual between two collections", i)
		}
	}
	// Memory that the work needs: ever longer pauses.
	times := 0
	for range 2 * int(tidyLongest/tidyEvery) {
		if look(300 * mib) {
			times++
			td.tidied(now, 150*mib)
		}
	}
	if times < 2 || times > 9 {
		t.Errorf("%d times in %v", times, 2*tidyLongest)
	}
	// Calm for long: the next burst is worth it again, soon.
	for range 5 * int(tidyLongest/tidyEvery) {
		look(150 * mib)
	}
	for i := 0; !look(400 * mib); i++ {
		if i > 10 {
			t.Fatal("never again")
		}
	}
	td.tidied(now, 150*mib)
	if td.pause != 2*tidyEvery {
		t.Errorf("the next pause is %v", td.pause)
	}
}

// TestResident: what is given back does not count.
func TestResident(t *testing.T) {
	debug.FreeOSMemory()
	before := resident()
	full := func() uint64 {
		b := make([]byte, 64<<20)
		for i := 0; i < len(b); i += 4096 {
			b[i] = 1
		}
		defer runtime.KeepAlive(b)
		return resident()
	}()
	debug.FreeOSMemory()
	after := resident()
	if full < before+60<<20 || after > before+16<<20 {
		t.Errorf("%d MiB, with 64 MiB more %d, without them %d", before>>20, full>>20, after>>20)
	}
}

func TestTidyMemoryEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := TidyMemory(ctx); err != nil {
		t.Error(err)
	}
}

// TestPercentFor: a small heap may have leastGarbage, a large one half of its size.
func TestPercentFor(t *testing.T) {
	for _, tc := range []struct {
		heap uint64
		want int
	}{{0, 400}, {1 << 20, 400}, {4 << 20, 200}, {8 << 20, 100}, {16 << 20, 50}, {1 << 40, 50}} {
		if got := percentFor(tc.heap); got != tc.want {
			t.Errorf("for %d bytes: %d, want %d", tc.heap, got, tc.want)
		}
	}
}

// TestAfterCollections: they are noticed again and again.
func TestAfterCollections(t *testing.T) {
	var noticed atomic.Int32
	afterCollections(t.Context(), func() { noticed.Add(1) })
	for end := time.Now().Add(10 * time.Second); noticed.Load() < 3; runtime.GC() {
		if time.Now().After(end) {
			t.Fatalf("%d collections were noticed", noticed.Load())
		}
	}
}
