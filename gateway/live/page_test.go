package live

import (
	"encoding/json"
	"slices"
	"testing"

	"sluice/shared/wire"
)

// pages reads from a start to the end, by pages of so many events.
func (w *world) pages(start Start, retained bool, events, bytes int) (ids []wire.ID, gaps []string, sizes []int) {
	w.t.Helper()
	for range 1000 {
		p, err := w.flow.Page(w.t.Context(), "user", &PageRequest{Target: room, Start: start, Retained: retained, Events: events, Bytes: bytes})
		if err != nil {
			w.t.Fatal(err)
		}
		if p.Gap != nil {
			gaps = append(gaps, p.Gap.Reason)
		}
		for _, f := range p.Frames {
			var e struct{ ID, Prev wire.ID }
			if err := json.Unmarshal(wire.Payload(f), &e); err != nil {
				w.t.Fatal(err)
			}
			if n := len(ids); n > 0 && ids[n-1] != e.Prev && p.Gap == nil {
				w.t.Errorf("event %v follows %v, its prev is %v", e.ID, ids[n-1], e.Prev)
			}
			ids = append(ids, e.ID)
		}
		sizes = append(sizes, len(p.Frames))
		if !p.More {
			return ids, gaps, sizes
		}
		start = After(p.Position)
	}
	w.t.Fatal("there is no end")
	return nil, nil, nil
}

// ids are those of all events that there ever were, from one on.
func (w *world) ids(from int) (ids []wire.ID) {
	for _, e := range w.all[room][from:] {
		ids = append(ids, e.ID)
	}
	return ids
}

// TestPages: pages have everything once and in order, and say exactly whether there is more.
func TestPages(t *testing.T) {
	play(t, func(w *world) {
		if ids, gaps, sizes := w.pages(Earliest(), false, 10, 1<<20); len(ids) != 0 || len(gaps) != 0 || len(sizes) != 1 {
			t.Errorf("of nothing there are %v, %v, %v", ids, gaps, sizes)
		}
		w.publish(room, 250)
		for _, tc := range []struct {
			start         Start
			from          int
			events, bytes int
			want          []int
		}{
			{Earliest(), 0, 100, 1 << 20, []int{100, 100, 50}},
			{After(wire.ID{}), 0, 125, 1 << 20, []int{125, 125}}, // as many as there are: no empty page follows
			{After(w.all[room][239].ID), 240, 7, 1 << 20, []int{7, 3}},
			{After(w.all[room][246].ID), 247, 10, 1, []int{1, 1, 1}}, // one event may be more than the bytes
			{After(w.all[room][249].ID), 250, 10, 1 << 20, []int{0}},
			{Now(), 250, 10, 1 << 20, []int{0}},
		} {
			ids, gaps, sizes := w.pages(tc.start, false, tc.events, tc.bytes)
			if !slices.Equal(ids, w.ids(tc.from)) || len(gaps) != 0 || !slices.Equal(sizes, tc.want) {
				t.Errorf("from %d: %d events in pages of %v, want %v; gaps %v", tc.from, len(ids), sizes, tc.want, gaps)
			}
		}
		p, err := w.flow.Page(w.t.Context(), "user", &PageRequest{Target: room, Events: 10, Bytes: 1 << 20})
		if err != nil || p.Position != w.all[room][249].ID || p.Gap != nil {
			t.Errorf("from now on: %+v, %v", p, err)
		}
	})
}

// TestGapsOfPages: what is missing is told once, where it is, and what is there follows as it was asked for.
func TestGapsOfPages(t *testing.T) {
	play(t, func(w *world) {
		w.publish(room, 30)
		w.trim(room, 20)
		first := After(w.all[room][0].ID)
		for _, tc := range []struct {
			name     string
			start    Start
			retained bool
			from     int
			gaps     []string
		}{
			{"live", first, false, 30, []string{wire.GapTrimmed}},
			{"retained", first, true, 10, []string{wire.GapTrimmed}},
			{"from zero", After(wire.ID{}), true, 10, []string{wire.GapTrimmed}},
			{"earliest", Earliest(), false, 10, nil},
			{"just before", After(w.all[room][9].ID), false, 10, nil},
			{"above the newest", After(w.all[room][29].ID.Next()), true, 10, []string{wire.GapUnknown}},
		} {
			ids, gaps, _ := w.pages(tc.start, tc.retained, 7, 1<<20)
			if !slices.Equal(ids, w.ids(tc.from)) || !slices.Equal(gaps, tc.gaps) {
				t.Errorf("%s: %d events, gaps %v, want those from %d on and %v", tc.name, len(ids), gaps, tc.from, tc.gaps)
			}
		}
		// A hole in the middle: the page before it ends there.
		w.mu.Lock()
		w.stored[room] = slices.Delete(w.stored[room], 10, 12)
		w.mu.Unlock()
		ids, gaps, sizes := w.pages(Earliest(), false, 100, 1<<20)
		if want := slices.Concat(w.ids(10)[:10], w.ids(22)); !slices.Equal(ids, want) || !slices.Equal(gaps, []string{wire.GapTrimmed}) || !slices.Equal(sizes, []int{10, 8}) {
			t.Errorf("around a hole: %d events in pages of %v, gaps %v", len(ids), sizes, gaps)
		}
		// Who has nothing, of a history that begins again.
		w.mu.Lock()
		w.stored[room] = w.stored[room][17:]
		w.stored[room][0].First = true
		w.mu.Unlock()
		p, err := w.flow.Page(w.t.Context(), "user", &PageRequest{Target: room, Start: After(wire.ID{}), Events: 1, Bytes: 1 << 20})
		var e frame
		if err != nil || p.Gap != nil || len(p.Frames) != 1 || json.Unmarshal(wire.Payload(p.Frames[0]), &e) != nil || !e.Prev.IsZero() {
			t.Errorf("from zero: %+v, %+v, %v", p, e, err)
		}
	})
}
