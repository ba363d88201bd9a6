package wire

import (
	"bytes"
	"encoding/json"
	"strings"
)

// Frames as events of text/event-stream (HTML Standard, 9.2). An `event` is one of its own name, another frame one of
// the name "sluice." and its type; the data is the JSON of the frame.

// OwnNames is how the names of Sluice's own events on a stream begin.
const OwnNames = "sluice."

// StreamHead is what an event stream says of a frame before its data.
type StreamHead struct {
	Name string // of the event on the stream
	Type string // of the frame
	To   string
	// Moves: the frame is about To, which now stands at At. Ends: the subscription to To is over.
	Moves, Ends bool
	At          ID
	AfterMs     int64 // of `goaway`
}

// ReadStreamHead reads a frame to a client, as AppendText made it, and returns its JSON without line breaks, which would
// end the data of an event. It shares the memory of the frame where that has none.
func ReadStreamHead(frame []byte) (h StreamHead, data []byte) {
	data = Payload(frame)
	if bytes.IndexByte(data, '\n') >= 0 || bytes.IndexByte(data, '\r') >= 0 { // between the parts of a producer's JSON: within texts they are escaped
		data = bytes.ReplaceAll(bytes.ReplaceAll(data, []byte("\r"), []byte(" ")), []byte("\n"), []byte(" "))
	}
	if rest, ok := bytes.CutPrefix(data, []byte(`{"type":"event","to":"`)); ok {
		return eventHead(rest), data
	}
	var f struct {
		Type     string
		To       string
		ID       *ID
		Position *ID
		AfterMs  int64 `json:"after_ms"`
	}
	if err := json.Unmarshal(data, &f); err != nil {
		panic("wire: a frame that this package made is no JSON: " + err.Error())
	}
	h = StreamHead{Name: OwnNames + f.Type, Type: f.Type, To: f.To, Ends: f.Type == "unsubscribed", AfterMs: f.AfterMs}
	switch {
	case f.Type == "skip" && f.ID != nil:
		h.Moves, h.At = true, *f.ID
	case f.Position != nil:
		h.Moves, h.At = true, *f.Position
	}
	return h, data
}

// eventHead reads on behind the begin of a frame of AppendEvent.
func eventHead(rest []byte) StreamHead {
	h := StreamHead{Type: "event"}
	to, rest, _ := bytes.Cut(rest, []byte(`"`)) // targets have no character that JSON escapes
	h.To = string(to)
	if after, ok := bytes.CutPrefix(rest, []byte(`,"id":"`)); ok {
		id, behind, _ := bytes.Cut(after, []byte(`"`))
		at, err := ParseID(string(id))
		h.At, h.Moves = at, err == nil
		_, rest, _ = bytes.Cut(behind, []byte(`,"prev":"`))
		_, rest, _ = bytes.Cut(rest, []byte(`"`))
	}
	if rest, ok := bytes.CutPrefix(rest, []byte(`,"event":"`)); ok {
		n, _ := stringEnd(rest) // AppendEvent escapes no surrogates
		h.Name, _ = unquote(append(append([]byte{'"'}, rest[:n]...), '"'))
	}
	return h
}

// AppendCursor adds a target and its position to a cursor, behind others or as the first one (ParseLastEventID).
func AppendCursor(dst []byte, target string, at ID, first bool) []byte {
	if !first {
		dst = append(dst, ',')
	}
	if strings.ContainsAny(target, "=+") {
		target = cursorEscape.Replace(target)
	}
	return at.Append(append(append(dst, target...), '='))
}
