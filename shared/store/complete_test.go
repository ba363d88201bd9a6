package store_test

import (
	"fmt"
	"math"
	"testing"

	"sluice/shared/store"
	"sluice/shared/wire"
)

// TestComplete has a row for each way through the decision, and for each border in it.
func TestComplete(t *testing.T) {
	const (
		now = 1_000_000
		ttl = 100_000
		old = now - ttl // what is not younger has outlived its time
		top = math.MaxUint64
	)
	id := func(ms, seq uint64) wire.ID { return wire.ID{Ms: ms, Seq: seq} }
	empty := store.Edges{Empty: true}
	// begins: the history's first event is the first that is known of the target.
	begins := store.Edges{Oldest: id(950_000, 5), Newest: id(990_000, 0)}
	// goesOn: there was an event before, which is not there any more.
	goesOn := store.Edges{Oldest: id(950_000, 5), OldestPrev: id(940_000, 0), Newest: id(990_000, 0)}
	// goesOnOld: the same, all of it older than the time to live.
	goesOnOld := store.Edges{Oldest: id(100, 0), OldestPrev: id(50, 0), Newest: id(200, 0)}

	for _, c := range []struct {
		name  string
		after wire.ID
		own   bool
		since int64
		edges store.Edges
		gap   string // "": complete
	}{
		{"own 0, nothing there", id(0, 0), true, 0, empty, ""},
		{"own 0, first event there", id(0, 0), true, 0, begins, ""},
		{"own 0, first events gone", id(0, 0), true, 0, goesOn, wire.GapTrimmed},

		{"own and young, nothing there", id(old+1, 0), true, old + 1, empty, wire.GapUnknown},
		{"own and just not young, nothing there", id(old, 0), true, old, empty, wire.GapExpired},
		{"own and old, nothing there, but heard until lately", id(old, 0), true, old + 1, empty, ""},
		{"own and old, nothing there", id(5, 0), true, 5, empty, wire.GapExpired},
		{"own and young, begun anew", id(940_000, 0), true, 940_000, begins, wire.GapUnknown},
		{"own and old, begun anew", id(5, 0), true, 5, begins, wire.GapExpired},
		{"own and old, begun anew, but heard until lately", id(5, 0), true, 990_000, begins, ""},
		{"own in the far future, nothing there", id(top, top), true, 0, empty, wire.GapUnknown},
		{"own beyond int64, nothing there", id(math.MaxInt64+1, 0), true, 0, empty, wire.GapUnknown},

		{"bare 0, nothing there", id(0, 0), false, 0, empty, wire.GapExpired},
		{"bare 0, first event there", id(0, 0), false, 0, begins, ""},
		{"bare 0, first events gone", id(0, 0), false, 0, goesOn, wire.GapTrimmed},
		{"bare and young, nothing there", id(old+1, 0), false, old + 1, empty, ""},
		{"bare and just not young, nothing there", id(old, 0), false, old, empty, wire.GapExpired},
		{"bare and older than the first event", id(5, 0), false, 5, begins, ""},

		{"own, the first event itself", id(950_000, 5), true, 0, begins, ""},
		{"own, just before the first event", id(950_000, 4), true, 950_000, begins, wire.GapUnknown},
		{"own, between two events", id(960_000, 0), true, 0, begins, ""},
		{"own, the newest", id(990_000, 0), true, 0, begins, ""},
		{"own, above the newest", id(990_000, 1), true, 990_000, begins, wire.GapUnknown},
		{"own, above the newest, in the future", id(now+1, 0), true, 0, begins, wire.GapUnknown},
		{"own, beyond int64, above the newest", id(top, top), true, 0, begins, wire.GapUnknown},

		{"bare, between two events", id(960_000, 0), false, 0, begins, ""},
		{"bare, above the newest", id(995_000, 0), false, 0, begins, ""},
		{"bare, just now", id(now, 0), false, 0, begins, ""},
		{"bare, in the future", id(now+1, 0), false, 0, begins, wire.GapUnknown},
		{"bare, beyond int64", id(math.MaxInt64+1, 0), false, 0, begins, wire.GapUnknown},
		{"bare, the highest of all", id(top, top), false, 0, begins, wire.GapUnknown},

		{"own, what was before the oldest", id(940_000, 0), true, 0, goesOn, ""},
		{"own, just above what was before the oldest", id(940_000, 1), true, 0, goesOn, ""},
		{"own, just below what was before the oldest", id(939_999, 9), true, 0, goesOn, wire.GapTrimmed},
		{"own, trimmed, also if heard until lately", id(5, 0), true, now, goesOn, wire.GapTrimmed},
		{"bare, what was before the oldest", id(940_000, 0), false, 0, goesOn, ""},
		{"bare, trimmed", id(5, 0), false, 0, goesOn, wire.GapTrimmed},
		{"own, newest, of an old history", id(200, 0), true, 0, goesOnOld, ""},
		{"own, above the newest of an old history", id(201, 0), true, 0, goesOnOld, wire.GapUnknown},
		{"own, trimmed from an old history", id(49, 0), true, 0, goesOnOld, wire.GapTrimmed},
	} {
		ok, gap := store.Complete(store.Position{After: c.after, Own: c.own, Since: c.since}, c.edges, now, ttl)
		if ok != (c.gap == "") || gap != c.gap {
			t.Errorf("%s: %s, want %s", c.name, verdict(ok, gap), verdict(c.gap == "", c.gap))
		}
	}
}

func verdict(ok bool, gap string) string {
	if ok && gap == "" {
		return "complete"
	}
	return fmt.Sprintf("ok %v, gap %q", ok, gap)
}
