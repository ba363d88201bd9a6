package worker

import "sluice/shared/wire"

// end is what the owner knows of a target's history. Nobody else appends to it, so
// what is known stays true for the whole term.
type end struct {
	newest  wire.ID
	touched int64 // when its expiry was last renewed, Redis's clock in ms
	// sum is the Sum of the newest event, base that of the last event that was trimmed, as
	// far as known: sum-base bytes are retained at most, less if it was trimmed by number.
	// A sum of 0 of a history that has an event is not known: it has no bound.
	sum, base int64
}

// ends is a bounded cache of targets: two generations, the older one is dropped when
// the younger one is full, and what is used moves to the younger one. What it does not
// know says nothing about a target: its history has to be asked.
type ends struct {
	most       int // targets of a generation
	young, old map[string]end
}

// newEnds makes a cache of size targets, or of half as many when nothing is used twice.
func newEnds(size int) ends { return ends{most: max(1, size/2)} }

func (e *ends) get(target string) (end, bool) {
	if v, ok := e.young[target]; ok {
		return v, true
	}
	v, ok := e.old[target]
	return v, ok
}

func (e *ends) put(target string, v end) {
	if e.young == nil {
		e.young = make(map[string]end)
	}
	if _, ok := e.young[target]; !ok && len(e.young) >= e.most {
		e.old, e.young = e.young, make(map[string]end)
	}
	e.young[target] = v
}

func (e *ends) drop(target string) {
	delete(e.young, target)
	delete(e.old, target)
}
