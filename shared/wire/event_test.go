package wire_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"sluice/shared/wire"
)

// events are golden as text, by TestServerFrames, and read back by TestEventsDecode.
var events = []struct {
	name  string
	event wire.Event
}{
	{"event, JSON", event(`{"hello":1}`)},
	{"event, the first of its target", wire.Event{To: "all", ID: id(1700, 0), Data: "1", Kind: wire.JSON}},
	{"event, JSON as it is", event("\t{ \"b\": 1,\n  \"a\" : [ 2.50, 1E3, 12345678901234567890.5 ] }\n")},
	{"event, JSON string", event(`"a \u00e9 \ud83d\ude00 <&>"`)},
	{"event, JSON string with a lone surrogate", event(`"\ud800"`)},
	{"event, null", event(`null`)},
	{"event, text", event(`hello`)},
	{"event, empty", event(``)},
	{"event, broken JSON is text", event(`{"a":`)},
	{"event, two JSON values are text", event(`1 2`)},
	{"event, a byte order mark makes text", event("\ufeff{}")},
	{"event, text with escapes", event("quote \" backslash \\ slash / tab \t line \n return \r nul \x00 bell \a unit \x1f delete \x7f")},
	{"event, text beyond ASCII", event("é 😀 \u2028 \u2029 \ufffd \U0010ffff <&>")},
	{"event, binary", event("\x00\xff\xfe\x80")},
	{"event, one byte", event("\xff")},
	{"event, text cut within a rune", event("caf\xc3")},
	{"event, JSON around what is no UTF-8", event("\"\xff\"")},
	{"event, an encoded surrogate is no UTF-8", event("\xed\xa0\x80")},
	{"event, name and from", with(event(`1`), func(e *wire.Event) { e.Name, e.From = "order.paid", "user:bob" })},
	{"event, name and from with escapes", with(event(`1`), func(e *wire.Event) { e.Name, e.From = `a"b\c`, `é","to":"all` })},
	{"event, live only", with(event(`{"typing":true}`), func(e *wire.Event) { e.Live = true })},
	{"event, live only, text from somebody", with(event(`x`), func(e *wire.Event) { e.Live, e.From = true, "user:bob" })},
	{"event, what is not shown", with(event(`1`), func(e *wire.Event) { e.Except, e.Trace = "K3YB5QAZW2C7DLMN", "00-0af7651916cd43dd" })},
	{"event, the largest id", wire.Event{To: "user:alice", ID: wire.MaxID, Prev: id(1, 0), Data: "1", Kind: wire.JSON}},
}

func event(data string) wire.Event {
	return wire.Event{To: "topic:room-1", ID: id(1701, 3), Prev: id(1701, 2), Data: data, Kind: wire.KindOf(data)}
}

func with(e wire.Event, change func(*wire.Event)) wire.Event {
	change(&e)
	return e
}

func TestEventsDecode(t *testing.T) {
	for _, c := range events {
		if err := checkEvent(&c.event); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// checkEvent renders an event and reads it back the way a client does. In a name that
// is no UTF-8 every bad byte is U+FFFD.
func checkEvent(e *wire.Event) error {
	text := wire.AppendEvent(nil, e)
	if !utf8.Valid(text) {
		return fmt.Errorf("no UTF-8: %q", text)
	}
	var f struct {
		Type, To, Event string
		ID, Prev        *string
		From            *string
		Data            json.RawMessage
		Enc             *string
	}
	if err := json.Unmarshal(text, &f); err != nil {
		return fmt.Errorf("no JSON, %w: %q", err, text)
	}
	name, from := string([]rune(e.Name)), string([]rune(e.From))
	if name == "" {
		name = "message"
	}
	switch {
	case f.Type != "event" || f.To != e.To || f.Event != name:
		return fmt.Errorf("type, to or event differ: %s", text)
	case e.Live && (f.ID != nil || f.Prev != nil):
		return fmt.Errorf("a live-only event has a position: %s", text)
	case !e.Live && (f.ID == nil || f.Prev == nil || *f.ID != e.ID.String() || *f.Prev != e.Prev.String()):
		return fmt.Errorf("id or prev differ: %s", text)
	case (f.From != nil) != (from != "") || (f.From != nil && *f.From != from):
		return fmt.Errorf("from differs: %s", text)
	}
	// Data: base64 says so, JSON is itself, and the rest a string.
	if f.Enc == nil && json.Valid([]byte(e.Data)) {
		if !bytes.Equal(f.Data, bytes.Trim([]byte(e.Data), " \t\r\n")) {
			return fmt.Errorf("JSON was not embedded as it is: %s", text)
		}
		return nil
	}
	var got string
	if err := json.Unmarshal(f.Data, &got); err != nil {
		return fmt.Errorf("data is no string: %s", text)
	}
	if f.Enc != nil {
		b, err := base64.StdEncoding.DecodeString(got)
		if err != nil {
			return fmt.Errorf("data is no base64, %w: %s", err, text)
		}
		if *f.Enc != "base64" || utf8.ValidString(e.Data) {
			return fmt.Errorf("a wrong enc: %s", text)
		}
		got = string(b)
	} else if strings.Count(string(text), "\ufffd") != strings.Count(name+from+e.Data, "\ufffd") {
		return fmt.Errorf("U+FFFD in place of something: %s", text)
	}
	if got != e.Data {
		return fmt.Errorf("data is %q, want %q", got, e.Data)
	}
	return nil
}

func TestKindOf(t *testing.T) {
	deep := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	many := "[" + strings.Repeat("{},", 10_000) + "{}]"
	for _, c := range []struct {
		name, data string
		want       wire.DataKind
	}{
		{"object", `{"a":[1,2]}`, wire.JSON},
		{"spaces around", " 1\r\n", wire.JSON},
		{"string", `""`, wire.JSON},
		{"empty", ``, wire.Text},
		{"spaces only", ` `, wire.Text},
		{"trailing comma", `[1,]`, wire.Text},
		{"not a number", `NaN`, wire.Text},
		{"single quotes", `{'a':1}`, wire.Text},
		{"U+FFFD itself", "\ufffd", wire.Text},
		{"overlong", "\xc0\x80", wire.Binary},
		{"JSON with bad UTF-8", "{\"\xff\":1}", wire.Binary},
		{"text with bad UTF-8", "abc\xff", wire.Binary},
		{"many brackets, not deep", many, wire.JSON},
		{"as deep as a frame can hold", deep(9_999), wire.JSON},
		{"JSON, but too deep within a frame", deep(10_000), wire.Text},
		{"too deep for JSON", deep(10_001), wire.Text},
	} {
		if got := wire.KindOf(c.data); got != c.want {
			t.Errorf("%s: got %c, want %c", c.name, got, c.want)
		}
		e := event(c.data)
		if text := wire.AppendEvent(nil, &e); !json.Valid(text) {
			t.Errorf("%s: the frame is no JSON: %.200q", c.name, text)
		}
	}
}

// Whoever renders an event that was not checked still writes text that is valid.
func TestNamesWithoutUTF8(t *testing.T) {
	e := with(event(`1`), func(e *wire.Event) { e.Name, e.From = "a\xffb\xc3", "\xed\xa0\x80\n" })
	got := string(wire.AppendEvent(nil, &e))
	want := `{"type":"event","to":"topic:room-1","id":"1701-3","prev":"1701-2","event":"a` + "\ufffdb\ufffd" +
		`","from":"` + "\ufffd\ufffd\ufffd" + `\n","data":1}`
	if got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// RFC 6455, 5.2: 7 bits of length, or 16 behind 126, or 64 behind 127; the shortest
// that holds it.
func TestTextHeader(t *testing.T) {
	for _, c := range []struct {
		length int
		header string
	}{
		{0, "\x81\x00"},
		{1, "\x81\x01"},
		{125, "\x81\x7d"},
		{126, "\x81\x7e\x00\x7e"},
		{127, "\x81\x7e\x00\x7f"},
		{255, "\x81\x7e\x00\xff"},
		{256, "\x81\x7e\x01\x00"},
		{65535, "\x81\x7e\xff\xff"},
		{65536, "\x81\x7f\x00\x00\x00\x00\x00\x01\x00\x00"},
		{1<<24 + 2<<16 + 3<<8 + 4, "\x81\x7f\x00\x00\x00\x00\x01\x02\x03\x04"},
	} {
		payload := bytes.Repeat([]byte("p"), c.length)
		frame := wire.AppendText([]byte("before"), payload)[len("before"):]
		if got := string(frame[:len(frame)-c.length]); got != c.header {
			t.Errorf("%d bytes: header % x, want % x", c.length, got, c.header)
		}
		if !bytes.Equal(frame[len(frame)-c.length:], payload) || !bytes.Equal(wire.Payload(frame), payload) {
			t.Errorf("%d bytes: the payload is not what was given", c.length)
		}
	}
}

// TestEventFrame: the same bytes as in two steps, at the limits of each length of
// heads, in one allocation.
func TestEventFrame(t *testing.T) {
	check := func(name string, e wire.Event) {
		want := wire.AppendText(nil, wire.AppendEvent(nil, &e))
		if got := wire.EventFrame(&e); !bytes.Equal(got, want) {
			t.Errorf("%s: %d bytes %.80q, want %d bytes %.80q", name, len(got), got, len(want), want)
		}
	}
	for _, x := range events {
		check(x.name, x.event)
	}
	empty := len(wire.AppendEvent(nil, &wire.Event{To: "all", Live: true, Kind: wire.JSON}))
	for _, payload := range []int{125, 126, 127, 65535, 65536, 65537} {
		e := wire.Event{To: "all", Live: true, Kind: wire.JSON, Data: strings.Repeat("1", payload-empty)}
		check(fmt.Sprint(payload), e)
	}
	e := wire.Event{
		To: "topic:" + strings.Repeat("x", 100), ID: wire.MaxID, Prev: wire.MaxID, Name: "order.paid", From: "user:bob",
		Data: `{"hello":1}`, Kind: wire.JSON,
	}
	var frame []byte
	if n := testing.AllocsPerRun(100, func() { frame = wire.EventFrame(&e) }); n != 1 {
		t.Errorf("%v allocations for %d bytes", n, len(frame))
	}
}

// TestFromZero: a client that has nothing is not told of what was before; all the rest of
// the frame stays.
func TestFromZero(t *testing.T) {
	e := wire.Event{To: "topic:room-1", ID: id(1701, 3), Prev: id(1700, 12), Name: `x","prev":"1700-12`, Data: strings.Repeat(`{"prev":"1700-12"}`, 1), Kind: wire.JSON}
	for _, size := range []int{0, 60, 200, 70_000} {
		e.Data = `"` + strings.Repeat("x", size) + `"`
		zero := e
		zero.Prev = wire.ID{}
		if got, want := wire.FromZero(wire.EventFrame(&e), e.Prev), wire.EventFrame(&zero); !bytes.Equal(got, want) {
			t.Errorf("%d bytes: %.200q, want %.200q", size, got, want)
		}
	}
}
