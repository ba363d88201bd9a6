package ops

import (
	"context"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	tidyEvery    = 5 * time.Second
	tidyLongest  = 10 * time.Minute
	tidyLeast    = 8 << 20 // bytes that are not worth the work
	tidySettling = 2       // looks in a row at which memory no longer grew

	garbagePercent = 50      // of what is used
	leastGarbage   = 8 << 20 // bytes; a small heap may have more garbage: with half of it, collecting was most of the work
	mostPercent    = 400
)

// TidyMemory keeps small what a gateway takes from the system, until ctx ends.
//
// Its heap is connections, for which delivering makes no garbage: so the garbage may
// grow to half of the heap, instead of to all of it as in Go by default, or to leastGarbage.
// GOGC in the environment counts more.
//
// Ten thousand clients that connect at once need a goroutine and buffers each for a
// moment, which is ten times what they need from then on. Go gives that back only
// after its next collection, and an idle process has none for two minutes; then it
// goes slowly. So when the process has grown by half since it was last tidied, and has
// stopped to grow, a collection is made and everything free is given back. Where that
// does not help for long, since the work just needs the memory, it is done ever more
// seldom, down to once in ten minutes.
func TidyMemory(ctx context.Context) error {
	if os.Getenv("GOGC") == "" {
		defer debug.SetGCPercent(debug.SetGCPercent(garbagePercent))
		percent := garbagePercent
		afterCollections(ctx, func() {
			if p := percentFor(live()); 4*p < 3*percent || 3*p > 4*percent { // a change stops everything for a moment
				percent = p
				debug.SetGCPercent(p)
			}
		})
	}
	tick := time.NewTicker(tidyEvery)
	defer tick.Stop()
	var t tidy
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-tick.C:
			if t.look(now, resident()) {
				debug.FreeOSMemory()
				t.tidied(now, resident())
			}
		}
	}
}

// afterCollections calls f after each garbage collection, until ctx ends.
func afterCollections(ctx context.Context, f func()) {
	type mark struct{ _ *mark } // with a pointer, else it may be a part of a block that lives longer
	runtime.SetFinalizer(new(mark), func(*mark) {
		if ctx.Err() == nil {
			f()
			afterCollections(ctx, f)
		}
	})
}

// percentFor is the part of a heap, of so many bytes, to which garbage may grow.
func percentFor(heap uint64) int {
	return max(garbagePercent, int(min(mostPercent, 100*leastGarbage/max(1, heap))))
}

// tidy decides when.
type tidy struct {
	after  uint64        // bytes after the last time
	before uint64        // bytes at the last look
	calm   int           // looks since then that saw no growth
	pause  time.Duration // before the next time
	last   time.Time
}

func (t *tidy) look(now time.Time, bytes uint64) bool {
	if t.calm++; bytes > t.before+t.before/50 {
		t.calm = 0
	}
	t.before = bytes
	grown := bytes > t.after+t.after/2+tidyLeast
	return grown && t.calm >= tidySettling && now.Sub(t.last) >= t.pause
}

func (t *tidy) tidied(now time.Time, bytes uint64) {
	switch {
	case t.last.IsZero() || now.Sub(t.last) > 4*t.pause:
		t.pause = 2 * tidyEvery
	default: // it has not lasted
		t.pause = min(2*t.pause, tidyLongest)
	}
	t.last, t.after, t.before, t.calm = now, bytes, bytes, 0
}

// live is what the last garbage collection left of the heap, in bytes.
func live() uint64 {
	s := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(s)
	return s[0].Value.Uint64()
}

// resident is about what the system counts as the runtime's memory, in bytes.
func resident() uint64 {
	s := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	metrics.Read(s)
	return s[0].Value.Uint64() - s[1].Value.Uint64()
}
