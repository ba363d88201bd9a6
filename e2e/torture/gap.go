package torture

import "sluice/shared/wire"

// gap judges a gap event by event. It says that something between `after` and `position` cannot be had, and that what
// the history still holds begins at `oldest`: from there on the client passes it over because it chose to go on live.
//
// The gap is true if one event at least between `after` and `position` may have gone when it came, and the client had a
// claim to it. It had none to what it has, and none to what surely had gone before it asked for what comes from now on,
// for all that is retained, or for what follows "0", or before it asked and an earlier gap told so. The gap is no lie
// either if the gateway could not know: the client's own event had gone, and the history was empty, began again, or went
// back (unknowable). If it is neither, each event that it covers and that was surely retained when it came is lost.
//
// Besides, whatever was told, no event between `after` and `oldest` may surely have been retained.
//
// Nobody is accused wrongly by that. An entry was surely retained when the gap came to the client if it went after that,
// and then it was when the gateway read the history, which is earlier: position is the newest id that it read, so what it
// covers had been appended. Times of going are bounds (see Stored), and each is taken from the side that excuses. An entry
// that went and was appended again counts as gone from the first time on. What this does not see is an event that went
// between the gateway's read and the gap's arrival, and a gap that is told of an empty history beside events that are
// gone: nothing retained is covered there.
func (v *viewer) gap(w *view, f *Frame) {
	v.verdict.Gaps++
	inReplay := w.device && !f.Prev.Less(w.cursor) && !w.acked.Less(f.Prev)
	if w.again {
		inReplay = w.device && f.Prev == w.back
	}
	if f.ID.Less(w.stand) { // it goes back: what is retained from there on comes
		w.stand = f.ID
	}
	if v.cursorUnknown(w, f) {
		w.told, w.before = true, true
		if w.device { // it is there until the device acknowledges something
			w.acked = wire.Later(w.acked, f.Prev)
		}
		v.restart(w, f.At)
		if f.ID.Less(w.pos) {
			w.had = wire.Later(w.had, w.pos)
		}
		w.moveTo(f.ID)
		return
	}
	if w.has && f.Prev != w.pos && !inReplay {
		v.violation(Wrong, f.To, f.Prev, -1, "a gap after %v, but the client is at %v", f.Prev, w.pos)
	}
	asked := inReplay || f.Prev.Less(w.had) // for what it has, since nobody knows that it has it
	if from, to := w.covered(f); !w.missed(from, to, f, asked) && !v.unknowable(w, f) {
		v.violation(UnexplainedGap, f.To, f.ID, -1, "a gap (%s) after %v, but what follows was retained", f.Text, f.Prev)
		for i := from; i < to && !f.ID.IsZero(); i++ {
			if s := w.history[i]; s.heldAt(f.At) && (w.got[i] != settled || asked) {
				v.violation(Lost, f.To, s.ID, s.N, "a gap after %v came in its place, and it was retained", f.Prev)
			}
		}
	}
	v.belied(w, f)
	v.keeps(w, f)
	w.told, w.before = true, true
	switch {
	case inReplay && f.ID.Less(w.pos): // what comes again goes on from there
		w.had = wire.Later(w.had, w.pos)
		w.again, w.pos = false, f.ID
	case !f.ID.Less(w.pos):
		w.moveTo(f.ID)
	case v.wiped(w, w.pos, f.At):
		v.restart(w, f.At)
		w.had, w.pos = wire.Later(w.had, w.pos), f.ID
	default:
		v.violation(Wrong, f.To, f.ID, -1, "a gap back from %v", w.pos)
	}
	if w.pos.IsZero() {
		w.claim = f.At
	}
}

// covered are the places in the history of what a gap covers: of all that follows if the history was empty.
func (w *view) covered(f *Frame) (from, to int) {
	from, _ = w.index(f.Prev.Next())
	if f.ID.IsZero() {
		return from, len(w.history)
	}
	to, _ = w.index(f.ID.Next())
	return from, max(from, to)
}

// missed reports whether one of the events that a gap covers may have gone, with a claim of the client to it.
func (w *view) missed(from, to int, f *Frame, asked bool) bool {
	for i := from; i < to; i++ {
		s := &w.history[i]
		if (w.got[i] != settled || asked) && !s.heldAt(f.At) && !(w.before && s.goneBy(w.since)) {
			return true
		}
	}
	return false
}

// unknowable reports whether nobody could know what followed the client's event when a gap came: it had gone, and there
// was no prev that tells.
func (v *viewer) unknowable(w *view, f *Frame) bool {
	if f.Text == wire.GapTrimmed || !v.wiped(w, f.Prev, f.At) {
		return false
	}
	if at, _ := w.index(f.Prev); w.history[at].Wiped == Failed {
		return true // on the new master other events stand where those that followed it stood
	}
	oldest, found := w.index(f.Oldest)
	return f.Oldest.Less(f.Prev) || (found && w.history[oldest].Prev.IsZero())
}

// keeps checks that a client that asked for what is retained is passed over nothing of it: it goes on behind what it had,
// or right before the oldest event.
func (v *viewer) keeps(w *view, f *Frame) {
	if !v.client.Retained {
		return
	}
	for i, to := w.covered(f); i < to && !f.ID.IsZero(); i++ {
		if s := w.history[i]; s.heldAt(f.At) && w.got[i] == owed {
			v.violation(Lost, f.To, s.ID, s.N, "a gap after %v goes on behind it, though the client asked for what is retained", f.Prev)
		}
	}
	if oldest, found := w.index(f.Oldest); found && f.ID.Less(f.Oldest) && !w.isBefore(f.ID, oldest) {
		v.violation(Wrong, f.To, f.ID, -1, "a gap goes on behind it, but what is before the oldest, %v, is %v", f.Oldest, w.history[oldest].Prev)
	}
}

// isBefore reports whether an id is the prev of an entry, or may have been: what Redis lost when it was killed is appended
// again, and begins a history then.
func (w *view) isBefore(id wire.ID, at int) bool {
	prev := w.history[at].Prev
	return id == prev || prev.IsZero() && at > 0 && id == w.history[at-1].ID
}

// belied checks that what a gap says to have gone was not retained: what is older than the oldest, in the same history.
func (v *viewer) belied(w *view, f *Frame) {
	oldest, found := w.index(f.Oldest)
	if !found {
		if !f.Oldest.IsZero() {
			v.violation(Wrong, f.To, f.Oldest, -1, "a gap up to an event that the history does not know")
		}
		return
	}
	for i, _ := w.index(f.Prev.Next()); i < oldest; i++ {
		if s := w.history[i]; s.Life == w.history[oldest].Life && s.heldAt(f.At) {
			v.violation(Lost, f.To, s.ID, s.N, "a gap says that %v is the oldest event, and it was retained", f.Oldest)
		}
	}
}
