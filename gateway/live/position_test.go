package live

import (
	"math"
	"testing"

	"sluice/shared/store"
	"sluice/shared/wire"
)

func ms(n uint64) wire.ID { return wire.ID{Ms: n} }

// TestPositionFollows has a row for each way in which an event can be the next one, or not.
func TestPositionFollows(t *testing.T) {
	crossed := at(ms(5))
	crossed.jump(wire.ID{})
	crossedTwice := crossed
	crossedTwice.jump(wire.ID{})
	moved := crossed
	moved.advance(ms(9))
	for _, tc := range []struct {
		name string
		p    position
		r    wire.Record
		want bool
	}{
		{"what is before it is the last one", at(ms(5)), wire.Record{ID: ms(7), Prev: ms(5)}, true},
		{"something is between", at(ms(5)), wire.Record{ID: ms(7), Prev: ms(6)}, false},
		{"of another chain", at(ms(5)), wire.Record{ID: ms(7), Prev: ms(4)}, false},
		{"of a history that begins again", at(ms(5)), wire.Record{ID: ms(7)}, false},
		{"of one that begins again behind another event", at(ms(5)), wire.Record{ID: ms(7), Prev: ms(6), First: true}, false},
		{"the first of all, for a reader with nothing", position{}, wire.Record{ID: ms(7)}, true},
		{"something was before, for a reader with nothing", position{}, wire.Record{ID: ms(7), Prev: ms(6)}, false},
		{"begins again, for a reader with nothing", position{}, wire.Record{ID: ms(7), Prev: ms(6), First: true}, true},
		{"after a gap into an empty history, behind what was there", crossed, wire.Record{ID: ms(7), Prev: ms(5)}, true},
		{"after two such gaps", crossedTwice, wire.Record{ID: ms(7), Prev: ms(5)}, true},
		{"after such a gap, behind something else", crossed, wire.Record{ID: ms(7), Prev: ms(6)}, false},
		{"what was before a gap is over", moved, wire.Record{ID: ms(10), Prev: ms(5)}, false},
	} {
		if got := tc.p.follows(&tc.r); got != tc.want {
			t.Errorf("%s: %v", tc.name, got)
		}
	}
	if p := at(ms(5)); !p.has(ms(5)) || p.has(ms(6)) || (position{}).has(ms(1)) {
		t.Error("has is up to and with the last one")
	}
}

// TestPositionGap has a row for each way through the decision, and for each border in it.
func TestPositionGap(t *testing.T) {
	const (
		now = 1_000_000
		ttl = 100_000
		old = now - ttl // what is not younger has outlived its time
		top = math.MaxUint64
	)
	c := clock{now, ttl}
	page := func(first, prev uint64, anew bool) *piece {
		return &piece{records: []wire.Record{{ID: ms(first), Prev: ms(prev), First: anew}}, edges: store.Edges{Newest: ms(first)}}
	}
	nothing := func(newest uint64) *piece { return &piece{edges: store.Edges{Newest: ms(newest)}} }
	for _, tc := range []struct {
		name  string
		p     position
		since int64
		got   *piece
		want  string
	}{
		{"goes on", at(ms(940_000)), 0, page(950_000, 940_000, false), ""},
		{"the newest", at(ms(950_000)), 0, nothing(950_000), ""},
		{"0, nothing there", position{}, 0, nothing(0), ""},
		{"0, first event there", position{}, 0, page(950_000, 0, false), ""},
		{"0, begun again", position{}, 0, page(950_000, 940_000, true), ""},
		{"0, first events gone", position{}, 0, page(950_000, 940_000, false), wire.GapTrimmed},
		{"trimmed", at(ms(5)), 0, page(950_000, 940_000, false), wire.GapTrimmed},
		{"trimmed, also if heard until lately", at(ms(5)), now, page(950_000, 940_000, false), wire.GapTrimmed},
		{"no event of this history", at(ms(945_000)), 0, page(950_000, 940_000, false), wire.GapUnknown},
		{"above the newest", at(ms(950_001)), 0, nothing(950_000), wire.GapUnknown},
		{"below the newest, and nothing was read", at(ms(940_000)), 0, nothing(950_000), wire.GapUnknown},
		{"young, nothing there", at(ms(old + 1)), old + 1, nothing(0), wire.GapUnknown},
		{"just not young, nothing there", at(ms(old)), old, nothing(0), wire.GapExpired},
		{"old, nothing there, but heard until lately", at(ms(old)), old + 1, nothing(0), ""},
		{"young, begun again", at(ms(940_000)), 940_000, page(950_000, 0, false), wire.GapUnknown},
		{"old, begun again", at(ms(5)), 5, page(950_000, 0, false), wire.GapExpired},
		{"old, begun again, but heard until lately", at(ms(5)), now, page(950_000, 0, false), ""},
		{"begun again behind an event that it has not", at(ms(5)), 5, page(950_000, 6, true), wire.GapTrimmed},
		{"begun again behind what it has", at(ms(5)), 5, page(950_000, 5, true), ""},
		{"in the far future, nothing there", at(wire.ID{Ms: top, Seq: top}), 0, nothing(0), wire.GapUnknown},
		{"beyond int64, nothing there", at(ms(math.MaxInt64 + 1)), 0, nothing(0), wire.GapUnknown},
	} {
		if got := tc.p.gap(tc.got, known{since: tc.since}, c); got != tc.want {
			t.Errorf("%s: %q, want %q", tc.name, got, tc.want)
		}
	}
	for _, tc := range []struct {
		name  string
		lacks uint64
		got   *piece
		want  string
	}{
		{"it is there", 950_000, page(950_000, 0, false), ""},
		{"it is gone, and was young", 940_000, page(950_000, 0, false), wire.GapUnknown},
		{"it is gone, and was old", 6, page(950_000, 0, false), wire.GapExpired},
		{"nothing there", 940_000, nothing(0), wire.GapUnknown},
	} {
		if got := at(ms(5)).gap(tc.got, known{since: now, lacks: ms(tc.lacks)}, c); got != tc.want {
			t.Errorf("an event that it lacks, %s: %q, want %q", tc.name, got, tc.want)
		}
	}
	for _, tc := range []struct {
		name  string
		after uint64
		got   *piece
		want  string
	}{
		{"0, nothing there", 0, nothing(0), wire.GapExpired},
		{"0, first event there", 0, page(950_000, 0, false), ""},
		{"0, first events gone", 0, page(950_000, 940_000, false), wire.GapTrimmed},
		{"young, nothing there", old + 1, nothing(0), ""},
		{"just not young, nothing there", old, nothing(0), wire.GapExpired},
		{"older than the first event", 5, page(950_000, 0, false), ""},
		{"between two events", 945_000, page(950_000, 940_000, false), ""},
		{"above the newest", 995_000, nothing(950_000), ""},
		{"just now", now, nothing(950_000), ""},
		{"in the future", now + 1, nothing(950_000), wire.GapUnknown},
		{"beyond int64", math.MaxInt64 + 1, nothing(950_000), wire.GapUnknown},
	} {
		if got := gapAfter(ms(tc.after), tc.got, c); got != tc.want {
			t.Errorf("after a time, %s: %q, want %q", tc.name, got, tc.want)
		}
	}
}
