package live

import (
	"math"

	"sluice/gateway/history"
	"sluice/shared/store"
	"sluice/shared/wire"
)

// position is how far a reader has come in a target: it has everything up to and with
// last, and wants what comes next.
type position struct {
	last wire.ID // zero: it has nothing of what is retained
	// before is last, before a gap into an empty history, after which last is zero. What
	// comes next may well follow it: an owner knows the ends of its histories.
	before wire.ID
}

// at is the position of a reader that has everything up to an event.
func at(id wire.ID) position { return position{last: id} }

// has reports whether an event is up to the position.
func (p position) has(id wire.ID) bool { return !p.last.Less(id) }

// follows reports whether a retained event is the next one. A reader that has nothing of
// what is retained, since it read an empty history, goes on with the first event of a
// history that begins again, whatever was in an earlier one.
func (p position) follows(r *wire.Record) bool {
	if r.Prev == p.last {
		return true
	}
	return p.last.IsZero() && (r.First || r.Prev == p.before)
}

// advance moves to an event that follows.
func (p *position) advance(id wire.ID) { p.last, p.before = id, wire.ID{} }

// jump moves over a gap, maybe back.
func (p *position) jump(to wire.ID) {
	switch {
	case !to.IsZero():
		p.before = wire.ID{}
	case !p.last.IsZero():
		p.before = p.last
	}
	p.last = to
}

// piece is what was read of a history for a reader: what is retained after its position, or
// only what comes first of that, and where the history begins and ends.
type piece struct {
	records []wire.Record // of the page, in order
	next    store.Next    // the first of them, where only the ends were read
	edges   store.Edges   // as far as asked for
}

func pieceOf(q *history.Reading) *piece { return &piece{q.Records, q.Next, q.Got} }

// first is the first event after the position, without its frame where only the ends were
// read; nil: there is none.
func (p *piece) first() *wire.Record {
	switch {
	case len(p.records) > 0:
		return &p.records[0]
	case !p.next.ID.IsZero():
		return &wire.Record{ID: p.next.ID, Prev: p.next.Prev, First: p.next.First}
	}
	return nil
}

// clock is what decides whether what is not there any more has expired or was lost.
type clock struct {
	nowMs int64 // Redis's
	ttlMs int64 // of histories
}

func (c clock) young(id wire.ID) bool { return unixMs(id) > c.nowMs-c.ttlMs }

// known is what is known of a reader besides its position.
type known struct {
	since int64   // up to when it missed nothing, in Unix ms by Redis's clock: the time of its position if it was away
	lacks wire.ID // an event that there was and that it was not given; zero: none
}

// miss notes an event that a reader at a position was not given. That before it may be
// another one.
func (k *known) miss(at position, r *wire.Record) {
	id := r.ID
	if at.last.Less(r.Prev) {
		id = r.Prev
	}
	if k.lacks.IsZero() || id.Less(k.lacks) {
		k.lacks = id
	}
}

// gap tells why a piece does not go on from the position, "" if it does.
//
// Every entry holds prev, so as long as there is an entry behind the position the answer
// is exact: it must follow. A history that begins again or is empty says nothing about
// what was before: then an event of this target that is younger than the time to live
// should still be there, and if it is not, the history was lost; older, the history may
// just have expired, with or without events that the reader has not seen.
func (p position) gap(got *piece, k known, c clock) (reason string) {
	if first := got.first(); first != nil {
		switch {
		case p.follows(first):
			return ""
		case p.last.Less(first.Prev):
			return wire.GapTrimmed
		case first.Prev.IsZero() || first.First:
			return p.ended(k, first.ID, c)
		}
		return wire.GapUnknown // no event of this history
	}
	switch newest := got.edges.Newest; {
	case newest == p.last:
		return ""
	case newest.IsZero():
		return p.ended(k, wire.MaxID, c)
	}
	return wire.GapUnknown // above the newest, or the history changed while it was read
}

// leaps reports whether a piece without a gap begins with an event that does not follow: the
// first one of a history that begins again, behind one of which the reader has all.
func (p position) leaps(got *piece) bool {
	first := got.first()
	return first != nil && !p.follows(first)
}

// ended judges a position in a history that is not there any more. What there is now begins
// with first.
func (p position) ended(k known, first wire.ID, c clock) (reason string) {
	lost := !k.lacks.IsZero() && k.lacks.Less(first)
	switch {
	case c.young(p.last), lost && c.young(k.lacks):
		return wire.GapUnknown
	case !lost && k.since > c.nowMs-c.ttlMs:
		return "" // what came since would still be there
	}
	return wire.GapExpired
}

// gapAfter is gap for a client that gives another target's id, a time: why not everything
// that came after it is there.
func gapAfter(after wire.ID, got *piece, c clock) (reason string) {
	if first := got.first(); first != nil {
		if first.Prev.IsZero() || !after.Less(first.Prev) {
			return "" // the target's first event, or nothing between
		}
		return wire.GapTrimmed
	}
	switch {
	case unixMs(after) > c.nowMs:
		return wire.GapUnknown // not yet
	case got.edges.Newest.IsZero() && !c.young(after):
		return wire.GapExpired
	}
	return ""
}

// unixMs is an id's time. Whoever chooses ids may go beyond what int64 holds.
func unixMs(id wire.ID) int64 { return int64(min(id.Ms, math.MaxInt64)) }
