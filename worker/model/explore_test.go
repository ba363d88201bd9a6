package model

import (
	"strings"
	"testing"
)

// walk is a system of one counter that can go one or two up, to rest at its end.
type walk struct{ end, hole, bad int }

func (w walk) start() int { return 0 }

func (w walk) next(s int, emit func(t Step, to int, broken string)) {
	for _, by := range []int{1, 2} {
		to, broken := s+by, ""
		if to == w.bad {
			broken = "bad number"
		}
		if s < w.end && to != w.hole {
			emit(Step{Who: "walker", What: "goes to", ID: uint8(to)}, to, broken)
		}
	}
}

func (w walk) settled(s int) (rest bool, broken string) {
	if s == w.end && w.bad == -1 {
		return true, "bad end"
	}
	return s >= w.end, ""
}

func TestExplore(t *testing.T) {
	for _, c := range []struct {
		name   string
		system walk
		limit  int
		states int
		broken string
		steps  int
	}{
		{"all states once", walk{end: 6}, 100, 8, "", 0},
		{"shortest trace to a broken step", walk{end: 10, bad: 7}, 100, -1, "bad number", 4},
		{"shortest trace to a broken end", walk{end: 8, bad: -1}, 100, -1, "bad end", 4},
		{"states that lead nowhere", walk{end: 100, hole: 100}, 200, -1, "", 0},
		{"limit", walk{end: 100}, 10, -1, "limit", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := explore[int](c.system, c.limit)
			if c.states >= 0 && r.States != c.states {
				t.Errorf("%d states, want %d", r.States, c.states)
			}
			if !strings.Contains(r.Broken, c.broken) || (r.Broken == "") != (c.broken == "") {
				t.Errorf("broken %q, want %q", r.Broken, c.broken)
			}
			if len(r.Trace) != c.steps {
				t.Errorf("trace of %d steps, want %d:\n%v", len(r.Trace), c.steps, r)
			}
		})
	}
}

// stop is a system that can go nowhere and is not at rest.
type stop struct{}

func (stop) start() int                                    { return 0 }
func (stop) next(int, func(t Step, to int, broken string)) {}
func (stop) settled(int) (rest bool, broken string)        { return false, "" }

func TestExploreStuck(t *testing.T) {
	if r := explore[int](stop{}, 10); !strings.HasPrefix(r.Broken, "stuck") {
		t.Errorf("not noticed: %v", r)
	}
}
