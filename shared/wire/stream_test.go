package wire_test

import (
	"encoding/json"
	"testing"

	"sluice/shared/wire"
)

func TestStreamHead(t *testing.T) {
	id, prev := wire.ID{Ms: 1700, Seq: 3}, wire.ID{Ms: 1699}
	event := func(e wire.Event) []byte {
		e.To = "topic:a=b+c"
		return wire.EventFrame(&e)
	}
	for _, c := range []struct {
		name  string
		frame []byte
		want  wire.StreamHead
	}{
		{"event", event(wire.Event{ID: id, Prev: prev, Data: `{"event":"x","id":"9-9"}`, Kind: wire.JSON}),
			wire.StreamHead{Name: "message", Type: "event", To: "topic:a=b+c", Moves: true, At: id}},
		{"event with a name to be escaped", event(wire.Event{ID: id, Name: `a"\b ü`, From: "user:x", Data: "1", Kind: wire.JSON}),
			wire.StreamHead{Name: `a"\b ü`, Type: "event", To: "topic:a=b+c", Moves: true, At: id}},
		{"live event", event(wire.Event{ID: id, Live: true, Name: "typing", Data: `{"id":"9-9"}`, Kind: wire.JSON}),
			wire.StreamHead{Name: "typing", Type: "event", To: "topic:a=b+c"}},
		{"skip", wire.AppendText(nil, wire.AppendSkip(nil, "user:x", id, prev)),
			wire.StreamHead{Name: "sluice.skip", Type: "skip", To: "user:x", Moves: true, At: id}},
		{"subscribed", wire.Frame(wire.Subscribed{To: "all", Position: id}),
			wire.StreamHead{Name: "sluice.subscribed", Type: "subscribed", To: "all", Moves: true, At: id}},
		{"subscribed at zero", wire.Frame(wire.Subscribed{To: "all"}),
			wire.StreamHead{Name: "sluice.subscribed", Type: "subscribed", To: "all", Moves: true}},
		{"gap", wire.Frame(wire.Gap{To: "all", After: prev, Oldest: prev, Position: id, Reason: "trimmed"}),
			wire.StreamHead{Name: "sluice.gap", Type: "gap", To: "all", Moves: true, At: id}},
		{"unsubscribed", wire.Frame(wire.Unsubscribed{To: "topic:a"}),
			wire.StreamHead{Name: "sluice.unsubscribed", Type: "unsubscribed", To: "topic:a", Ends: true}},
		{"published moves nothing", wire.Frame(wire.Published{To: "topic:a", ID: id}),
			wire.StreamHead{Name: "sluice.published", Type: "published", To: "topic:a"}},
		{"goaway", wire.Frame(wire.Goaway{AfterMs: 700, Reason: "x"}),
			wire.StreamHead{Name: "sluice.goaway", Type: "goaway", AfterMs: 700}},
	} {
		t.Run(c.name, func(t *testing.T) {
			h, data := wire.ReadStreamHead(c.frame)
			if h != c.want {
				t.Errorf("got %+v, want %+v", h, c.want)
			}
			if string(data) != string(wire.Payload(c.frame)) {
				t.Errorf("the data is %s", data)
			}
		})
	}
}

// TestStreamDataIsOneLine: a line break would end the data of an event, and what follows could be read as a field.
func TestStreamDataIsOneLine(t *testing.T) {
	e := wire.Event{To: "all", ID: wire.ID{Ms: 1}, Kind: wire.JSON, Data: "{\n\"a\":\r\n[1,\r2]\n\n,\"b\":\"c\\n\"}"}
	_, data := wire.ReadStreamHead(wire.EventFrame(&e))
	var f struct {
		Data struct {
			A []int
			B string
		}
	}
	if err := json.Unmarshal(data, &f); err != nil || len(f.Data.A) != 2 || f.Data.B != "c\n" {
		t.Errorf("%v: %s", err, data)
	}
	for _, c := range data {
		if c == '\n' || c == '\r' {
			t.Errorf("a line break in %q", data)
		}
	}
}

func TestAppendCursor(t *testing.T) {
	b := wire.AppendCursor(nil, "user:x", wire.ID{Ms: 5, Seq: 1}, true)
	b = wire.AppendCursor(b, "topic:a=b+c", wire.ID{}, false)
	got, err := wire.ParseLastEventID(string(b))
	if err != nil || got.IsBare || len(got.Positions) != 2 || got.Positions["user:x"] != "5-1" || got.Positions["topic:a=b+c"] != "0" {
		t.Errorf("%s is read as %+v, %v", b, got, err)
	}
}
