package live

import (
	"time"

	"sluice/shared/wire"
)

// Start is where a subscription begins.
type Start struct {
	kind startKind
	id   wire.ID
}

type startKind byte

const (
	startNow      startKind = iota
	startOwn                // after an id of this very target
	startBare               // after another target's id: a time
	startEarliest           // with all that is retained
)

// Now begins with what comes from now on; so does the zero Start.
func Now() Start { return Start{} }

// After begins after an id of the target.
func After(id wire.ID) Start { return Start{startOwn, id} }

// Since begins after an id of another target, which is a time.
func Since(id wire.ID) Start { return Start{startBare, id} }

// Earliest begins with all that is retained.
func Earliest() Start { return Start{kind: startEarliest} }

// Position is the id of the target that it is after, if it is after one.
func (s Start) Position() (id wire.ID, ok bool) { return s.id, s.kind == startOwn }

// Request is a subscription that a client asks for.
type Request struct {
	Target   string
	Ref      string // of the answer
	Start    Start
	Retained bool // after a gap what is retained follows
	Opening  bool // the connection ends if it cannot be

	Came time.Time // when it came to this gateway; zero: when it was asked for

	moves bool      // a subscription that is there
	asked time.Time // when
}

// came is when it came to this gateway.
func (w *Request) came() time.Time {
	if w.Came.IsZero() {
		return w.asked
	}
	return w.Came
}

// HasAlways reports whether each connection of the user has this target.
func HasAlways(user, target string) bool {
	return target == wire.All || target == wire.UserTarget(user)
}

// ErrHasAlways says that a subscription to such a target cannot end.
var ErrHasAlways = &wire.FrameError{Code: wire.CodeBadRequest, Message: "every connection has `all` and its own user; it cannot unsubscribe from them"}
