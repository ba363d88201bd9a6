package wire

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"
	"unicode/utf8"
)

// MaxRef bounds a frame's ref, in characters.
const MaxRef = 64

// MaxTokenBytes bounds a token in a frame.
const MaxTokenBytes = 8 << 10

// Earliest in the place of an id asks for all that is retained.
const Earliest = "earliest"

// Now in a resume or a cursor asks for what comes from now on.
const Now = "now"

// What follows a gap: OnGapLive goes on live from its position, OnGapRetained gives what
// is retained first.
const (
	OnGapLive     = "live"
	OnGapRetained = "retained"

	ErrOnGap = `on_gap is "live" or "retained"`

	ErrDevice = "device is 1 to 128 characters of A-Z a-z 0-9 . _ - : @ / + ="
)

// ClientFrame is a frame from a client, checked by ParseClientFrame: what its
// type requires is there and well formed.
type ClientFrame struct {
	Type   string
	Ref    string
	To     string
	After  string // an id, Earliest, or "" for now
	OnGap  string // OnGapLive, OnGapRetained, or ""
	Token  string
	Device string
	Resume Resume
	Data   json.RawMessage
	Event  string
	Name   string // of a call
	ID     string // publish, call: idempotency key; ack: event id
	Retain Retain
}

// Resume are the positions of `connect`, as the client wrote them: each one is
// checked by itself, since a bad one must not harm the others.
type Resume struct {
	Device    bool              // "device": from the cursors kept for this device
	Positions map[string]string // target to id; "", which is none, for what is no string
}

// UnmarshalJSON reads an object of strings, "device", or null.
func (r *Resume) UnmarshalJSON(b []byte) error {
	*r = Resume{}
	switch {
	case string(b) == `"device"`:
		r.Device = true
	case len(b) > 0 && b[0] == '{':
		err := json.Unmarshal(b, &r.Positions)
		if typ := (*json.UnmarshalTypeError)(nil); !errors.As(err, &typ) {
			return err
		}
	case string(b) != "null":
		return errors.New(`resume is {target: id, ...} or "device"`)
	}
	return nil
}

// Retain is publish's retain: absent or 1 or true keeps history, 0 or false does not.
type Retain struct{ Off bool }

// UnmarshalJSON reads 0, 1, false, true, null.
func (r *Retain) UnmarshalJSON(b []byte) error {
	switch string(b) {
	case "0", "false":
		r.Off = true
	case "1", "true", "null":
		r.Off = false
	default:
		return errors.New("retain is 0 or 1")
	}
	return nil
}

// FrameError is a refusal that the client may read: a code of this protocol and a
// sentence.
type FrameError struct {
	Code, Message string
	// RetryAfter is how long to wait before the same is allowed; 0: it is not said.
	RetryAfter time.Duration
}

func (e *FrameError) Error() string { return e.Code + ": " + e.Message }

func badRequest(format string, args ...any) *FrameError {
	return &FrameError{Code: CodeBadRequest, Message: fmt.Sprintf(format, args...)}
}

// ParseClientFrame decodes one message of a client. With an error, which is always
// a *FrameError, the frame holds at least the ref if there was one to be read.
//
// Names of fields are matched exactly, each may stand once, and unknown ones are
// ignored. It does not use encoding/json's structs: those take names in any case and
// the last of several, and stop, before the ref was read, at the first bad value.
func ParseClientFrame(msg []byte) (ClientFrame, error) {
	var f ClientFrame
	if !valid(msg) {
		return f, badRequest("a frame is one JSON object: this is not valid JSON")
	}
	if bytes.TrimLeft(msg, " \t\r\n")[0] != '{' {
		return f, badRequest("a frame is one JSON object")
	}
	var wrong error
	var seen uint
	for name, value := range members(msg) {
		i := clientField(name)
		if i < 0 {
			continue
		}
		err := f.set(clientFields[i], value, seen&(1<<i) != 0)
		if wrong == nil {
			wrong = err
		}
		seen |= 1 << i
	}
	if utf8.RuneCountInString(f.Ref) > MaxRef {
		f.Ref = ""
		return f, badRequest("ref is longer than %d characters", MaxRef)
	}
	if wrong != nil {
		return f, wrong
	}
	if ferr := f.check(); ferr != nil {
		return f, ferr
	}
	return f, nil
}

// FindToken is the token of a frame of which only the begin is there. Nothing behind it is looked at.
func FindToken(begin []byte) (token string, found bool) {
	i := validSpace(begin, 0)
	if i == len(begin) || begin[i] != '{' {
		return "", false
	}
	for i++; ; i++ {
		name := validSpace(begin, i)
		if i = validName(begin, name, '}'); i < 0 {
			return "", false
		}
		quoted := begin[name:validString(begin, name+1)]
		value := validSpace(begin, i)
		if i = validEnd(begin, value); i < 0 {
			return "", false
		}
		if text, _ := unquote(quoted); text == "token" {
			token, found = unquote(begin[value:i])
			return token, found && token != ""
		}
		if i = validSpace(begin, i); i == len(begin) || begin[i] != ',' {
			return "", false
		}
	}
}

var clientFields = [...]string{"type", "ref", "to", "after", "token", "device", "resume", "data", "event", "id", "retain", "on_gap", "name"}

// clientField is a name's place in clientFields, -1 for unknown ones.
func clientField(quoted []byte) int {
	if !isPlain(quoted) {
		name, _ := unquote(quoted)
		return slices.Index(clientFields[:], name)
	}
	return slices.IndexFunc(clientFields[:], func(name string) bool { return name == string(quoted[1:len(quoted)-1]) })
}

// set reads one of clientFields. null is as good as absent, except as data.
func (f *ClientFrame) set(name string, value []byte, again bool) error {
	if again {
		return badRequest("the field %q is there twice", name)
	}
	var err error
	switch name {
	case "data":
		err = checkData(value)
		f.Data = bytes.Clone(value) // the message's memory is the caller's
	case "resume":
		err = f.Resume.UnmarshalJSON(value)
	case "retain":
		err = f.Retain.UnmarshalJSON(value)
	default:
		text, ok := unquote(value)
		switch {
		case !ok:
			err = fmt.Errorf("%s is a string", name)
		case name == "event" || name == "id" || name == "name":
			err = checkData(value)
		}
		*f.text(name) = text
	}
	if err != nil {
		return badRequest("%v", err)
	}
	return nil
}

func (f *ClientFrame) text(name string) *string {
	switch name {
	case "type":
		return &f.Type
	case "ref":
		return &f.Ref
	case "to":
		return &f.To
	case "after":
		return &f.After
	case "token":
		return &f.Token
	case "device":
		return &f.Device
	case "event":
		return &f.Event
	case "on_gap":
		return &f.OnGap
	case "name":
		return &f.Name
	}
	return &f.ID
}

func (f *ClientFrame) check() *FrameError {
	if f.OnGap != "" && f.OnGap != OnGapLive && f.OnGap != OnGapRetained {
		return badRequest(ErrOnGap)
	}
	switch f.Type {
	case "connect", "auth":
		if f.Token == "" && f.Type == "auth" {
			return badRequest("auth needs a token")
		}
		if len(f.Token) > MaxTokenBytes {
			return badRequest("the token is longer than %d bytes", MaxTokenBytes)
		}
		if f.Device != "" && !ValidName(f.Device) {
			return badRequest(ErrDevice)
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
	case "call":
		return f.checkCall()
	case "ack":
		if err := CheckTarget(f.To); err != nil {
			return badRequest("to: %v", err)
		}
		if _, err := ParseID(f.ID); err != nil {
			return badRequest("id: an ack needs the id of an event, or \"0\"")
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
	return checkNames(f.Event, f.ID)
}

// Publish is the event of a frame `publish`.
func (f *ClientFrame) Publish() *Publish {
	return &Publish{To: f.To, Data: string(f.Data), Event: f.Event, ID: f.ID, Live: f.Retain.Off}
}

// ParseCallBody reads the body of a request that calls, {name, data, id}, by the rules of the frame `call`. key is that of the
// header Idempotency-Key, "" for none.
func ParseCallBody(body []byte, key string) (*ClientFrame, *FrameError) {
	if !utf8.Valid(body) || !valid(body) || trim(body)[0] != '{' {
		return nil, badRequest("the body is one JSON object: {name, data, id}")
	}
	names := []string{"name", "data", "id"}
	fields, wrong := only(body, names...)
	if wrong != nil {
		return nil, wrong
	}
	f := &ClientFrame{Type: "call"}
	for i, name := range names {
		if fields[i] == nil {
			continue
		}
		if err := f.set(name, fields[i], false); err != nil {
			return nil, badRequest("%v", err)
		}
	}
	if key != "" && f.ID != "" && key != f.ID {
		return nil, badRequest("id and Idempotency-Key are not the same")
	}
	f.ID = cmp.Or(f.ID, key)
	return f, f.checkCall()
}

func (f *ClientFrame) checkCall() *FrameError {
	if !CheckCallName(f.Name) {
		return badRequest("call needs a name, of at most %d bytes without control characters", MaxCallName)
	}
	if !plainText(f.ID, MaxCallID) {
		return badRequest("id is at most %d bytes without control characters", MaxCallID)
	}
	return nil
}
