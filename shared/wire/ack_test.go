package wire_test

import (
	"reflect"
	"strings"
	"testing"

	"sluice/shared/wire"
)

func TestAckFields(t *testing.T) {
	long := strings.Repeat("x", 128)
	for _, c := range []struct {
		name   string
		fields map[string]any
		want   wire.Ack // the zero Ack: none
	}{
		{"whole", map[string]any{"user": "alice", "device": "phone-1", "to": "topic:room-1", "id": "1700-3"},
			wire.Ack{User: "alice", Device: "phone-1", To: "topic:room-1", ID: id(1700, 3)}},
		{"a receipt only", map[string]any{"user": "alice", "to": "all", "id": "1-1"}, wire.Ack{User: "alice", To: "all", ID: id(1, 1)}},
		{"an empty device", map[string]any{"user": "alice", "device": "", "to": "all", "id": "1-1"}, wire.Ack{User: "alice", To: "all", ID: id(1, 1)}},
		{"unknown fields", map[string]any{"user": "alice", "to": "all", "id": "1-1", "x": "y"}, wire.Ack{User: "alice", To: "all", ID: id(1, 1)}},
		{"the longest names", map[string]any{"user": long, "device": long, "to": "user:" + long, "id": "1-1"},
			wire.Ack{User: long, Device: long, To: "user:" + long, ID: id(1, 1)}},
		{"nothing", nil, wire.Ack{}},
		{"no user", map[string]any{"to": "all", "id": "1-1"}, wire.Ack{}},
		{"a user that is no name", map[string]any{"user": "a b", "to": "all", "id": "1-1"}, wire.Ack{}},
		{"a device that is no name", map[string]any{"user": "a", "device": "a b", "to": "all", "id": "1-1"}, wire.Ack{}},
		{"a name that is too long", map[string]any{"user": "a", "device": long + "x", "to": "all", "id": "1-1"}, wire.Ack{}},
		{"no target", map[string]any{"user": "a", "to": "everybody", "id": "1-1"}, wire.Ack{}},
		{"no id", map[string]any{"user": "a", "to": "all"}, wire.Ack{}},
		{"the zero id", map[string]any{"user": "a", "to": "all", "id": "0"}, wire.Ack{}},
		{"half an id", map[string]any{"user": "a", "to": "all", "id": "1"}, wire.Ack{}},
		{"a value that is no text", map[string]any{"user": 7, "to": "all", "id": "1-1"}, wire.Ack{}},
	} {
		got, ok := wire.ParseAck(c.fields)
		if got != c.want || ok != (c.want != wire.Ack{}) {
			t.Errorf("%s: %+v, %v", c.name, got, ok)
		}
	}
	a := wire.Ack{User: "alice", Device: "phone-1", To: "all", ID: id(1, 2)}
	if got, want := a.Fields(), []string{"user", "alice", "device", "phone-1", "to", "all", "id", "1-2"}; !reflect.DeepEqual(got, want) {
		t.Errorf("fields %q, want %q", got, want)
	}
	a.Device = ""
	if got, want := a.Fields(), []string{"user", "alice", "to", "all", "id", "1-2"}; !reflect.DeepEqual(got, want) {
		t.Errorf("fields of a receipt %q, want %q", got, want)
	}
}
