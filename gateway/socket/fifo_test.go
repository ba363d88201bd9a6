package socket

import (
	"math/rand/v2"
	"slices"
	"testing"
)

func TestFifo(t *testing.T) {
	var f fifo[*int]
	var want []*int
	longest := keep
	for range 100_000 {
		if n := rand.IntN(5); rand.IntN(2) == 0 {
			for range n {
				v := new(int)
				f.push(v)
				want = append(want, v)
			}
		} else {
			n = min(n, len(want))
			if got := f.front(n); !slices.Equal(got, want[:n]) {
				t.Fatal("not the first ones in their order")
			}
			f.drop(n, keep)
			want = want[n:]
		}
		longest = max(longest, len(want))
		if f.len() != len(want) {
			t.Fatalf("%d items, want %d", f.len(), len(want))
		}
	}
	kept := 0
	for _, v := range f.items[:cap(f.items)] {
		if v != nil {
			kept++
		}
	}
	if kept != len(want) {
		t.Errorf("keeps %d items alive, of %d", kept, len(want))
	}
	if cap(f.items) > 8*longest {
		t.Errorf("room for %d items, of which there were at most %d", cap(f.items), longest)
	}
	f.drop(len(want), keep)
	for range 10 * keep {
		f.push(nil)
	}
	f.drop(10*keep, keep)
	if cap(f.items) > keep {
		t.Errorf("an empty queue keeps room for %d items", cap(f.items))
	}
}
