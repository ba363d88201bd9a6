package conformance

import (
	"bytes"
	_ "embed" // scripts.json
	"encoding/json"
	"fmt"
)

// Target is what the client subscribes to, and publishes its reports to.
const Target = "topic:kit"

//go:embed scripts.json
var scriptsJSON []byte

// Script is what a server does, and what it expects, one step after the other.
type Script struct {
	Name    string `json:"name"`
	Promise string `json:"promise"` // of a client that passes
	Steps   []Step `json:"steps"`
}

// Step is one of these.
type Step struct {
	Connect *Ask    `json:"connect,omitempty"` // the client connects, and asks for the target
	Ask     *Ask    `json:"ask,omitempty"`     // it asks once more on the same connection
	Event   *Event  `json:"event,omitempty"`   // it is sent an event of the target
	Skip    *Event  `json:"skip,omitempty"`    // or the frame `skip` in place of one
	Frame   *Frame  `json:"frame,omitempty"`   // or any frame
	Reports Reports `json:"reports,omitempty"` // since the begin of the script it has reported this, and nothing else
	Lose    bool    `json:"lose,omitempty"`    // its next publish is done, and not answered
	Again   bool    `json:"again,omitempty"`   // it sends that once more, with the same idempotency key
	Close   int     `json:"close,omitempty"`   // the connection is closed with a code
	Cut     bool    `json:"cut,omitempty"`     // or breaks without a word
	AwayMs  int     `json:"away_ms,omitempty"` // it does not connect for so long
}

// Ask is what the client asks for, and what it is answered.
type Ask struct {
	At       string `json:"at"`                 // its position; "": from now on
	Position string `json:"position,omitempty"` // answered; "": At
	Gap      string `json:"gap,omitempty"`      // the reason of a gap before that
}

// Event is an event; its data is {"n":N}.
type Event struct {
	ID   string `json:"id,omitempty"` // "": it is live only
	Prev string `json:"prev,omitempty"`
	N    int    `json:"n,omitempty"`
}

// Frame is any JSON object.
type Frame = json.RawMessage

// Reports are what the client said of what it has handled: a number N of an event, the reason of a gap.
type Reports []any

// data are the data with which the client publishes a report.
func (r Reports) data() ([]string, error) {
	all := make([]string, len(r))
	for i, report := range r {
		switch v := report.(type) {
		case float64:
			all[i] = fmt.Sprintf(`{"n":%d}`, int(v))
		case string:
			all[i] = fmt.Sprintf(`{"gap":%q}`, v)
		default:
			return nil, fmt.Errorf("a report is a number or a reason, not %v", report)
		}
	}
	return all, nil
}

// Scripts are all of them.
func Scripts() ([]Script, error) {
	var all []Script
	d := json.NewDecoder(bytes.NewReader(scriptsJSON))
	d.DisallowUnknownFields()
	err := d.Decode(&all)
	return all, err
}
