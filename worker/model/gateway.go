package model

// gateway is one gateway with one subscriber of the target, who comes with position 0: it is to get the whole history.
type gateway struct {
	registered uint8 // number of the registration, 0: not subscribed
	times      uint8 // registrations so far
	leaving    uint8 // the registration whose HDEL is on its way
	reading    uint8 // noRead, asked, answered
	answer     uint8 // newest id of the history when it was read
	again      uint8 // a gap was noticed during the read: read once more
	held       uint8 // messages at the head of the queue that came during the read
	last       uint8 // last id given to the subscriber
	epoch, seq uint8 // the newest known of the partition's owner
}

const (
	noRead = iota
	asked
	answered
)

func (m Config) gatewaySteps(s state, emit emitter) {
	g := s.gateway
	if g.registered == 0 { // gateway: open.go, follows: the session is written before the history is read
		to := s
		to.gateway.times++
		to.gateway.registered = to.gateway.times
		to.session = to.gateway.times
		to.gateway.reading = asked
		emit(Step{Who: "gateway", What: "registers and asks for the history after", ID: g.last}, to, "")
	} else if to := s; g.reading == noRead && to.left.spend(&to.left.Leave) { // gateway: connection.go, forget
		to.gateway.leaving = g.registered
		to.gateway.registered = 0
		emit(Step{Who: "gateway", What: "unsubscribes", Fault: true}, to, "")
	}
	if g.leaving != 0 { // a HDEL of one connection may be executed after the next HSET of another
		to := s
		if to.session == g.leaving || m.Defect == PlainDelete {
			to.session = 0
		}
		to.gateway.leaving = 0
		emit(Step{Who: "gateway", What: "the HDEL of its former session is executed"}, to, "")
	}
	if g.reading == asked {
		to := s
		to.gateway.reading = answered
		to.gateway.answer = highest(s.history)
		emit(Step{Who: "gateway", What: "has its history read", ID: to.gateway.answer}, to, "")
	}
	if g.reading == answered {
		to := s
		broken := m.caughtUp(&to)
		emit(Step{Who: "gateway", What: "gives the history, then what it held", ID: to.gateway.last}, to, broken)
	}
	if g.held < s.queued {
		to := s
		broken := m.arrives(&to)
		emit(Step{Who: "gateway", What: "receives a message", ID: highest(s.queue[g.held].ids)}, to, broken)
	}
}

// caughtUp joins the live flow after a read. gateway: catchup.go, follow; reread.go, mend.
func (m Config) caughtUp(s *state) (broken string) {
	g := &s.gateway
	g.last = max(g.last, g.answer)
	g.reading, g.answer = noRead, 0
	for g.held > 0 && g.reading == noRead && broken == "" {
		q := s.queue[0]
		g.held--
		s.remove(0)
		broken = m.live(s, q)
	}
	if g.again != 0 {
		g.reading, g.again = asked, 0
	}
	return broken
}

// arrives takes the next message. gateway: subscriber.go, batch.
func (m Config) arrives(s *state) (broken string) {
	g := &s.gateway
	q := s.queue[g.held]
	gap := g.note(q)
	switch {
	case g.registered == 0:
		s.remove(g.held)
	case g.reading == noRead:
		s.remove(g.held)
		broken = m.live(s, q)
		if gap {
			g.reading = asked
		}
	default:
		if gap && m.Defect != GapForgotten {
			g.again = 1
		}
		if q.ids == 0 || m.Defect == NotBuffered {
			s.remove(g.held)
		} else {
			g.held++
		}
	}
	return broken
}

// note keeps the owner's epoch and sequence; gap: a message may have been missed. gateway: subscriber.go, batch and beat.
func (g *gateway) note(q message) (gap bool) {
	switch {
	case !q.newer(message{epoch: g.epoch, seq: g.seq}):
		return false
	case q.epoch > g.epoch:
		gap = true
	default:
		gap = q.ids == 0 || q.seq != g.seq+1
	}
	g.epoch, g.seq = q.epoch, q.seq
	return gap
}

// live is the rule for the records that come while the subscriber is joined. gateway: hub.go, accept.
func (m Config) live(s *state, q message) (broken string) {
	g := &s.gateway
	for set := q.ids; set != 0; set &= set - 1 {
		id := lowest(set)
		if id <= g.last {
			continue
		}
		if s.prev[id] > g.last && m.Defect != PrevIgnored {
			g.reading = asked // the history has the rest of this message too
			return ""
		}
		if broken = delivered(*s, id); broken != "" {
			return broken
		}
		g.last = id
	}
	return ""
}

func (s *state) remove(at uint8) {
	copy(s.queue[at:], s.queue[at+1:])
	s.queued--
	s.queue[s.queued] = message{}
}
