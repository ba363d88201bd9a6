package wire

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"
)

// MaxRef bounds a frame's ref, in characters.
const MaxRef = 64

// MaxTokenBytes bounds a token in a frame.
const MaxTokenBytes = 8 << 10

// Earliest in `after` asks for all that is retained.
const Earliest = "earliest"

// ClientFrame is a frame from a client, checked by ParseClientFrame: what its
// type requires is there and well formed.
type ClientFrame struct {
	Type   string          `json:"type"`
	Ref    string          `json:"ref"`
	To     string          `json:"to"`
	After  string          `json:"after"` // an id, Earliest, or "" for now
	Token  string          `json:"token"`
	Device string          `json:"device"`
	Resume Resume          `json:"resume"`
	Data   json.RawMessage `json:"data"`
	Event  string          `json:"event"`
	ID     string          `json:"id"` // publish: idempotency key; ack: event id
	Retain Retain          `json:"retain"`
}

// Resume are the positions of `connect`, as the client wrote them: each one is
// checked by itself, since a bad one must not harm the others.
type Resume struct {
	Device    bool              // "device": from the cursors kept for this device
	Positions map[string]string // target to id
}

// UnmarshalJSON reads an object of strings or "device".
func (r *Resume) UnmarshalJSON(b []byte) error {
	if bytes.Equal(b, []byte(`"device"`)) {
		r.Device = true
		return nil
	}
	if len(b) > 0 && b[0] == '"' {
		return errors.New(`resume is {target: id, ...} or "device"`)
	}
	return json.Unmarshal(b, &r.Positions)
}

// Retain is publish's retain: absent or 1 or true keeps history, 0 or false does not.
type Retain struct{ Off bool }

// UnmarshalJSON reads 0, 1, false, true, null.
func (r *Retain) UnmarshalJSON(b []byte) error {
	switch string(b) {
	case "0", "false":
		r.Off = true
	case "1", "true", "null":
	default:
		return errors.New("retain is 0 or 1")
	}
	return nil
}

// FrameError is a refusal that the client may read: a code of this protocol and a
// sentence.
type FrameError struct {
	Code, Message string
}

func (e *FrameError) Error() string { return e.Code + ": " + e.Message }

func badRequest(format string, args ...any) *FrameError {
	return &FrameError{CodeBadRequest, fmt.Sprintf(format, args...)}
}

// ParseClientFrame decodes one message of a client. With an error, which is always
// a *FrameError, the frame holds at least the ref if there was one to be read.
func ParseClientFrame(msg []byte) (ClientFrame, error) {
	var f ClientFrame
	err := json.Unmarshal(msg, &f)
	if utf8.RuneCountInString(f.Ref) > MaxRef {
		f.Ref = ""
		return f, badRequest("ref is longer than %d characters", MaxRef)
	}
	if err != nil {
		return f, badRequest("%s", describe(err))
	}
	if ferr := f.check(); ferr != nil {
		return f, ferr
	}
	return f, nil
}

// describe says what is wrong with JSON without telling Go's names.
func describe(err error) string {
	var typ *json.UnmarshalTypeError
	var syn *json.SyntaxError
	switch {
	case errors.As(err, &typ) && typ.Field != "":
		return fmt.Sprintf("field %.64q has the wrong type", typ.Field)
	case errors.As(err, &typ):
		return "a frame is one JSON object"
	case errors.As(err, &syn):
		return "a frame is one JSON object: this is no valid JSON"
	}
	return err.Error()
}

func (f *ClientFrame) check() *FrameError {
	switch f.Type {
	case "connect", "auth":
		if f.Token == "" && f.Type == "auth" {
			return badRequest("auth needs a token")
		}
		if len(f.Token) > MaxTokenBytes {
			return badRequest("the token is longer than %d bytes", MaxTokenBytes)
		}
		if f.Device != "" && !ValidName(f.Device) {
			return badRequest("device is 1 to 128 characters of A-Z a-z 0-9 . _ - : @ / + =")
		}
		if f.Resume.Device && f.Device == "" {
			return badRequest(`resume "device" needs device`)
		}
	case "subscribe":
		if err := CheckTarget(f.To); err != nil {
			return badRequest("to: %v", err)
		}
		if f.After != "" && f.After != Earliest {
			if _, err := ParseID(f.After); err != nil {
				return badRequest("after: %v, or %q", err, Earliest)
			}
		}
	case "unsubscribe":
		if err := CheckTarget(f.To); err != nil {
			return badRequest("to: %v", err)
		}
	case "publish":
		return f.checkPublish()
	case "ack":
		if err := CheckTarget(f.To); err != nil {
			return badRequest("to: %v", err)
		}
		if id, err := ParseID(f.ID); err != nil || id.IsZero() {
			return badRequest("id: an ack needs the id of an event")
		}
	case "ping":
	case "":
		return badRequest("type is missing")
	default:
		return badRequest("unknown type %.64q", f.Type)
	}
	return nil
}

func (f *ClientFrame) checkPublish() *FrameError {
	if err := CheckTarget(f.To); err != nil {
		return badRequest("to: %v", err)
	}
	if f.Data == nil {
		return badRequest("publish needs data")
	}
	if !plainText(f.Event, maxEventName) {
		return badRequest("event is at most %d bytes without control characters", maxEventName)
	}
	if len(f.ID) > maxField {
		return badRequest("id is at most %d bytes", maxField)
	}
	return nil
}
