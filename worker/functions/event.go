package functions

import (
	"encoding/json"
	"time"

	"sluice/shared/wire"
)

// cloudEvent is what a function gets: a CloudEvent 1.0 in its structured form.
type cloudEvent[Data any] struct {
	SpecVersion string `json:"specversion"`
	ID          string `json:"id"`
	Source      string `json:"source"`
	Type        string `json:"type"`
	Subject     string `json:"subject"`
	Time        string `json:"time"`
	Trace       string `json:"traceparent,omitempty"` // CloudEvents' extension for distributed tracing
	ContentType string `json:"datacontenttype"`
	Data        Data   `json:"data"`
}

// eventData is what is known of the connection, and what the kind adds.
type eventData struct {
	Conn      string          `json:"conn,omitempty"`
	Gateway   string          `json:"gateway,omitempty"`
	Device    string          `json:"device,omitempty"`
	Transport string          `json:"transport,omitempty"`
	Seq       uint64          `json:"seq"`
	State     json.RawMessage `json:"state"` // null: none was set

	Name  string          `json:"name,omitempty"`
	Data  json.RawMessage `json:"data,omitempty"`
	Cause string          `json:"cause,omitempty"`

	// Of unread: the event as clients see it.
	To    string `json:"to,omitempty"`
	ID    string `json:"id,omitempty"`
	Event string `json:"event,omitempty"`
	From  string `json:"from,omitempty"`
	Enc   string `json:"enc,omitempty"`
}

// Known is what goes with an event for functions that does not stand in it.
type Known struct {
	State string      // of the connection, JSON; "": none was set
	Event *wire.Event // of unread; nil: it has left its history
}

const (
	typePrefix  = "sluice."
	contentType = "application/cloudevents+json"
)

// render is an event's body. at is when it was appended.
func render(source string, c *wire.Call, known Known, at time.Time) ([]byte, error) {
	e := cloudEvent[eventData]{
		SpecVersion: "1.0", ID: c.ID, Source: source, Type: typePrefix + c.Kind, Subject: wire.UserTarget(c.User),
		Time: timeText(at), Trace: c.Trace, ContentType: "application/json",
		Data: eventData{
			Conn: c.Conn, Gateway: c.Server, Device: c.Device, Transport: c.Transport, Seq: c.Seq, State: json.RawMessage("null"),
			Name: c.Name, Data: json.RawMessage(c.Data), Cause: c.Cause,
		},
	}
	if known.State != "" {
		e.Data.State = json.RawMessage(known.State)
	}
	if c.Kind == wire.UnreadKind {
		e.Data.To, e.Data.ID = wire.UserTarget(c.User), c.Event.String()
	}
	if known.Event != nil {
		if err := json.Unmarshal(wire.AppendEvent(nil, known.Event), &e.Data); err != nil {
			return nil, err
		}
	}
	return json.Marshal(e)
}

func timeText(at time.Time) string { return at.UTC().Format("2006-01-02T15:04:05.000Z") }
