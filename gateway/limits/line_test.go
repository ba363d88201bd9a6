package limits

import (
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
)

// TestLine: between two turns of a goroutine that yields only some of a crowd go on, and all of them in the end.
func TestLine(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	const crowd, ready = 2000, 32
	line := NewLine(ready)
	var all sync.WaitGroup
	began := make(chan struct{})
	var done atomic.Int64
	for range crowd {
		all.Go(func() {
			<-began
			line.Stand()
			done.Add(1)
		})
	}
	runtime.Gosched() // they wait
	close(began)
	most := int64(0)
	for done.Load() < crowd {
		before := done.Load()
		runtime.Gosched()
		most = max(most, done.Load()-before)
	}
	all.Wait()
	if most > 2*ready {
		t.Errorf("%d of a crowd went on between two turns of another, want about %d", most, ready)
	}
}
