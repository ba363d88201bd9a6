package torture

import (
	"fmt"
	"slices"
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

var ways = []string{"intake", "direct", "publish"}

func (w Way) String() string { return ways[w] }

// Append is one try to append an event.
type Append struct {
	N       int           `json:"n"` // number of the event; tries with one idempotency key share it
	To      string        `json:"to"`
	Way     Way           `json:"way"`
	Lane    string        `json:"lane"`            // tries of one lane were made one after the other, in the order of the log
	Key     string        `json:"key,omitzero"`    // idempotency key, "" for none
	Live    bool          `json:"live,omitzero"`   // not retained
	Except  string        `json:"except,omitzero"` // connection that gets `skip`
	Unread  time.Duration `json:"unread,omitzero"` // functions hear of it if no device has acknowledged it in that time
	Poison  string        `json:"poison,omitzero"` // the reason for which it must become a dead letter, "" for a good event
	At      time.Time     `json:"at"`
	Outcome Outcome       `json:"outcome"`

	// Of the answer. ID is that of the entry: on the stream that it was added to for Intake and Direct, in the
	// history for Publish.
	ID        wire.ID `json:"id,omitzero"`
	Duplicate bool    `json:"duplicate,omitzero"` // Publish: an earlier try was the event
}

// Stored is an entry of a history.
type Stored struct {
	ID    wire.ID `json:"id"`
	Prev  wire.ID `json:"prev"`
	N     int     `json:"n"`
	Life  int     `json:"life,omitzero"` // histories of the target that were taken away as a whole before it was appended
	Era   int     `json:"era,omitzero"`  // the same of everything in Redis: of Flushes
	Wiped Wipe    `json:"wiped,omitzero"`
	Lost  bool    `json:"lost,omitzero"` // Failed, and not appended again: what comes next does not follow it

	// It went after Trimmed and before Gone; zero if it is still there, and if nobody knows. One that went and was
	// appended again has the times when it went first.
	Trimmed time.Time `json:"trimmed,omitzero"`
	Gone    time.Time `json:"gone,omitzero"`
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
	Failed              // its master was lost, and the replica that was promoted had not got it
)

// DeadLetter is an entry of the stream of dead letters.
type DeadLetter struct {
	Reason string  `json:"reason"`
	Stream string  `json:"stream"`
	Entry  wire.ID `json:"entry"`
	To     string  `json:"to"`
	N      int     `json:"n"`            // -1 if it carries none
	Era    int     `json:"era,omitzero"` // how often FLUSHALL came before it
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
	Unsubscribed             // Text: Unanswered, if its connection ended before an answer came
	Event                    // ID, Prev, N
	Skip                     // ID, Prev
	LiveOnly                 // N
	Gap                      // ID: position, Prev: after, Oldest, Text: reason
)

var (
	outcomes   = []string{"open", "acked", "refused"}
	wipes      = []string{"kept", "evicted", "flushed", "failed"}
	frameKinds = []string{"connected", "asked", "ack", "closed", "subscribed", "unsubscribed", "event", "skip", "live-only", "gap"}
)

// MarshalText is the name, in files.
func (o Outcome) MarshalText() ([]byte, error) { return []byte(outcomes[o]), nil }

// MarshalText is the name, in files.
func (w Way) MarshalText() ([]byte, error) { return []byte(ways[w]), nil }

// MarshalText is the name, in files.
func (w Wipe) MarshalText() ([]byte, error) { return []byte(wipes[w]), nil }

// MarshalText is the name, in files.
func (k Kind) MarshalText() ([]byte, error) { return []byte(frameKinds[k]), nil }

// UnmarshalText reads a name.
func (o *Outcome) UnmarshalText(b []byte) (err error) {
	*o, err = named[Outcome](outcomes, b)
	return err
}

// UnmarshalText reads a name.
func (w *Way) UnmarshalText(b []byte) (err error) { *w, err = named[Way](ways, b); return err }

// UnmarshalText reads a name.
func (w *Wipe) UnmarshalText(b []byte) (err error) { *w, err = named[Wipe](wipes, b); return err }

// UnmarshalText reads a name.
func (k *Kind) UnmarshalText(b []byte) (err error) { *k, err = named[Kind](frameKinds, b); return err }

func named[T ~byte](names []string, b []byte) (T, error) {
	i := slices.Index(names, string(b))
	if i < 0 {
		return 0, fmt.Errorf("%q is none of %v", b, names)
	}
	return T(i), nil
}

// Unanswered is the Text of an Unsubscribed that may be done later, or never.
const Unanswered = "unanswered"

// Frame is one thing that a client saw or did.
type Frame struct {
	At       time.Time `json:"at"`
	Kind     Kind      `json:"kind"`
	Gateway  int8      `json:"gateway"`
	OK       bool      `json:"ok,omitzero"`    // Subscribed: recovered
	After    bool      `json:"after,omitzero"` // Asked: from ID on; otherwise from now, or Earliest
	Earliest bool      `json:"earliest,omitzero"`
	Device   bool      `json:"device,omitzero"` // Asked: for what follows its cursor, which was at ID before
	To       string    `json:"to,omitzero"`
	ID       wire.ID   `json:"id,omitzero"`
	Prev     wire.ID   `json:"prev,omitzero"`
	Oldest   wire.ID   `json:"oldest,omitzero"`
	N        int       `json:"n,omitzero"`
	Text     string    `json:"text,omitzero"`
}

// Client is what one client recorded, over all its connections, in order.
type Client struct {
	Name   string          `json:"name"`
	Frames []Frame         `json:"-"`
	At     map[string]bool `json:"at,omitempty"` // targets that it was subscribed to at the end
	Device bool            `json:"device,omitzero"`

	// Retained: it asks for what is retained after a gap (on_gap).
	Retained bool `json:"retained,omitzero"`

	Cursors map[string]wire.ID `json:"cursors,omitempty"` // of its device, at the end
	Acked   map[string]wire.ID `json:"acked,omitempty"`   // what it had acknowledged on the connection that it had at the end
}

// Fault is one thing that was done to the system.
type Fault struct {
	Kind  string    `json:"kind"`
	Place string    `json:"place"`
	Calm  bool      `json:"calm,omitzero"` // it touches nothing that publishes: no live-only event may come twice
	Begin time.Time `json:"begin"`
	End   time.Time `json:"end"`
}

// Config says which run a log is of.
type Config struct {
	Seed     uint64        `json:"seed"`
	Duration time.Duration `json:"duration"` // with faults
	Faults   string        `json:"faults"`   // that were chosen
	Clock    time.Duration `json:"clock,omitzero"`
	TTL      time.Duration `json:"ttl"` // of histories

	Rules     Rules  `json:"rules,omitzero"`
	Unsettled string `json:"unsettled,omitzero"` // what was still to be done after all patience

	Odd []string `json:"odd,omitempty"` // frames that no client should get, such as errors

	// Of a log that is kept: what was wrong, and what the checker must find in it, each the class and a part of the
	// text; nothing if it must find nothing.
	Story string   `json:"story,omitzero"`
	Want  []string `json:"want,omitempty"`
}

// Rules are promises that not every version makes: the checker holds a run to those that are set.
type Rules struct {
	// Positions: `subscribed` says where the subscription stands: no event up to there comes on it.
	Positions bool `json:"positions,omitzero"`
	// Devices: a device's first subscription to a target writes its cursor, `unsubscribe` ends it.
	Devices bool `json:"devices,omitzero"`
	// Keys: a client's idempotency key is its user's own.
	Keys bool `json:"keys,omitzero"`
}

// Log is everything that a run left behind.
type Log struct {
	Config    Config
	Appends   []Append            // of each lane in order
	Histories map[string][]Stored // per target all that was ever retained, in the order of ids
	Dead      []DeadLetter
	Flushes   []time.Time  // of everything in Redis; it happened soon after
	Flushed   map[int]bool // numbers of the entries that they found in the ingress streams, and of those that a lost master took
	Clients   []*Client
	Faults    []Fault

	Heard    []Heard // of events that nobody has read
	Told     []Told
	Receipts []Receipt
}
