package torture

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"
)

// Heard is one attempt to call a function, as the function saw it.
type Heard struct {
	ID    string    `json:"id"`
	Kind  string    `json:"kind"`
	Conn  string    `json:"conn,omitzero"`
	Seq   int       `json:"seq"`
	Begin time.Time `json:"begin"`
	End   time.Time `json:"end,omitzero"`  // when it answered
	Done  bool      `json:"done,omitzero"` // with 2xx, whether or not somebody still waited for that
}

// AskedCall is a call of a client, which asked until it had a reply.
type AskedCall struct {
	ID      string   // as functions hear it
	Replies []string // what came, each the ID if it is the right one
}

// FunctionLog is what a run with functions left behind, after all clients had left and all was quiet.
type FunctionLog struct {
	Heard     []Heard
	Asked     []AskedCall
	Effects   []string // IDs of the events whose answers published them, in the order of the history
	Unsettled string   // what was still to be done after all patience
}

// entry is one event of a connection: it may be heard several times.
type entry struct {
	id, kind    string
	begin, done time.Time // of the first attempt, and of the first that was done; zero: none
}

// CheckFunctions judges it: the events of a connection came in order, none before the one ahead of it was done, from one
// `connected` to one `disconnected`; each came at least once, and had its effects once; each call had its reply.
func CheckFunctions(log *FunctionLog) (wrong []string) {
	add := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	if log.Unsettled != "" {
		add("not settled: %s", log.Unsettled)
	}
	conns := map[string]map[int]*entry{}
	heard := map[string]bool{}
	for _, h := range log.Heard {
		heard[h.ID] = true
		if conns[h.Conn] == nil {
			conns[h.Conn] = map[int]*entry{}
		}
		e := conns[h.Conn][h.Seq]
		if e == nil {
			e = &entry{id: h.ID, kind: h.Kind, begin: h.Begin}
			conns[h.Conn][h.Seq] = e
		}
		if e.id != h.ID || e.kind != h.Kind {
			add("event %d of %s was heard as %s %q and as %s %q", h.Seq, h.Conn, e.kind, e.id, h.Kind, h.ID)
		}
		if h.Begin.Before(e.begin) {
			e.begin = h.Begin
		}
		if h.Done && (e.done.IsZero() || h.End.Before(e.done)) {
			e.done = h.End
		}
	}
	for _, conn := range slices.Sorted(maps.Keys(conns)) {
		for _, text := range checkConn(conns[conn]) {
			add("connection %s: %s", conn, text)
		}
	}
	effects := map[string]int{}
	for _, id := range log.Effects {
		if effects[id]++; !heard[id] {
			add("an effect of %q, which nobody has heard", id)
		}
	}
	for _, a := range log.Asked {
		if !heard[a.ID] {
			add("lost: call %q was not heard", a.ID)
		}
		if n := effects[a.ID]; n != 1 {
			add("call %q has %d effects", a.ID, n)
		}
		if len(a.Replies) == 0 {
			add("lost: call %q has no reply", a.ID)
		}
		for _, reply := range a.Replies {
			if reply != a.ID {
				add("call %q has the reply %q", a.ID, reply)
			}
		}
	}
	return wrong
}

// checkConn judges the events of one connection, by their numbers.
func checkConn(events map[int]*entry) (wrong []string) {
	add := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	numbers := slices.SortedFunc(maps.Keys(events), cmp.Compare)
	var before *entry
	for i, n := range numbers {
		e := events[n]
		if n != i+1 {
			add("lost: event %d is %s %q, where %d was to come", n, e.kind, e.id, i+1)
			return wrong
		}
		if e.done.IsZero() {
			add("lost: event %d, %q, was never done", n, e.id)
		}
		if first := i == 0; first != (e.kind == "sluice.connected") {
			add("event %d is %s", n, e.kind)
		}
		if last := i == len(numbers)-1; last != (e.kind == "sluice.disconnected") {
			add("event %d of %d is %s", n, len(numbers), e.kind)
		}
		if before != nil && (before.done.IsZero() || e.begin.Before(before.done)) {
			add("reordered: event %d, %q, came before %d was done", n, e.id, n-1)
		}
		before = e
	}
	return wrong
}
