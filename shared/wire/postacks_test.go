package wire_test

import (
	"reflect"
	"strings"
	"testing"

	"sluice/shared/wire"
)

// TestParseAcks: of each target the highest counts, and one that is bad refuses all.
func TestParseAcks(t *testing.T) {
	ack := func(device, to string, ms uint64) wire.Ack {
		return wire.Ack{Device: device, To: to, ID: wire.ID{Ms: ms}}
	}
	one := `{"to":"all","id":"7-0"}`
	many := func(n int) string { return `{"acks":[` + strings.TrimSuffix(strings.Repeat(one+",", n), ",") + `]}` }
	for _, tc := range []struct {
		name, body string
		want       []wire.Ack
		err        string
	}{
		{name: "several", body: ` {"device":"d","acks":[{"to":"all","id":"7-0"},{"id":"0","to":"user:a","x":1},{"to":"all","id":"9-0"},{"to":"all","id":"8-0"}],"x":1}`,
			want: []wire.Ack{ack("d", "all", 9), ack("d", "user:a", 0)}},
		{name: "receipts", body: `{"acks":[` + one + `]}`, want: []wire.Ack{ack("", "all", 7)}},
		{name: "none", body: `{"acks":[]}`},
		{name: "a thousand", body: many(1000), want: []wire.Ack{ack("", "all", 7)}},
		{name: "more", body: many(1001), err: "too_large"},
		{name: "nothing", err: "bad_request"},
		{name: "an array", body: `[` + one + `]`, err: "bad_request"},
		{name: "no acks", body: `{"device":"d"}`, err: "bad_request"},
		{name: "acks null", body: `{"acks":null}`, err: "bad_request"},
		{name: "a bad one among good ones", body: `{"acks":[` + one + `,{"to":"all","id":"x"}]}`, err: "bad_request"},
		{name: "no target", body: `{"acks":[{"id":"7-0"}]}`, err: "bad_request"},
		{name: "no id", body: `{"acks":[{"to":"all"}]}`, err: "bad_request"},
		{name: "an ack that is none", body: `{"acks":[3]}`, err: "bad_request"},
		{name: "a bad device", body: `{"device":"a b","acks":[]}`, err: "bad_request"},
		{name: "twice", body: `{"acks":[{"to":"all","to":"all","id":"7-0"}]}`, err: "bad_request"},
		{name: "trailing text", body: `{"acks":[]} x`, err: "bad_request"},
	} {
		got, err := wire.ParseAcks([]byte(tc.body))
		if tc.err != "" {
			if err == nil || err.Code != tc.err || got != nil {
				t.Errorf("%s: %v and %v, want the error %s", tc.name, got, err, tc.err)
			}
		} else if err != nil || !reflect.DeepEqual(got, tc.want) {
			t.Errorf("%s: got %v, %v, want %v", tc.name, got, err, tc.want)
		}
	}
}

// FuzzParseAcks: what is taken is well formed, one of each target.
func FuzzParseAcks(f *testing.F) {
	for _, s := range []string{`{"device":"d","acks":[{"to":"all","id":"7-0"}]}`, `{"acks":[{},[],null]}`, `{"acks":{"":[]}}`, `{"\u0061cks":[]}`, "\xff", `{"device":"\ud800","acks":[]}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		acks, err := wire.ParseAcks(body)
		seen := map[string]bool{}
		for _, a := range acks {
			if err != nil || seen[a.To] || wire.CheckTarget(a.To) != nil || a.Device != "" && !wire.ValidName(a.Device) || a.User != "" {
				t.Fatalf("%+v of %v, %v", a, acks, err)
			}
			seen[a.To] = true
		}
	})
}

// FuzzParseUnsubscribe: what is taken is a device and a target.
func FuzzParseUnsubscribe(f *testing.F) {
	for _, s := range []string{`{"device":"d","to":"topic:x","type":1}`, `{"device":null,"to":null}`, `{"to":["all"]}`, `[]`, "\xff", `{"device":"\ud800","to":"all"}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		device, to, err := wire.ParseUnsubscribe(body)
		if err == nil && (!wire.ValidName(device) || wire.CheckTarget(to) != nil) {
			t.Fatalf("%q and %q, %v", device, to, err)
		}
	})
}
