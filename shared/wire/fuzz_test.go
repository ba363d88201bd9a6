package wire_test

import (
	"bytes"
	"encoding/json"
	"io"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"sluice/shared/wire"
)

func FuzzParseID(f *testing.F) {
	for _, s := range []string{"0", "0-0", "1-0", "01-1", "1700000000000-7", "18446744073709551615-18446744073709551615", "18446744073709551616-0", "+1-1", "1", "-", "1-2-3"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		a, err := wire.ParseID(s)
		if err != nil {
			if a != (wire.ID{}) {
				t.Errorf("%q: an error and %v", s, a)
			}
			return
		}
		if a.String() != s {
			t.Errorf("%q is written %q", s, a.String())
		}
		if b := a.Next(); a != wire.MaxID && (!a.Less(b) || b.Less(a)) {
			t.Errorf("%v is not before %v", a, b)
		}
		if b := a.Back(1); a.Less(b) || b.Seq != 0 {
			t.Errorf("%v back is %v", a, b)
		}
	})
}

var target = regexp.MustCompile(`\A(all|(user|topic):[A-Za-z0-9._\-:@/+=]{1,128})\z`)

func FuzzCheckTarget(f *testing.F) {
	for _, s := range []string{"", "all", "all:", "user:", "user:alice", "topic:room-1", "topic:AZaz09._-:@/+=", "topic:a b", "topic:\xff", "topic:é", "group:x", "topic:a\n"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		ok := wire.CheckTarget(s) == nil
		if ok != target.MatchString(s) {
			t.Fatalf("%q is a target: %v", s, ok)
		}
		if p := wire.Partition(s, 16); p < 0 || p > 15 {
			t.Errorf("%q: partition %d of 16", s, p)
		}
		if !ok {
			return
		}
		if b, err := json.Marshal(s); err != nil || string(b) != `"`+s+`"` {
			t.Errorf("%q needs escapes in JSON: frames do not", s)
		}
		if err := checkCursor(wire.Cursor(map[string]wire.ID{s: id(1, 2)}), map[string]wire.ID{s: id(1, 2)}); err != nil {
			t.Error(err)
		}
	})
}

// member is a member of a JSON object as encoding/json's tokens show it.
type member struct {
	name  string
	value json.RawMessage
}

func membersOf(t *testing.T, object []byte) (list []member) {
	d := json.NewDecoder(bytes.NewReader(object))
	if _, err := d.Token(); err != nil {
		t.Fatal(err)
	}
	for d.More() {
		name, err := d.Token()
		m := member{name: name.(string)}
		if err == nil {
			err = d.Decode(&m.value)
		}
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, m)
	}
	return list
}

func FuzzParseClientFrame(f *testing.F) {
	golden := readClientFile(f)
	for _, g := range golden.Good {
		f.Add([]byte(g.Text))
	}
	for _, g := range golden.Bad {
		f.Add([]byte(g.Text))
	}
	f.Add([]byte("{\"type\":\"ping\",\"ref\":\"\xff\\ud800\"}"))
	f.Fuzz(func(t *testing.T, msg []byte) {
		before := bytes.Clone(msg)
		frame, err := wire.ParseClientFrame(msg)
		if !bytes.Equal(msg, before) {
			t.Fatal("the message was written to")
		}
		if err != nil {
			checkRefusal(t, string(msg), err, wire.CodeBadRequest)
		}
		var object map[string]json.RawMessage
		if json.Unmarshal(msg, &object) != nil || object == nil {
			if err == nil {
				t.Fatal("accepted what is no JSON object")
			}
			return
		}
		fields := make(map[string]json.RawMessage)
		twice := false
		for _, m := range membersOf(t, msg) {
			if _, again := fields[m.name]; again {
				twice = twice || slices.Contains(fieldNames, m.name)
				continue
			}
			fields[m.name] = m.value
		}
		if twice && err == nil {
			t.Error("accepted a field that stands twice")
		}
		if want := textOf(fields["ref"]); frame.Ref != want && utf8.RuneCountInString(want) <= wire.MaxRef {
			t.Errorf("ref %q, want %q", frame.Ref, want)
		}
		if err == nil {
			checkFrame(t, &frame, fields)
		}
	})
}

var fieldNames = []string{"type", "ref", "to", "after", "token", "device", "resume", "data", "event", "id", "retain", "name"}

func textOf(value json.RawMessage) (s string) {
	if json.Unmarshal(value, &s) != nil {
		return ""
	}
	return s
}

// checkFrame compares an accepted frame with its fields, and checks what its type
// promises to whoever handles it.
func checkFrame(t *testing.T, f *wire.ClientFrame, fields map[string]json.RawMessage) {
	for name, got := range map[string]string{
		"type": f.Type, "to": f.To, "after": f.After, "token": f.Token, "device": f.Device, "event": f.Event, "id": f.ID, "name": f.Name,
	} {
		if want := textOf(fields[name]); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if !bytes.Equal(f.Data, fields["data"]) {
		t.Errorf("data is %q, want %q", f.Data, fields["data"])
	}
	resume := string(fields["resume"])
	if f.Resume.Device != (textOf(fields["resume"]) == "device" && resume == `"device"`) {
		t.Errorf("resume %s: %+v", resume, f.Resume)
	}
	var positions map[string]json.RawMessage
	_ = json.Unmarshal(fields["resume"], &positions)
	if len(positions) != len(f.Resume.Positions) {
		t.Errorf("resume %s: %+v", resume, f.Resume)
	}
	for target, value := range positions {
		if f.Resume.Positions[target] != textOf(value) {
			t.Errorf("resume %s: %+v", resume, f.Resume)
		}
	}
	if off := string(fields["retain"]) == "0" || string(fields["retain"]) == "false"; off != f.Retain.Off {
		t.Errorf("retain %s: %+v", fields["retain"], f.Retain)
	}
	switch f.Type {
	case "subscribe", "unsubscribe", "publish", "ack":
		if !target.MatchString(f.To) {
			t.Errorf("accepted a %s to %q", f.Type, f.To)
		}
	case "call":
		if !wire.CheckCallName(f.Name) || len(f.ID) > wire.MaxCallID {
			t.Errorf("accepted a call of %q with the id %q", f.Name, f.ID)
		}
	case "connect", "auth", "ping":
	default:
		t.Errorf("accepted the type %q", f.Type)
	}
	if f.Type == "publish" {
		fields := map[string]any{"to": f.To, "data": string(f.Data), "event": f.Event, "id": f.ID}
		if _, reason := wire.ParseEntry(id(1, 1), fields, len(f.Data)); reason != "" {
			t.Errorf("an accepted publish is a dead letter: %s", reason)
		}
	}
}

func FuzzParseLastEventID(f *testing.F) {
	var golden cursorFile
	readGolden(f, "cursors.json", &golden)
	for _, g := range golden.Written {
		f.Add(g.Text)
	}
	for _, g := range golden.Cursors {
		f.Add(g.Text)
	}
	for _, s := range golden.Bad {
		f.Add(s)
	}
	f.Add("1700000000000-7")
	f.Fuzz(func(t *testing.T, s string) {
		got, err := wire.ParseLastEventID(s)
		if err != nil || got.IsBare {
			if got.Positions != nil || (err != nil && got.IsBare) {
				t.Errorf("%q: %+v, %v", s, got, err)
			}
			return
		}
		positions := make(map[string]wire.ID)
		for target, text := range got.Positions {
			if id, err := wire.ParseID(text); err == nil && wire.CheckTarget(target) == nil {
				positions[target] = id
			}
		}
		if len(positions) == 0 {
			return
		}
		if err := checkCursor(wire.Cursor(positions), positions); err != nil {
			t.Error(err)
		}
	})
}

func FuzzParseEntry(f *testing.F) {
	f.Add("topic:room-1", `{"hello":1}`, "order.paid", "key-1", "0", "conn-1", "user:bob", "gw-1 conn-2 ref 3", "00-0af7-b7ad-01", uint16(0))
	f.Add("topic:\xff", "\xff", "a\nb", "\x00", "false", "", "\x7f", "a b", "", uint16(0))
	f.Add("", "", "", "", "", "", "", "", "", uint16(0x1ff))
	f.Add("all", "text", "", "", "1", "", "", "", "", uint16(0x0fc))
	f.Fuzz(func(t *testing.T, to, data, event, key, retain, except, from, reply, trace string, without uint16) {
		const limit = 1 << 10
		fields := make(map[string]any)
		for i, v := range []string{to, data, event, key, retain, except, from, reply, trace} {
			if without&(1<<i) == 0 {
				fields[[]string{"to", "data", "event", "id", "retain", "except", "from", "reply", "traceparent"}[i]] = v
			}
		}
		given := maps.Clone(fields)
		e, reason := wire.ParseEntry(id(17, 1), fields, limit)
		if !maps.Equal(fields, given) || e.ID != id(17, 1) {
			t.Fatalf("changed the fields or the id: %v, %+v", fields, e)
		}
		text := func(name string) string { s, _ := fields[name].(string); return s }
		if r, _ := wire.ParseReply(text("reply")); e.Reply != r {
			t.Errorf("reply %+v, want %+v", e.Reply, r)
		}
		name := regexp.MustCompile(`\A[^\x00-\x1f\x7f]*\z`)
		plain := func(s string, limit int) bool { return len(s) <= limit && utf8.ValidString(s) && name.MatchString(s) }
		_, has := fields["data"]
		good := target.MatchString(text("to")) && has && len(text("data")) <= limit && plain(text("event"), 128) &&
			plain(text("from"), 256) && len(text("id")) <= 256 && len(text("except")) <= 256
		if good != (reason == "") {
			t.Fatalf("%q: reason %q", fields, reason)
		}
		if reason != "" {
			return
		}
		want := wire.Event{
			ID: id(17, 1), To: text("to"), Data: text("data"), Name: text("event"), From: text("from"), Except: text("except"), Trace: text("traceparent"),
			Live: text("retain") == "0" || text("retain") == "false",
		}
		if len(want.Trace) > 256 {
			want.Trace = ""
		}
		if !reflect.DeepEqual(e.Event, want) || e.Key != text("id") {
			t.Errorf("got %+v, want %+v", e, want)
		}
		e.Kind = wire.KindOf(e.Data)
		if err := checkEvent(&e.Event); err != nil {
			t.Error(err)
		}
	})
}

func FuzzParseMessage(f *testing.F) {
	for _, m := range messages {
		f.Add(string(m.bytes()))
	}
	f.Add("S")
	f.Add("A")
	f.Add("B\x01\x01\x01z")
	f.Add("H\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02")
	f.Fuzz(func(t *testing.T, payload string) {
		m, records, err := readAll(payload)
		if err != nil {
			return
		}
		if m.Head.Partition < 0 || m.Head.Partition > 65535 {
			t.Errorf("partition %d", m.Head.Partition)
		}
		for i := range records {
			if r := &records[i]; r.Kind == wire.RecEvent || r.Kind == wire.RecLive {
				if again := wire.AppendText(nil, wire.Payload(r.Frame)); !bytes.Equal(again, r.Frame) {
					t.Errorf("% x is not one frame", r.Frame)
				}
			}
		}
		// The bytes may differ, since numbers have longer spellings; what they say may not.
		again := message{head: m.Head, records: records, beats: m.Beats, acked: m.Acked, again: m.Redeliver, orders: m.Orders, nonce: m.Nonce}
		if m.Heartbeat && m.Nonce == 0 {
			return
		}
		m2, records2, err := readAll(string(again.bytes()))
		if err != nil || !reflect.DeepEqual(m, m2) || !reflect.DeepEqual(records, records2) {
			t.Errorf("got %+v, %+v, %v, want %+v, %+v", m2, records2, err, m, records)
		}
	})
}

func FuzzParseAck(f *testing.F) {
	f.Add("alice", "phone-1", "topic:room-1", "1700-0", uint8(0))
	f.Add("alice", "", "all", "0", uint8(0))
	f.Add("a b", "phone 1", "topic:", "1700", uint8(0))
	f.Add("alice", "phone-1", "topic:room-1", "1700-0", uint8(2))
	f.Add("", "", "", "", uint8(15))
	name := regexp.MustCompile(`\A[A-Za-z0-9._\-:@/+=]{1,128}\z`)
	f.Fuzz(func(t *testing.T, user, device, to, at string, without uint8) {
		fields := make(map[string]any)
		for i, v := range []string{user, device, to, at} {
			if without&(1<<i) == 0 {
				fields[[]string{"user", "device", "to", "id"}[i]] = v
			}
		}
		text := func(name string) string { s, _ := fields[name].(string); return s }
		at2, err := wire.ParseID(text("id"))
		good := err == nil && !at2.IsZero() && name.MatchString(text("user")) && target.MatchString(text("to")) &&
			(text("device") == "" || name.MatchString(text("device")))
		a, ok := wire.ParseAck(fields)
		if ok != good {
			t.Fatalf("%q: taken %v, want %v", fields, ok, good)
		}
		if !ok {
			if a != (wire.Ack{}) {
				t.Errorf("%q: refused, and %+v", fields, a)
			}
			return
		}
		again := make(map[string]any)
		for pair := range slices.Chunk(a.Fields(), 2) {
			again[pair[0]] = pair[1]
		}
		if b, ok := wire.ParseAck(again); !ok || b != a {
			t.Errorf("%+v was written %q and read %+v", a, again, b)
		}
		m, err := wire.ParseMessage(string(wire.AppendAcked(nil, []wire.Ack{a, a})))
		if err != nil || !slices.Equal(m.Acked, []wire.Ack{a, a}) {
			t.Errorf("%+v came over the channel as %+v, %v", a, m.Acked, err)
		}
	})
}

func FuzzParseSlowReport(f *testing.F) {
	f.Add("gw-1", "K3YB", "alice", "topic:room-1", "1701-3", "lagging")
	f.Add("gw-1", "K3YB", "", "all", "", "done")
	f.Add("", "\xff", "a b", "room", "0-0", "slow")
	f.Fuzz(func(t *testing.T, server, conn, user, to, after, state string) {
		fields := map[string]any{"server": server, "conn": conn, "user": user, "to": to, "after": after, "state": state}
		r, ok := wire.ParseSlowReport(fields)
		if !ok {
			if r != (wire.SlowReport{}) {
				t.Errorf("%q: refused, and %+v", fields, r)
			}
			return
		}
		if !target.MatchString(r.To) || r.Server != server || r.Conn != conn || r.User != user || r.State != state {
			t.Errorf("%q: %+v", fields, r)
		}
		if r.State == wire.SlowDone {
			r.After = wire.ID{} // it says nothing there
		}
		again := make(map[string]any)
		for list := r.Fields(); len(list) > 0; list = list[2:] {
			again[list[0]] = list[1]
		}
		if r2, ok := wire.ParseSlowReport(again); !ok || r2 != r {
			t.Errorf("%+v came back as %+v, %v", r, r2, ok)
		}
	})
}

func FuzzParseReply(f *testing.F) {
	for _, s := range []string{"", "gw-1 conn-2 ref 3", "gw-1 conn-2 ", "gw-1 conn-2", " a b", "a  b", "a b \xff\x00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, ok := wire.ParseReply(s)
		if ok && (r.String() != s || r.Server == "" || r.Conn == "") {
			t.Errorf("%q: %+v", s, r)
		}
		if !ok && r != (wire.Reply{}) {
			t.Errorf("%q: refused, and %+v", s, r)
		}
	})
}

func FuzzAppendEvent(f *testing.F) {
	for _, c := range events {
		e := c.event
		f.Add(e.Name, e.From, e.Data, e.Live, e.ID.Ms, e.ID.Seq, e.Prev.Ms)
	}
	f.Add("a\xffb", "\xed\xa0\x80\u2028", "\ufffd", false, uint64(0), uint64(0), uint64(0))
	f.Fuzz(func(t *testing.T, name, from, data string, live bool, ms, seq, prev uint64) {
		e := wire.Event{
			To: "topic:room-1", ID: id(ms, seq), Prev: id(prev, seq), Name: name, From: from,
			Data: data, Kind: wire.KindOf(data), Live: live,
		}
		if err := checkEvent(&e); err != nil {
			t.Error(err)
		}
	})
}

// FuzzCheckData: depth and surrogates are as a decoder of the standard library sees them.
func FuzzCheckData(f *testing.F) {
	for _, s := range []string{
		`{"a":[1,"x"]}`, `"\ud83d\ude00"`, `"\ud83d"`, `"\ude00\ud83d"`, `"\\ud83d"`, `"\ud83d\\ude00"`, `["]\"["]`, strings.Repeat("[", 64) + strings.Repeat("]", 64),
		strings.Repeat("[", 65) + strings.Repeat("]", 65), strings.Repeat("[[],", 70) + "1" + strings.Repeat("]", 70), `"\uFFFD"`,
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, data string) {
		if !json.Valid([]byte(data)) || !utf8.ValidString(data) {
			return
		}
		_, err := wire.ParseClientFrame([]byte(`{"type":"publish","to":"all","data":` + data + `}`))
		if want := depthOf(t, data) <= 64 && !loneSurrogate(data); (err == nil) != want {
			t.Errorf("%.200q: %v, want it taken: %v", data, err, want)
		}
	})
}

func depthOf(t *testing.T, data string) (deepest int) {
	d := json.NewDecoder(strings.NewReader(data))
	for depth := 0; ; {
		token, err := d.Token()
		if err == io.EOF {
			return deepest
		}
		if err != nil {
			t.Fatal(err)
		}
		switch token {
		case json.Delim('{'), json.Delim('['):
			depth++
			deepest = max(deepest, depth)
		case json.Delim('}'), json.Delim(']'):
			depth--
		}
	}
}

// loneSurrogate looks for escapes in the text: a pair is taken out first.
func loneSurrogate(data string) bool {
	plain := regexp.MustCompile(`\\[^u]`).ReplaceAllString(data, "")
	paired := regexp.MustCompile(`(?i)\\u(d[89ab]..)\\u(d[cdef]..)`).ReplaceAllString(plain, "")
	return regexp.MustCompile(`(?i)\\u(d[89a-f]..)`).MatchString(paired)
}

// FuzzFindToken: of a frame that is valid its token is found, and of a begin no other one.
func FuzzFindToken(f *testing.F) {
	for _, text := range []string{
		`{"type":"connect","token":"abc"}`, `{"resume":{"token":"no","a":[{"token":"no"}]},"token":"yes"}`, `{"tok\u0065n":"escaped"}`, `{"token":7}`,
		`{"token":null}`, `["token","x"]`, `{"token":"cut`, `{"token`, `{"a":"\ud800","token":"x"}`, `{`, ``, `null`, `{"a":1}{"token":"x"}`, `{"token":"a","token":"b"}`,
	} {
		f.Add([]byte(text), len(text))
	}
	f.Fuzz(func(t *testing.T, text []byte, cut int) {
		token, found := wire.FindToken(text)
		if frame, err := wire.ParseClientFrame(text); err == nil && (frame.Token != token || found != (frame.Token != "")) {
			t.Errorf("%q: found %q (%v), it is %q", text, token, found, frame.Token)
		}
		if cut < 0 || cut > len(text) {
			return
		}
		if early, is := wire.FindToken(text[:cut]); is && (!found || early != token) {
			t.Errorf("%q has the token %q, and its first %d bytes %q", text, token, cut, early)
		}
	})
}
