package model

import (
	"fmt"
	"hash/maphash"
	"strings"
)

// Step names what happened between two states. Faults are what the protocol has to bear; everything else is the protocol at work.
type Step struct {
	Who   string
	What  string
	ID    uint8 // the newest event that the step is about, for a beat its seq; 0: none
	Fault bool
}

func (t Step) String() string {
	text := fmt.Sprintf("%-8s %s", t.Who, t.What)
	if t.ID != 0 {
		text += fmt.Sprintf(" (%d)", t.ID)
	}
	if t.Fault {
		text += "   <- fault"
	}
	return text
}

// system is a protocol to be explored. S must hold no pointers: equal states must compare equal.
type system[S comparable] interface {
	start() S
	// next emits every step that can happen in s; broken says which promise the step broke, empty if none.
	next(s S, emit func(t Step, to S, broken string))
	// settled says whether all is at rest with a live worker; broken is then what is not as promised.
	settled(s S) (rest bool, broken string)
}

// Result is what an exploration found.
type Result struct {
	States  int
	Settled int    // states in which the final promises were checked
	Broken  string // empty: every promise holds in every state
	Trace   []Step // the shortest way to the broken promise
	Capped  bool   // the limit was reached: the answer is not exhaustive
}

func (r Result) String() string {
	if r.Broken == "" {
		return fmt.Sprintf("%d states, %d settled, nothing broken", r.States, r.Settled)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%d states; broken: %s\n", r.States, r.Broken)
	for i, t := range r.Trace {
		fmt.Fprintf(&b, "%3d  %s\n", i+1, t)
	}
	return b.String()
}

// explore visits every reachable state, nearest first, so that the first broken promise has a shortest trace.
// It gives up at limit states: a model that outgrew its bounds should fail, not fill the memory.
func explore[S comparable](m system[S], limit int) Result {
	e := explorer[S]{seed: maphash.MakeSeed(), table: make([]int32, 1<<16)}
	e.add(m.start(), -1)
	settled := 0
	for at := 0; at < len(e.states); at++ {
		if len(e.states) > limit {
			return Result{States: len(e.states), Settled: settled, Capped: true, Broken: "limit of states reached"}
		}
		from := e.states[at]
		rest, broken := m.settled(from)
		if rest {
			settled++
		}
		if broken != "" {
			return Result{States: len(e.states), Settled: settled, Broken: broken, Trace: trace(m, &e, at)}
		}
		var last Step
		moves := false
		m.next(from, func(t Step, to S, bad string) {
			if bad != "" && broken == "" {
				broken, last = bad, t
			}
			moves = moves || !t.Fault && to != from
			e.add(to, int32(at))
		})
		if broken != "" {
			return Result{States: len(e.states), Settled: settled, Broken: broken, Trace: append(trace(m, &e, at), last)}
		}
		if !moves && !rest {
			return Result{States: len(e.states), Settled: settled, Broken: "stuck: nothing can go on, and not all is done", Trace: trace(m, &e, at)}
		}
	}
	return Result{States: len(e.states), Settled: settled}
}

// explorer is a set of states in the order found; an open-addressed table of indices, since a Go map would hold each state twice.
type explorer[S comparable] struct {
	seed   maphash.Seed
	states []S
	parent []int32
	table  []int32 // index into states, plus one
}

func (e *explorer[S]) add(s S, parent int32) {
	slot := e.find(s)
	if e.table[slot] != 0 {
		return
	}
	e.states = append(e.states, s)
	e.parent = append(e.parent, parent)
	e.table[slot] = int32(len(e.states))
	if 2*len(e.states) > len(e.table) {
		e.table = make([]int32, 2*len(e.table))
		for i, old := range e.states {
			e.table[e.find(old)] = int32(i + 1)
		}
	}
}

func (e *explorer[S]) find(s S) uint64 {
	mask := uint64(len(e.table) - 1)
	slot := maphash.Comparable(e.seed, s) & mask
	for e.table[slot] != 0 && e.states[e.table[slot]-1] != s {
		slot = (slot + 1) & mask
	}
	return slot
}

// trace finds the steps again by repeating each parent's moves: cheaper than a Step in every state.
func trace[S comparable](m system[S], e *explorer[S], at int) []Step {
	var back []Step
	for i := int32(at); e.parent[i] >= 0; i = e.parent[i] {
		var step *Step
		m.next(e.states[e.parent[i]], func(t Step, to S, _ string) {
			if step == nil && to == e.states[i] {
				step = &t
			}
		})
		back = append(back, *step)
	}
	for i, j := 0, len(back)-1; i < j; i, j = i+1, j-1 {
		back[i], back[j] = back[j], back[i]
	}
	return back
}
