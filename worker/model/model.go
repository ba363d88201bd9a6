package model

// Defect is one deliberate mistake in the protocol; the explorer has to find each.
type Defect string

// None is the protocol as it is; the others are named for what they leave out or do
// wrong.
const (
	None             Defect = ""
	GroupKept        Defect = "takeover without a new term"
	AckFirst         Defect = "acknowledged before the append"
	SessionsFirst    Defect = "sessions read before the append"
	NotBuffered      Defect = "live records dropped while the history is read"
	PendingReread    Defect = "own pending entries read after a lost connection, in the same term"
	GenerationReused Defect = "new term under the same generation after a lost connection"
	CacheKept        Defect = "prev cache kept over a takeover"
	PlainAppends     Defect = "appends pipelined without MULTI"
	PlainClaims      Defect = "claims pipelined without MULTI"
	Unfenced         Defect = "claims and appends executed for a deposed owner too"
	UnfencedClaims   Defect = "claims executed for a deposed owner too"
	NotClaimed       Defect = "idempotency keys ignored"
	OwnClaimLost     Defect = "a claim by the event's own id taken for a duplicate"
	BeatToPublished  Defect = "beats only to gateways that this term published to"
	PrevIgnored      Defect = "live records given without a look at their prev"
	GapForgotten     Defect = "a gap noticed while the history is being read is not looked at again"
	PlainDelete      Defect = "session deleted without comparing its value"
	SeenForgotten    Defect = "what was read is known from the last group alone"
)

// Config bounds an exploration.
type Config struct {
	Events     uint8 // entries in the partition's stream, at most 4
	Batch      uint8 // the most that one read returns; it may always return less, as if the rest came later
	Keyed      uint8 // set of the entries that carry the one idempotency key
	Subscriber bool  // explore the gateway too; what it does changes no history, so the history's promises need it not
	Faults     Faults
	Defect     Defect
}

// state is Redis, two workers, what may still come from a broken connection, a gateway with one subscriber, and the faults left.
type state struct {
	term
	history    uint8 // set of retained ids; XADD adds only above the greatest
	trimmed    uint8 // set of ids that were retained
	prev       [5]uint8
	claim      uint8 // value of the idempotency key, 0: none, or expired
	duplicates uint8 // acknowledged without being appended
	session    uint8 // the gateway's field: the number of its registration, 0: absent

	client [3]client // two workers, and late

	gateway gateway
	queue   [queueLen]message // the gateway's Pub/Sub channel
	queued  uint8

	left Faults
}

// late is a broken connection whose commands Redis may still execute: a client whose replies nobody reads.
const late = 2

// queueLen bounds the delay of Pub/Sub that is explored: PUBLISH waits when so many are on their way.
const queueLen = 4

// client is a worker and its connection. What it does is a phase: a pipeline that was sent as a whole.
type client struct {
	phase, sent         uint8 // sent: how many commands of the pipeline Redis has executed
	process, generation uint8
	epoch, seq          uint8 // seq: of the latest PUBLISH to the gateway in this term
	from, to            uint8 // the batch: ids above from, up to to
	own                 uint8 // those of the batch to be appended: without a key, or with a claim of their own
	cached, last        uint8 // the prev cache: whether it knows the target, and the target's last id
	seen                uint8 // ids up to this may have been appended by owners before, and trimmed since
	routed              uint8 // SESSIONS showed the gateway
	rejected            uint8 // a reply was an error
}

// message is a PUBLISH. Without ids it is a beat: the latest sequence number once more. A record's prev is that of the
// stored entry, whether this worker appended it or was refused and read it.
type message struct{ epoch, seq, ids uint8 }

const (
	taking = iota
	recovering
	reading
	preparing
	appending
	publishing
)

type command uint8

const (
	noCommand command = iota
	takeoverCmd
	readOwn
	read
	claim
	claimAll
	lookup
	appendOne
	appendAll
	sessions
	publish
	ack
)

var commandNames = [...]string{"", "TAKEOVER", "READ own pending", "READ", "CLAIM", "MULTI CLAIM EXEC", "LOOKUP", "APPEND",
	"MULTI APPEND EXEC", "SESSIONS", "PUBLISH", "ACK"}

// pipeline is what a client sends in its phase: commands, and the event that each is about.
func (m Config) pipeline(c client) (list [8]command, ids [8]uint8, n uint8) {
	add := func(cmd command, id uint8) { list[n], ids[n] = cmd, id; n++ }
	each := func(cmd command, set uint8) {
		for ; set != 0; set &= set - 1 {
			add(cmd, lowest(set))
		}
	}
	switch c.phase {
	case taking: // worker: term.go, take
		add(takeoverCmd, 0)
	case recovering: // defects only
		add(readOwn, c.to)
	case reading: // worker: term.go, run; store: step.go, Commit. The first of a term
		add(read, 0)
	case preparing: // worker: step.go, prepare
		if keyed := c.batch() & m.claimed(); m.Defect == PlainClaims {
			each(claim, keyed)
		} else if keyed != 0 {
			add(claimAll, c.to)
		}
		if c.cached == 0 {
			add(lookup, 0)
		}
	case appending: // worker: step.go, process; store: step.go, AppendAndRoute
		if m.Defect == AckFirst {
			add(ack, c.to)
		}
		if m.Defect == SessionsFirst {
			add(sessions, 0)
		}
		if m.Defect == PlainAppends {
			each(appendOne, c.own)
		} else if c.own != 0 {
			add(appendAll, c.to)
		}
		if m.Defect != SessionsFirst {
			add(sessions, 0)
		}
	case publishing: // worker: term.go, run; store: step.go, Commit
		if c.routed != 0 && c.own != 0 {
			add(publish, c.to)
		}
		add(ack, c.to)
		add(read, 0)
	}
	return list, ids, n
}

func (c client) batch() uint8 { return below(c.to+1) &^ below(c.from+1) }

// claimed is the set of entries that need a claim before they are appended.
func (m Config) claimed() uint8 {
	if m.Defect == NotClaimed {
		return 0
	}
	return m.Keyed
}
