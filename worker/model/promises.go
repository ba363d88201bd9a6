package model

import "math/bits"

// appended holds what must be true of every append. Ids only grow, so what was passed over is lost.
func (m Config) appended(s state, id, before uint8) (broken string) {
	switch {
	case s.prev[id] != before:
		return "the stored prev is not the id of the entry before"
	case s.duplicates&bit(id) != 0:
		return "an event that had been acknowledged as a duplicate was appended"
	case m.Faults.Forget == 0 && bits.OnesCount8((s.history|s.trimmed)&m.Keyed) > 1:
		return "two events with one idempotency key were appended"
	case m.missing(s, below(id)):
		return "an event was passed over: it can never be appended now"
	}
	return ""
}

// acknowledged holds what must be true of every effective XACK.
func (m Config) acknowledged(s state, ids uint8) (broken string) {
	if m.missing(s, ids) {
		return "an event was acknowledged and is not in the history"
	}
	return ""
}

// missing says whether one of ids is not in the history and never was, and neither is an event of the same key.
func (m Config) missing(s state, ids uint8) bool {
	there := s.history | s.trimmed
	absent := ids & (below(m.Events+1) &^ 1) &^ there
	return absent&^m.Keyed != 0 || absent&m.Keyed != 0 && there&m.Keyed == 0
}

// delivered holds what must be true of every event that a subscriber is given. The rules let ids only grow, so there is no repeat.
func delivered(s state, id uint8) (broken string) {
	if s.history&below(id)&^below(s.gateway.last+1) != 0 {
		return "the subscriber was given an event and will never get one before it"
	}
	return ""
}

// settled: one worker waits for new events, and the gateway for messages. The other worker may sleep in the middle of
// anything, and commands may still be late: the promises are due all the same.
func (m Config) settled(s state) (rest bool, broken string) {
	g := s.gateway
	if s.read != m.Events || s.pending != 0 || s.queued != 0 || g.leaving != 0 || m.Subscriber && (g.registered == 0 || g.reading != noRead) {
		return false, ""
	}
	for _, c := range s.client[:late] {
		if c.phase != reading || c.rejected != 0 || s.lease != c.process || !m.owner(s, c) || m.beatDue(s, c) {
			continue
		}
		switch {
		case m.missing(s, below(m.Events+1)):
			return true, "all is at rest, and an event is not in the history"
		case m.Subscriber && g.last != highest(s.history):
			return true, "all is at rest, and the subscriber has not got everything"
		}
		return true, ""
	}
	return false, ""
}
