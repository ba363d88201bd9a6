package worker

import "sluice/shared/wire"

// end is what the owner knows of a target's history. Nobody else appends to it, so
// what is known stays true for the whole reign.
type end struct {
	newest  wire.ID
	touched int64 // when its expiry was last renewed, Redis's clock in ms
}

// generation bounds a cache of ends: it holds between one and two of these.
const generation = 16 << 10

// ends is a bounded cache: two generations, the older one is dropped when the
// younger one is full, and what is used moves to the younger one.
type ends struct {
	young, old map[string]end
}

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
	if _, ok := e.young[target]; !ok && len(e.young) >= generation {
		e.old, e.young = e.young, make(map[string]end)
	}
	e.young[target] = v
}
