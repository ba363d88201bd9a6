package model

type emitter = func(t Step, to state, broken string)

var clientNames = [...]string{"worker 1", "worker 2", "late"}

// execute lets Redis execute the next command of a client's pipeline. The last reply of a pipeline and what the worker makes of
// the replies are the same step, since a worker that sleeps before it reads them is like one whose next command is delayed.
func (m Config) execute(s state, who int, emit emitter) {
	c := &s.client[who]
	list, ids, _ := m.pipeline(*c)
	cmd := list[c.sent]
	step := Step{Who: clientNames[who], What: commandNames[cmd], ID: ids[c.sent]}
	broken := ""
	done := func(t Step, to state) {
		m.receive(&to, who)
		emit(t, to, broken)
	}
	c.sent++
	switch cmd {
	case takeoverCmd:
		if !s.free(c.process) {
			return // refused: it asks again later
		}
		read := s.read
		if m.Defect == GroupKept {
			s.lease = c.process
			s.epoch++
		} else {
			s.takeover(c.process, c.generation)
		}
		switch {
		case m.Faults.Trim == 0:
			s.seen = 0 // nobody asks
		case m.Defect == SeenForgotten:
			c.seen = read
		default:
			c.seen = s.seen
		}
		c.epoch = s.epoch
	case read, readOwn:
		if !m.owner(s, *c) {
			c.rejected = 1
			step.What = "READ: NOGROUP"
		} else if cmd == readOwn && s.pending != 0 {
			c.from, c.to = lowest(s.pending)-1, highest(s.pending)
		} else if cmd == read && (s.read < m.Events || c.rejected == 0) { // after an error in the same pipeline an empty answer counts too
			for count := uint8(1); count <= m.Batch && s.read+count <= m.Events; count++ {
				to := s
				c := &to.client[who]
				c.from, c.to = to.deliver(count)
				step.ID = c.to
				done(step, to)
			}
			return // without entries it blocks
		}
	case claim:
		broken = m.claim(&s, c, ids[c.sent-1])
	case claimAll:
		if m.fencesClaims() && !m.owner(s, *c) {
			c.rejected = 1
			break
		}
		for set := c.batch() & m.claimed(); set != 0 && broken == ""; set &= set - 1 {
			broken = m.claim(&s, c, lowest(set))
		}
	case lookup:
		c.last = highest(s.history)
	case appendOne:
		broken = m.append(&s, c, ids[c.sent-1])
	case appendAll:
		if m.Defect != Unfenced && !m.owner(s, *c) {
			c.rejected = 1
			break
		}
		for set := c.own; set != 0 && broken == ""; set &= set - 1 {
			broken = m.append(&s, c, lowest(set))
		}
	case sessions:
		if s.session != 0 {
			c.routed = 1
		}
	case publish:
		if s.queued == queueLen {
			return
		}
		q := message{c.epoch, c.seq, c.own}
		c.sent, c.own, c.routed = 0, 0, 0 // what is left of the pipeline: ACK and READ
		if to := s; to.left.spend(&to.left.Drop) {
			done(Step{step.Who, "PUBLISH, lost by Pub/Sub", step.ID, true}, to)
		}
		s.queue[s.queued] = q
		s.queued++
	case ack:
		if m.owner(s, *c) {
			acked := c.batch() & s.pending
			s.pending &^= acked
			s.duplicates |= acked &^ (s.history | s.trimmed)
			broken = m.acknowledged(s, acked)
		}
		if c.phase == publishing { // what is left is READ
			c.phase, c.sent, c.from, c.to, c.own, c.routed = reading, 0, 0, 0, 0, 0
		}
	}
	done(step, s)
}

// owner is Redis's own test: XREADGROUP and XACK find the generation's group, or not. MULTI tests the same with a WATCH of the epoch,
// which changes in the script that changes the group. store: lane.go, watching.
func (m Config) owner(s state, c client) bool {
	return s.group == c.generation || m.Defect == GroupKept
}

func (m Config) fencesClaims() bool { return m.Defect != Unfenced && m.Defect != UnfencedClaims }

// claim is SET NX GET. store: step.go, Prepare.
func (m Config) claim(s *state, c *client, id uint8) (broken string) {
	switch {
	case s.claim == 0:
		s.claim = id
		c.own |= bit(id)
	case s.claim == id && m.Defect != OwnClaimLost:
		c.own |= bit(id)
	case s.duplicates&bit(s.claim) != 0 && m.owner(*s, *c):
		return "an event was taken for a duplicate of one that was never appended"
	}
	return ""
}

// append is XADD with an explicit id; refused if the entry is there, or was. What was refused and is not there was trimmed, or is a
// dead letter. store: step.go, AppendAndRoute and stored.
func (m Config) append(s *state, c *client, id uint8) (broken string) {
	if before := highest(s.history); id > before {
		s.history |= bit(id)
		s.prev[id] = c.last
		broken = m.appended(*s, id, before)
	} else if s.trimmed&bit(id) != 0 && id > c.seen {
		broken = "an event that was appended became a dead letter"
	}
	c.last = id
	return broken
}

// receive is what a worker does when it has all replies to its pipeline.
func (m Config) receive(s *state, who int) {
	c := &s.client[who]
	if _, _, n := m.pipeline(*c); who == late || c.sent < n {
		return
	}
	if c.rejected != 0 {
		m.reset(c, m.Defect == CacheKept)
		return
	}
	c.sent = 0
	switch c.phase {
	case taking:
		c.phase = reading
		if m.Defect == GroupKept {
			c.phase = recovering
		}
	case recovering, reading, publishing:
		if c.from == c.to { // nothing of its own was pending
			c.phase = reading
			return
		}
		c.own = c.batch() &^ m.claimed()
		c.phase = preparing
		if _, _, n := m.pipeline(*c); n == 0 {
			c.phase = appending
		}
	case preparing:
		c.cached = 1
		c.phase = appending
	case appending:
		if c.routed != 0 && c.own != 0 {
			c.seq++
		}
		c.phase = publishing
	}
}

// reset is what a worker does after NOGROUP, any error and any lost connection: forget all, and take again under a fresh generation.
// worker: term.go, failed.
func (m Config) reset(c *client, sameProcess bool) {
	next := client{process: c.process, generation: freshGeneration + c.process}
	if sameProcess {
		switch m.Defect {
		case CacheKept:
			next.cached, next.last = c.cached, c.last
		case GenerationReused:
			next.generation = c.generation
		case PendingReread:
			if c.phase != taking {
				next.generation, next.epoch, next.seq, next.phase = c.generation, c.epoch, c.seq, recovering
			}
		}
	}
	*c = next
}

// faults are what can happen to a worker at any moment.
func (m Config) faults(s state, who int, emit emitter) {
	c := s.client[who]
	name := clientNames[who]
	if list, ids, _ := m.pipeline(c); list[c.sent] != takeoverCmd && list[c.sent] != lookup {
		if to := s; to.left.spend(&to.left.Refuse) {
			to.client[who].sent++
			to.client[who].rejected = 1
			m.receive(&to, who)
			emit(Step{name, commandNames[list[c.sent]] + ": error (no memory, loading, busy, ...)", ids[c.sent], true}, to, "")
		}
	}
	if to := s; to.left.spend(&to.left.Lose) {
		m.reset(&to.client[who], true)
		emit(Step{Who: name, What: "loses its connection and what was on it", Fault: true}, to, "")
		to.client[late] = c
		emit(Step{Who: name, What: "loses its connection; Redis may still execute what is on it", Fault: true}, to, "")
	}
	if to := s; to.left.spend(&to.left.Crash) {
		m.reset(&to.client[who], false)
		if to.lease == c.process {
			to.lease = dead
		}
		emit(Step{Who: name, What: "dies with what it had sent, and starts again", Fault: true}, to, "")
		to.client[late] = c
		to.client[late].process = dead
		emit(Step{Who: name, What: "dies and starts again; Redis may still execute what it had sent", Fault: true}, to, "")
	}
}

// beat repeats the latest sequence number to the gateway. worker: step.go, upkeep; outbox.go, beats.
func (m Config) beat(s state, who int, emit emitter) {
	if c := s.client[who]; c.phase == reading && s.queued < queueLen && m.beatDue(s, c) {
		s.queue[s.queued] = message{epoch: c.epoch, seq: c.seq}
		s.queued++
		emit(Step{Who: clientNames[who], What: "BEAT", ID: c.seq}, s, "")
	}
}

// beatDue leaves out the beats that would tell the gateway nothing new.
func (m Config) beatDue(s state, c client) bool {
	if !m.Subscriber || m.Defect == BeatToPublished && c.seq == 0 {
		return false
	}
	known := message{epoch: s.gateway.epoch, seq: s.gateway.seq}
	for _, q := range s.queue[s.gateway.held:s.queued] {
		if q.newer(known) {
			known = q
		}
	}
	return message{epoch: c.epoch, seq: c.seq}.newer(known)
}

func (q message) newer(than message) bool {
	return q.epoch > than.epoch || q.epoch == than.epoch && q.seq > than.seq
}
