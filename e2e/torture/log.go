package torture

import (
	"time"

	"sluice/shared/wire"
)

// Outcome is what a producer knows about one try to append.
type Outcome byte

// The outcomes.
const (
	Open    Outcome = iota // no answer: it may have run, or may still run
	Acked                  // accepted
	Refused                // answered with an error that says that nothing was appended
)

// Way is how an event gets into its partition. Order is promised among events of one way.
type Way byte

// The ways.
const (
	Intake  Way = iota // XADD to the intake
	Direct             // XADD to the partition's stream
	Publish            // a client's frame `publish`
)

func (w Way) String() string { return [...]string{"intake", "direct", "publish"}[w] }

// Append is one try to append an event.
type Append struct {
	N       int // number of the event, in its data; tries with one idempotency key share it
	To      string
	Way     Way
	Lane    string // tries of one lane were made one after the other, in the order of the log
	Key     string // idempotency key, "" for none
	Live    bool   // not retained
	Except  string // connection that gets `skip`
	Poison  string // the reason for which it must become a dead letter, "" for a good event
	At      time.Time
	Outcome Outcome

	// Of the answer. ID is that of the entry: on the stream that it was added to for Intake and Direct, in the
	// history for Publish.
	ID        wire.ID
	Duplicate bool // Publish: an earlier try was the event
}

// Stored is an entry of a history.
type Stored struct {
	ID, Prev wire.ID
	N        int
	Life     int // histories of the target that were taken away as a whole before it was appended
	Era      int // the same of everything in Redis: of Flushes
	Wiped    Wipe

	// It went after Trimmed and before Gone; zero if it is still there, and if nobody knows. One that went and was
	// appended again has the times when it went first.
	Trimmed, Gone time.Time
}

// heldAt reports whether an entry was surely in the history from its append to a time.
func (s *Stored) heldAt(t time.Time) bool { return s.Trimmed.IsZero() || s.Trimmed.After(t) }

// goneBy reports whether it surely was not there any more at a time.
func (s *Stored) goneBy(t time.Time) bool { return !s.Gone.IsZero() && !s.Gone.After(t) }

// Wipe says how an entry was taken away.
type Wipe byte

// The wipes. But for the first nobody can know what followed the last event.
const (
	Kept    Wipe = iota // by itself, or not at all: what follows it stays
	Evicted             // the history's key expired or was deleted
	Flushed             // and everything else with it
)

// DeadLetter is an entry of the stream of dead letters.
type DeadLetter struct {
	Reason string
	Stream string
	Entry  wire.ID
	To     string
	N      int // -1 if it carries none
}

// Kind is what a Frame is.
type Kind byte

// The kinds. The first four are the client's own doing.
const (
	Connected    Kind = iota // Text: the connection's id, from `welcome`
	Asked                    // for To; ID: after which event, Earliest: for all that is retained, Device: by its cursor
	Ack                      // ID
	Closed                   // the connection ended; Text: why
	Subscribed               // ID: position, OK: recovered
	Unsubscribed             //
	Event                    // ID, Prev, N
	Skip                     // ID, Prev
	LiveOnly                 // N
	Gap                      // ID: position, Prev: after, Oldest, Text: reason
)

// Frame is one thing that a client saw or did.
type Frame struct {
	At       time.Time
	Kind     Kind
	Gateway  int8
	OK       bool // Subscribed: recovered
	After    bool // Asked: from ID on; otherwise from now, or Earliest
	Earliest bool
	Device   bool // Asked: for what follows its cursor, which was at ID before
	To       string
	ID, Prev wire.ID
	Oldest   wire.ID
	N        int
	Text     string
}

// Client is what one client recorded, over all its connections, in order.
type Client struct {
	Name   string
	Frames []Frame
	At     map[string]bool // targets that it was subscribed to at the end

	Cursors map[string]wire.ID // of its device, at the end
	Acked   map[string]wire.ID // what it had acknowledged on the connection that it had at the end
}

// Fault is one thing that was done to the system.
type Fault struct {
	Kind, Place string
	Calm        bool // it touches nothing that publishes: no live-only event may come twice
	Begin, End  time.Time
}

// Log is everything that a run left behind.
type Log struct {
	Appends   []Append            // of each lane in order
	Histories map[string][]Stored // per target all that was ever retained, in the order of ids
	Dead      []DeadLetter
	Flushes   []time.Time  // of everything in Redis; it happened soon after
	Flushed   map[int]bool // numbers of the entries that they found in the ingress streams
	Clients   []*Client
	Faults    []Fault
}
