package live

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
)

// TestSubList: like a map, at any size.
func TestSubList(t *testing.T) {
	var l subList
	want := map[string]*Sub{}
	for range 3000 {
		name := fmt.Sprint("topic:", rand.IntN(40))
		switch {
		case rand.IntN(2) == 0:
			s := &Sub{target: &target{name: name}}
			l.add(s)
			want[name] = s
		default:
			if got := l.remove(name); got != want[name] {
				t.Fatalf("removed %p for %s, want %p", got, name, want[name])
			}
			delete(want, name)
		}
		name = fmt.Sprint("topic:", rand.IntN(40))
		if l.get(name) != want[name] || len(l) != len(want) {
			t.Fatalf("%s: %p of %d, want %p of %d", name, l.get(name), len(l), want[name], len(want))
		}
	}
	var names []string
	for _, s := range l {
		names = append(names, s.target.name)
	}
	if !slices.Equal(names, slices.Sorted(maps.Keys(want))) {
		t.Errorf("%v", names)
	}
}
