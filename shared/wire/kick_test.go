package wire_test

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"sluice/shared/wire"
)

// entryOf is a kick as it comes from a stream.
func entryOf(k *wire.Kick) map[string]any {
	fields := make(map[string]any)
	all := k.Fields()
	for i := 0; i < len(all); i += 2 {
		fields[all[i]] = all[i+1]
	}
	return fields
}

// A kick is the same from whoever asks for it to the gateway.
func TestKick(t *testing.T) {
	for _, k := range []wire.Kick{
		{User: "alice", At: 17},
		{User: "a:b@c/d", Device: "phone-1", Conn: "K3YB", Reason: "möp: \"out\"", For: wire.MaxKickFor, At: 17},
		{User: "alice", Reason: strings.Repeat("x", 123), For: time.Second, At: 17},
	} {
		fields := entryOf(&k)
		e, reason := wire.ParseEntry(id(17, 1), fields, maxData)
		if reason != "" || !reflect.DeepEqual(e.Kick, &k) || e.To != "user:"+k.User || e.Data != "" {
			t.Errorf("got %+v, %q, want %+v", e.Kick, reason, k)
		}
		fields["added"], fields["data"] = "12", "a kick has none"
		e, reason = wire.ParseEntry(id(17, 1), fields, maxData)
		if reason != "" || e.Kick.At != 12 || e.Data != "" {
			t.Errorf("added to the intake at 12: got %+v, %q", e.Kick, reason)
		}
		k.For = 0 // is for Redis only
		if got, err := wire.ParseKick(string(wire.AppendKick(nil, &k))); err != nil || !reflect.DeepEqual(got, &k) {
			t.Errorf("got %+v, %v, want %+v", got, err, k)
		}
	}
	if e, reason := wire.ParseEntry(id(17, 1), map[string]any{"to": "user:alice", "data": "1", "device": "d", "for": "x"}, maxData); reason != "" || e.Kick != nil {
		t.Errorf("an event with fields of a kick: %+v, %q", e, reason)
	}
}

func FuzzParseKick(f *testing.F) {
	f.Add(string(wire.AppendKick(nil, kicked.Kick)))
	f.Add("\x05alice\x00\x00\x01\xff\x00")
	f.Add("")
	f.Fuzz(func(t *testing.T, kept string) {
		k, err := wire.ParseKick(kept)
		if err != nil {
			return
		}
		if wrong := k.Check(); wrong != "" {
			t.Errorf("%+v: %s", k, wrong)
		}
		again, err := wire.ParseKick(string(wire.AppendKick(nil, k)))
		if err != nil || !reflect.DeepEqual(k, again) {
			t.Errorf("got %+v, %v, want %+v", again, err, k)
		}
	})
}
