package wire

import (
	"errors"
	"net/url"
	"sort"
	"strings"
)

// bareBackMs is how far before a bare id every target is replayed from: ids of
// different targets are not comparable, and this is far above what the clock of one
// Redis and the way through the intake can differ.
const bareBackMs = 10_000

// LastEventID is what a client gives as `last_event_id` or Last-Event-ID.
type LastEventID struct {
	Bare      ID                // set when one bare id was given: replay every target from here
	IsBare    bool              //
	Positions map[string]string // else target to id, unchecked as in a resume
}

// ErrCursor says that a text is neither a cursor nor an id.
var ErrCursor = errors.New(`last_event_id is an id or a cursor "user:alice=1700-0,topic:room-1=1701-3", names percent-encoded`)

// ParseLastEventID reads a cursor or one bare id. The bare id is already moved 10 s
// into the past.
func ParseLastEventID(s string) (LastEventID, error) {
	if id, err := ParseID(s); err == nil {
		return LastEventID{IsBare: true, Bare: id.Back(bareBackMs)}, nil
	}
	l := LastEventID{Positions: make(map[string]string)}
	for part := range strings.SplitSeq(s, ",") {
		i := strings.LastIndexByte(part, '=') // ids have none, names may
		if i <= 0 {
			return LastEventID{}, ErrCursor
		}
		name, err := url.PathUnescape(part[:i])
		if err != nil {
			return LastEventID{}, ErrCursor
		}
		l.Positions[name] = part[i+1:]
	}
	return l, nil
}

// Cursor writes positions as one string, sorted by target.
func Cursor(positions map[string]ID) string {
	targets := make([]string, 0, len(positions))
	for t := range positions {
		targets = append(targets, t)
	}
	sort.Strings(targets)
	var b []byte
	for i, t := range targets {
		b = AppendCursor(b, t, positions[t], i == 0)
	}
	return string(b)
}

// Of the characters of names only these two mean something in a cursor or a query.
var cursorEscape = strings.NewReplacer("=", "%3D", "+", "%2B")
