package limits_test

import (
	"sync"
	"testing"

	"sluice/gateway/limits"
)

// TestPool: so many run at a time, of one key its part, and who comes later does not wait for the many of another key.
func TestPool(t *testing.T) {
	var running sync.WaitGroup
	p := limits.NewPool(limits.Bounds{Size: 4, KeySize: 2, KeyWaiting: 10}, &running)
	begun := make(chan string, 20)
	end := map[string]chan struct{}{"anna": make(chan struct{}), "bob": make(chan struct{})}
	add := func(key string) bool {
		return p.Go(key, 1, func() {
			begun <- key
			<-end[key]
		})
	}
	for range 12 {
		if !add("anna") {
			t.Fatal("there is room")
		}
	}
	if add("anna") {
		t.Error("more wait than may")
	}
	add("bob")
	got := map[string]int{}
	for range 3 {
		got[<-begun]++
	}
	if got["anna"] != 2 || got["bob"] != 1 {
		t.Errorf("at first %v begin", got)
	}
	end["bob"] <- struct{}{}
	for range 10 { // each one that ends lets the next one begin
		if len(begun) != 0 {
			t.Fatal("more run than may")
		}
		end["anna"] <- struct{}{}
		<-begun
	}
	close(end["anna"])
	running.Wait()
	if len(begun) != 0 {
		t.Errorf("%d more have begun", len(begun))
	}
}
