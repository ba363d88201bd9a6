package client

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"unicode/utf8"

	"sluice/shared/wire"
)

// Event is one event of a target.
type Event struct {
	To   string
	ID   wire.ID // zero: it is live only, and will not come again
	Prev wire.ID // the event before it; zero: it is the first
	Name string
	From string          // "user:<id>" for what clients published
	Data json.RawMessage // JSON; what the producer gave as plain text or bytes is a string
	Enc  string          // "base64": Data is a string that holds bytes so
}

// Decode is json.Unmarshal of the data.
func (e *Event) Decode(v any) error { return json.Unmarshal(e.Data, v) }

// Bytes are the data, with those that came as base64 decoded.
func (e *Event) Bytes() ([]byte, error) {
	if e.Enc != "base64" {
		return e.Data, nil
	}
	var text string
	if err := json.Unmarshal(e.Data, &text); err != nil {
		return nil, err
	}
	return base64.StdEncoding.DecodeString(text)
}

// Gap says that events after After cannot be had any more. What follows comes after Position.
type Gap struct {
	To       string
	After    wire.ID
	Oldest   wire.ID // the oldest event that is retained; zero: none
	Position wire.ID
	Reason   string // "trimmed", "expired", "unknown"
}

// frame is any frame from the server.
type frame struct {
	Type string `json:"type"`
	Ref  string `json:"ref"`
	To   string `json:"to"`

	ID    *wire.ID        `json:"id"` // nil: there is none
	Prev  *wire.ID        `json:"prev"`
	Event string          `json:"event"`
	From  string          `json:"from"`
	Data  json.RawMessage `json:"data"`
	Enc   string          `json:"enc"`

	User   string      `json:"user"`
	PingMs int64       `json:"ping_ms"`
	Limits wire.Limits `json:"limits"`

	Position  *wire.ID `json:"position"`
	Recovered bool     `json:"recovered"`
	After     wire.ID  `json:"after"`
	Oldest    wire.ID  `json:"oldest"`
	Reason    string   `json:"reason"`
	Duplicate bool     `json:"duplicate"`

	Code         string `json:"code"`
	Message      string `json:"message"`
	RetryAfterMs int64  `json:"retry_after_ms"`
	AfterMs      int64  `json:"after_ms"`
}

var (
	errText = errors.New("a frame is not UTF-8")
	errType = errors.New("a frame has no type")
)

// ours are the types of frames of which the client looks at the fields.
var ours = []string{"welcome", "subscribed", "unsubscribed", "event", "skip", "gap", "published", "reply", "error", "goaway"}

// decode reads a frame. What its type requires is there; frames of other types are taken as they are.
func decode(msg []byte) (*frame, error) {
	if !utf8.Valid(msg) {
		return nil, errText
	}
	f := &frame{}
	if err := json.Unmarshal(msg, f); err != nil {
		var other struct{ Type string }
		var reply struct { // its id is whatever the client called it, and no event's
			Type, Ref string
			Data      json.RawMessage
		}
		if json.Unmarshal(msg, &reply) == nil && reply.Type == "reply" {
			return &frame{Type: reply.Type, Ref: reply.Ref, Data: reply.Data}, nil
		}
		if json.Unmarshal(msg, &other) == nil && other.Type != "" && !slices.Contains(ours, other.Type) {
			return &frame{Type: other.Type}, nil // its fields are something else
		}
		return nil, err
	}
	complete := true
	switch f.Type {
	case "":
		return nil, errType
	case "welcome":
		complete = f.User != "" && f.PingMs > 0 && f.PingMs <= 24*3600*1000
	case "event":
		complete = f.To != "" && (f.ID == nil || (!f.ID.IsZero() && f.Prev != nil))
	case "skip":
		complete = f.To != "" && f.ID != nil && !f.ID.IsZero() && f.Prev != nil
	case "subscribed", "gap":
		complete = f.To != "" && f.Position != nil
	case "published":
		complete = f.ID != nil
	}
	if !complete {
		return nil, fmt.Errorf("a frame %q lacks what it must have", f.Type)
	}
	return f, nil
}

func (f *frame) event() *Event {
	e := &Event{To: f.To, Name: f.Event, From: f.From, Data: f.Data, Enc: f.Enc}
	if f.ID != nil {
		e.ID, e.Prev = *f.ID, *f.Prev
	}
	return e
}

func (f *frame) gap() *Gap {
	return &Gap{To: f.To, After: f.After, Oldest: f.Oldest, Position: *f.Position, Reason: f.Reason}
}

// outFrame is any frame to the server.
type outFrame struct {
	Type   string             `json:"type"`
	Ref    string             `json:"ref,omitempty"`
	To     string             `json:"to,omitempty"`
	Token  string             `json:"token,omitempty"`
	Device string             `json:"device,omitempty"`
	Resume map[string]wire.ID `json:"resume,omitempty"`
	OnGap  string             `json:"on_gap,omitempty"`
	After  string             `json:"after,omitempty"`
	Event  string             `json:"event,omitempty"`
	ID     string             `json:"id,omitempty"`
	Retain *int               `json:"retain,omitempty"`
	Name   string             `json:"name,omitempty"`
	Data   json.RawMessage    `json:"data,omitempty"`
}

// encode is the frame's JSON. Only data of a publish or a call may make it fail.
func (f outFrame) encode() ([]byte, error) { return json.Marshal(f) }
