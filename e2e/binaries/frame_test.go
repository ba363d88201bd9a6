package binaries_test

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"
)

// msg is a JSON object to send.
type msg = map[string]any

// frame is what a server sent: the fields of all kinds together.
type frame struct {
	Type, Ref, To, ID, Prev, Event, From, Enc, Device string

	Data                            json.RawMessage
	Conn, Server, User              string
	PingMS                          int64 `json:"ping_ms"`
	Limits                          json.RawMessage
	Position, After, Oldest, Reason string
	Recovered                       *bool
	Duplicate                       bool
	Code, Message                   string
	AfterMS                         *int64 `json:"after_ms"`
	Exp                             json.RawMessage

	raw   []byte
	at    time.Time
	place int // among all frames of the connection
}

func (f frame) String() string { return string(f.raw) }

// has says whether the frame has a field, whatever its value.
func (f frame) has(field string) bool {
	var all map[string]json.RawMessage
	_ = json.Unmarshal(f.raw, &all) // was decoded before
	_, ok := all[field]
	return ok
}

// recovered says whether a subscribed frame says that nothing is missing.
func (f frame) recovered() bool { return f.Recovered != nil && *f.Recovered }

// number returns the n of an event made by number.
func (f frame) number(t testing.TB) int {
	t.Helper()
	var v struct{ N *int }
	if err := json.Unmarshal(f.Data, &v); err != nil || v.N == nil {
		t.Fatalf("not a numbered event: %s", f)
	}
	return *v.N
}

// chain holds, for each target, the id of the last event that a connection got. Since the server tells each event's
// predecessor, a hole, a repeat or a change of order shows as soon as it comes.
type chain map[string]string

// follow takes the connection's next frame and says what is wrong with it.
func (c chain) follow(f frame) error {
	switch f.Type {
	case "subscribed", "unsubscribed", "gap":
		delete(c, f.To) // what follows is a replay, or starts at another position
	case "event", "skip":
		if f.Type == "event" && !f.has("id") {
			return nil // live only
		}
		id, err := parseID(f.ID)
		if err != nil {
			return err
		}
		prev, err := parseID(f.Prev)
		if err != nil && f.Prev != "0" {
			return fmt.Errorf("prev of %s: %w", f, err)
		}
		if !prev.less(id) {
			return fmt.Errorf("prev is not before id: %s", f)
		}
		last, known := c[f.To]
		if known && last != f.Prev {
			return fmt.Errorf("after %s of %s came an event that follows %s: %s", last, f.To, f.Prev, f)
		}
		c[f.To] = f.ID
	}
	return nil
}

// requireNumbers fails unless the events are the numbered ones from `from` to `to-1`, each once and in order.
func requireNumbers(t testing.TB, who string, events []frame, from, to int) {
	t.Helper()
	for i, f := range events {
		if n := f.number(t); n != from+i {
			t.Fatalf("%s: event number %d came where %d was due: %s", who, n, from+i, f)
		}
	}
	if len(events) != to-from {
		t.Fatalf("%s: got %d events, want %d", who, len(events), to-from)
	}
}
