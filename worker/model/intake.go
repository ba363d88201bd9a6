package model

// Intake is the second model: the owner of the intake forwards its entries to one partition. Other partitions are the same
// beside it, since each has its own script and its own marker.
type Intake struct {
	Events, Batch uint8
	Faults        Faults
	Defect        Defect
}

// ForwardedApart is the intake's deliberate mistake: reading the marker, appending and setting the marker as three commands.
const ForwardedApart Defect = "intake forwarded without its transaction"

type intakeState struct {
	term
	forwarded uint8 // the marker
	partition uint8 // length of the partition's stream; it has to be 1, 2, 3, ...
	client    [3]forwarder
	left      Faults
}

type forwarder struct {
	phase, sent         uint8
	process, generation uint8
	from, to            uint8
	marker              uint8 // the marker that it read, in the defect
	rejected            uint8
}

const (
	intakeTaking     = iota
	intakeReading    // READ, blocking
	intakeComparing  // the defect's first half
	intakeForwarding // one script for each partition
	intakeAcking     // ACK and the next READ
)

func (m Intake) start() intakeState {
	s := intakeState{left: m.Faults}
	for i := range s.client[:late] {
		s.client[i] = forwarder{process: uint8(i + 1), generation: uint8(i + 1)}
	}
	return s
}

func (m Intake) next(s intakeState, emit func(t Step, to intakeState, broken string)) {
	emitCanonical := func(t Step, to intakeState, broken string) {
		if c := &to.client[late]; c.sent == m.length(*c) || c.rejected != 0 {
			*c = forwarder{}
		}
		rename(&to.group, &to.client[0].generation, &to.client[1].generation, &to.client[late].generation)
		emit(t, to, broken)
	}
	for who := range s.client {
		if s.client[who].process != 0 {
			m.execute(s, who, emitCanonical)
		}
		if who != late {
			m.faults(s, who, emitCanonical)
		}
	}
	s.epoch = 0 // nothing here looks at it
	if s.lease == dead {
		s.lease = 0
		emitCanonical(Step{Who: "redis", What: "the dead worker's lease expires"}, s, "")
	} else if s.lease != 0 && s.left.spend(&s.left.Expire) {
		s.lease = 0
		emitCanonical(Step{Who: "redis", What: "the lease expires", Fault: true}, s, "")
	}
}

// length is the number of commands in the client's pipeline.
func (m Intake) length(c forwarder) uint8 {
	switch {
	case c.process == 0:
		return 0
	case c.phase == intakeAcking:
		return 2
	case c.phase == intakeForwarding && m.Defect == ForwardedApart:
		return c.to - c.from + 1
	}
	return 1
}

func (m Intake) execute(s intakeState, who int, emit func(t Step, to intakeState, broken string)) {
	c := &s.client[who]
	step := Step{Who: clientNames[who]}
	broken := ""
	done := func(t Step, to intakeState) {
		m.receive(&to.client[who], who)
		emit(t, to, broken)
	}
	switch {
	case c.phase == intakeTaking: // worker: term.go, take
		if !s.free(c.process) {
			return
		}
		step.What = "TAKEOVER"
		c.sent++
		s.takeover(c.process, c.generation)
		s.epoch, s.seen = 0, 0
	case c.phase == intakeAcking && c.sent == 0: // worker: term.go, run; store: step.go, Commit
		step.What, step.ID = "ACK", c.to
		c.sent++
		if s.group == c.generation {
			acked := below(c.to+1) &^ below(c.from+1) & s.pending
			s.pending &^= acked
			if highest(acked) > s.partition {
				broken = "an intake entry was acknowledged that was not forwarded"
			}
		}
	case c.phase == intakeReading || c.phase == intakeAcking: // worker: term.go, run; store: step.go, Commit
		c.sent++
		if s.group != c.generation {
			step.What = "READ: NOGROUP"
			c.rejected = 1
			break
		}
		for count := uint8(1); count <= m.Batch && s.read+count <= m.Events; count++ {
			to := s
			c := &to.client[who]
			c.from, c.to = to.deliver(count)
			done(Step{Who: step.Who, What: "READ", ID: c.to}, to)
		}
		if s.read < m.Events || c.rejected == 0 {
			return
		}
		step.What = "READ: nothing new"
	case c.phase == intakeComparing:
		step.What, step.ID = "GET forwarded", s.forwarded
		c.sent++
		c.marker = s.forwarded
	case m.Defect == ForwardedApart && c.from+c.sent+1 <= c.to:
		id := c.from + c.sent + 1
		step.What, step.ID = "APPEND unless forwarded", id
		c.sent++
		if id > c.marker {
			broken = s.forward(id)
		}
	case m.Defect == ForwardedApart:
		step.What, step.ID = "SET forwarded", c.to
		c.sent++
		s.forwarded = c.to
	default: // worker: intake.go, process; store: forward.lua, one script
		step.What, step.ID = "FORWARD", c.to
		c.sent++
		for id := max(c.from, s.forwarded) + 1; id <= c.to && broken == ""; id++ {
			broken = s.forward(id)
			s.forwarded = id
		}
	}
	done(step, s)
}

func (s *intakeState) forward(id uint8) (broken string) {
	switch {
	case id <= s.partition:
		return "an intake entry was forwarded twice"
	case id > s.partition+1:
		return "an intake entry was passed over"
	}
	s.partition = id
	return ""
}

func (m Intake) receive(c *forwarder, who int) {
	if who == late || c.sent < m.length(*c) {
		return
	}
	if c.rejected != 0 {
		*c = forwarder{process: c.process, generation: freshGeneration + c.process}
		return
	}
	c.sent = 0
	switch c.phase {
	case intakeTaking:
		c.phase = intakeReading
	case intakeReading, intakeAcking:
		c.phase = intakeForwarding
		if m.Defect == ForwardedApart {
			c.phase = intakeComparing
		}
	case intakeComparing:
		c.phase = intakeForwarding
	case intakeForwarding:
		c.phase, c.marker = intakeAcking, 0
	}
}

func (m Intake) faults(s intakeState, who int, emit func(t Step, to intakeState, broken string)) {
	c := s.client[who]
	name := clientNames[who]
	if to := s; c.phase != intakeTaking && to.left.spend(&to.left.Refuse) {
		to.client[who].sent++
		to.client[who].rejected = 1
		m.receive(&to.client[who], who)
		emit(Step{Who: name, What: "next command refused", Fault: true}, to, "")
	}
	if to := s; to.left.spend(&to.left.Lose) {
		to.client[who] = forwarder{process: c.process, generation: freshGeneration + c.process}
		emit(Step{Who: name, What: "loses its connection and what was on it", Fault: true}, to, "")
		to.client[late] = c
		emit(Step{Who: name, What: "loses its connection; Redis may still execute what is on it", Fault: true}, to, "")
	}
	if to := s; to.left.spend(&to.left.Crash) {
		to.client[who] = forwarder{process: c.process, generation: freshGeneration + c.process}
		if to.lease == c.process {
			to.lease = dead
		}
		emit(Step{Who: name, What: "dies with what it had sent, and starts again", Fault: true}, to, "")
		to.client[late] = c
		to.client[late].process = dead
		emit(Step{Who: name, What: "dies and starts again; Redis may still execute what it had sent", Fault: true}, to, "")
	}
}

func (m Intake) settled(s intakeState) (rest bool, broken string) {
	if s.read != m.Events || s.pending != 0 {
		return false, ""
	}
	for _, c := range s.client[:late] {
		waits := c.phase == intakeReading || c.phase == intakeAcking && c.sent == 1
		if !waits || c.rejected != 0 || s.lease != c.process || s.group != c.generation {
			continue
		}
		if s.partition != m.Events {
			return true, "all is at rest, and an intake entry was not forwarded"
		}
		return true, ""
	}
	return false, ""
}
