package model

import "math/bits"

// freshGeneration: generations from here on are new. canon gives them small names.
const freshGeneration = 16

// start is a term that the gateway knows: the first owner is worker 1 by symmetry.
func (m Config) start() state {
	s := state{left: m.Faults}
	for i := range s.client[:late] {
		s.client[i] = client{process: uint8(i + 1), generation: uint8(i + 1)}
	}
	s.takeover(1, 1)
	s.client[0].phase, s.client[0].epoch, s.gateway.epoch = reading, s.epoch, s.epoch
	return s
}

// next lists all that can happen in s.
func (m Config) next(s state, emit emitter) {
	emitCanonical := func(t Step, to state, broken string) {
		m.canon(&to)
		emit(t, to, broken)
	}
	for who := range s.client[:late] {
		if m.powerless(s, s.client[who]) {
			// Nothing changes or sees this step, and this step changes nothing for others: it may as well come first.
			m.execute(s, who, emitCanonical)
			return
		}
	}
	for who := range s.client[:late] {
		m.execute(s, who, emitCanonical)
		m.beat(s, who, emitCanonical)
		m.faults(s, who, emitCanonical)
	}
	if s.client[late].process != 0 {
		m.execute(s, late, emitCanonical)
	}
	if m.Subscriber {
		m.gatewaySteps(s, emitCanonical)
	}
	if to := s; s.claim != 0 && to.left.spend(&to.left.Forget) {
		to.claim = 0
		emitCanonical(Step{Who: "redis", What: "the idempotency key expires", Fault: true}, to, "")
	}
	if to := s; bits.OnesCount8(s.history) > 1 && to.left.spend(&to.left.Trim) {
		oldest := s.history & -s.history
		to.history &^= oldest
		to.trimmed |= oldest
		emitCanonical(Step{Who: "redis", What: "the history is trimmed", ID: lowest(oldest), Fault: true}, to, "")
	}
	if s.lease == dead {
		s.lease = 0
		emitCanonical(Step{Who: "redis", What: "the dead worker's lease expires"}, s, "")
	} else if s.lease != 0 && s.left.spend(&s.left.Expire) {
		s.lease = 0
		emitCanonical(Step{Who: "redis", What: "the lease expires", Fault: true}, s, "")
	}
}

// powerless says that a deposed client's next command will be refused, whenever it comes.
func (m Config) powerless(s state, c client) bool {
	list, _, _ := m.pipeline(c)
	fenced := false
	switch list[c.sent] {
	case read, readOwn:
		fenced = true
	case ack:
		fenced = c.phase == publishing
	case claimAll:
		fenced = m.fencesClaims()
	case appendAll:
		fenced = m.Defect != Unfenced
	}
	return fenced && !m.owner(s, c) && m.Defect != GenerationReused && m.Defect != PendingReread
}

// canon gives states that differ in nothing that matters the same face.
func (m Config) canon(s *state) {
	m.forgetLate(s)
	if s.left.Total == 0 {
		s.left = Faults{}
	}
	// Generations only have to be told apart.
	rename(&s.group, &s.client[0].generation, &s.client[1].generation, &s.client[late].generation)
	// Epochs only have an order.
	epochs := [...]*uint8{&s.epoch, &s.client[0].epoch, &s.client[1].epoch, &s.client[late].epoch, &s.gateway.epoch,
		&s.queue[0].epoch, &s.queue[1].epoch, &s.queue[2].epoch, &s.queue[3].epoch}
	used := uint32(1)
	for _, e := range epochs {
		used |= 1 << *e
	}
	for _, e := range epochs {
		*e = uint8(bits.OnesCount32(used & (1<<*e - 1)))
	}
}

// forgetLate leaves of a late connection only what can still have an effect.
func (m Config) forgetLate(s *state) {
	c := &s.client[late]
	list, _, n := m.pipeline(*c)
	for c.sent < n && (list[c.sent] == lookup || list[c.sent] == sessions || list[c.sent] == readOwn) {
		c.sent++
	}
	if c.process == 0 || c.sent >= n || c.rejected != 0 || m.powerless(*s, *c) {
		*c = client{}
		return
	}
	if c.phase != publishing || c.routed == 0 {
		c.epoch, c.seq = 0, 0
	}
}

// rename gives generations the names 1, 2, ... in the order of their first appearance.
func rename(generations ...*uint8) {
	var name [32]uint8
	next := uint8(0)
	for _, t := range generations {
		if *t == 0 {
			continue
		}
		if name[*t] == 0 {
			next++
			name[*t] = next
		}
		*t = name[*t]
	}
}

func bit(id uint8) uint8 { return 1 << id }

// below is the set of all ids under id.
func below(id uint8) uint8 { return bit(id) - 1 }

func lowest(set uint8) uint8 { return uint8(bits.TrailingZeros8(set)) }

// highest is 0 for an empty set.
func highest(set uint8) uint8 { return uint8(max(bits.Len8(set), 1) - 1) }
