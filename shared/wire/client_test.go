package wire_test

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	"sluice/shared/wire"
)

type clientFile struct {
	About string `json:"about"`
	Good  []struct {
		Name  string         `json:"name"`
		Text  string         `json:"text"`
		Frame map[string]any `json:"frame"`
	} `json:"good"`
	Bad []struct {
		Name string `json:"name"`
		Text string `json:"text"`
		Code string `json:"code"`
		Ref  string `json:"ref"`
	} `json:"bad"`
}

func readClientFile(t testing.TB) (golden clientFile) {
	t.Helper()
	readGolden(t, "client_frames.json", &golden)
	if len(golden.Good) < 20 || len(golden.Bad) < 50 {
		t.Fatal("cases are missing in client_frames.json")
	}
	return golden
}

// shown is a frame the way the golden file writes it.
func shown(f *wire.ClientFrame) map[string]any {
	m := make(map[string]any)
	for name, text := range map[string]string{
		"type": f.Type, "ref": f.Ref, "to": f.To, "after": f.After, "token": f.Token,
		"device": f.Device, "data": string(f.Data), "event": f.Event, "id": f.ID, "on_gap": f.OnGap, "name": f.Name,
	} {
		if text != "" {
			m[name] = text
		}
	}
	if f.Retain.Off {
		m["retain"] = false
	}
	if f.Resume.Device {
		m["resume"] = "device"
	}
	if len(f.Resume.Positions) > 0 {
		positions := make(map[string]any)
		for target, id := range f.Resume.Positions {
			positions[target] = id
		}
		m["resume"] = positions
	}
	return m
}

func TestClientFrames(t *testing.T) {
	golden := readClientFile(t)
	for _, g := range golden.Good {
		f, err := wire.ParseClientFrame([]byte(g.Text))
		if err != nil {
			t.Errorf("%s: %v", g.Name, err)
		} else if got := shown(&f); !reflect.DeepEqual(got, g.Frame) {
			t.Errorf("%s: got %v, want %v", g.Name, got, g.Frame)
		}
	}
	for _, g := range golden.Bad {
		f, err := wire.ParseClientFrame([]byte(g.Text))
		checkRefusal(t, g.Name, err, g.Code)
		if f.Ref != g.Ref {
			t.Errorf("%s: ref %q, want %q", g.Name, f.Ref, g.Ref)
		}
	}
}

// checkRefusal wants an error that a client may read.
func checkRefusal(t *testing.T, name string, err error, code string) {
	t.Helper()
	var fe *wire.FrameError
	if !errors.As(err, &fe) || fe.Code != code {
		t.Errorf("%s: got %v, want %s", name, err, code)
		return
	}
	if fe.Message == "" || len(fe.Message) > 1000 || !utf8.ValidString(fe.Message) {
		t.Errorf("%s: the message is not for clients: %q", name, fe.Message)
	}
	for _, internal := range []string{"json", "Go ", "wire.", "unmarshal", "struct"} {
		if strings.Contains(fe.Message, internal) {
			t.Errorf("%s: the message tells of the inside: %s", name, fe.Message)
		}
	}
	if !strings.HasPrefix(err.Error(), code+": ") {
		t.Errorf("%s: the error does not name its code: %v", name, err)
	}
}

func TestClientFrameToken(t *testing.T) {
	for _, kind := range []string{"connect", "auth"} {
		frame := func(n int) []byte {
			return []byte(`{"type":"` + kind + `","ref":"r","token":"` + strings.Repeat("t", n) + `"}`)
		}
		if f, err := wire.ParseClientFrame(frame(wire.MaxTokenBytes)); err != nil || len(f.Token) != wire.MaxTokenBytes {
			t.Errorf("%s with the longest token: %v", kind, err)
		}
		f, err := wire.ParseClientFrame(frame(wire.MaxTokenBytes + 1))
		checkRefusal(t, kind, err, wire.CodeBadRequest)
		if f.Ref != "r" {
			t.Errorf("%s: ref %q", kind, f.Ref)
		}
	}
}

// A token never comes back in a message, nor a type of any length.
func TestClientFrameTellsNothingBack(t *testing.T) {
	for _, text := range []string{
		`{"type":"connect","token":"secret","device":"a b"}`, `{"type":"auth","token":["secret"]}`, `{"type":"auth","token":"secret","token":"secret"}`,
	} {
		if _, err := wire.ParseClientFrame([]byte(text)); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: got %v", text, err)
		}
	}
	_, err := wire.ParseClientFrame([]byte(`{"type":"` + strings.Repeat("x", 10_000) + `"}`))
	checkRefusal(t, "long type", err, wire.CodeBadRequest)
}

// Sockets refuse text that is no UTF-8. Should some come through, it does no harm.
func TestClientFrameWithoutUTF8(t *testing.T) {
	for text, good := range map[string]bool{
		"{\"type\":\"ping\",\"ref\":\"a\xff\"}":                               true, // with U+FFFD
		"{\"type\":\"p\xffng\"}":                                              false,
		"{\"type\":\"subscribe\",\"to\":\"topic:\xff\"}":                      false,
		"{\"type\":\"publish\",\"to\":\"all\",\"data\":1,\"event\":\"\xff\"}": true, // with U+FFFD
		"{\"type\":\"publish\",\"to\":\"all\",\"data\":\"\xff\"}":             true, // data goes out as base64
		"{\"type\":\"publish\",\"to\":\"all\",\xff\"data\":1}":                false,
	} {
		f, err := wire.ParseClientFrame([]byte(text))
		if (err == nil) != good {
			t.Errorf("%q: got %v", text, err)
		}
		if err != nil {
			checkRefusal(t, text, err, wire.CodeBadRequest)
		}
		if !utf8.ValidString(f.Ref) || !utf8.ValidString(f.Event) {
			t.Errorf("%q: got %q, %q", text, f.Ref, f.Event)
		}
	}
}

// The frame does not share the message's memory: sockets use that again.
func TestClientFrameIsACopy(t *testing.T) {
	msg := []byte(`{"type":"publish","ref":"r","to":"all","data":{"a":1}}`)
	f, err := wire.ParseClientFrame(msg)
	if err != nil {
		t.Fatal(err)
	}
	clear(msg)
	if f.Ref != "r" || f.To != "all" || string(f.Data) != `{"a":1}` {
		t.Errorf("got %+v", f)
	}
}

// What many decoders do not take is refused, with the ref.
func TestPublishOfHostileJSON(t *testing.T) {
	deep := func(n int) string { return strings.Repeat(`{"a":[`, n/2) + "1" + strings.Repeat("]}", n/2) }
	for value, good := range map[string]bool{
		deep(64): true, deep(66): false, "[" + deep(64) + "]": false, `"\ud83d\ude00"`: true, `"\ud83d"`: false, `{"\ude00":1}`: false,
		`"\ud83d\ud83d\ude00"`: false, `"\\ud83d"`: true, `["[[[\"[["]`: true,
	} {
		f, err := wire.ParseClientFrame([]byte(`{"type":"publish","to":"all","data":` + value + `,"ref":"r"}`))
		if (err == nil) != good || f.Ref != "r" {
			t.Errorf("data %s: %v, ref %q", value, err, f.Ref)
		}
		if err != nil {
			checkRefusal(t, value, err, wire.CodeBadRequest)
		}
	}
	for _, field := range []string{"event", "id"} {
		_, err := wire.ParseClientFrame([]byte(`{"type":"publish","to":"all","data":1,"` + field + `":"\udc00"}`))
		checkRefusal(t, field, err, wire.CodeBadRequest)
	}
}

// A client's message may be 4 KiB longer than its data: that is enough for every
// publish that is allowed, also from an encoder that escapes all it can.
func TestPublishFitsIntoItsMessage(t *testing.T) {
	const slack = 4 << 10
	msg := `{"type": "publish", "ref": "` + strings.Repeat(`\ud83d\ude00`, wire.MaxRef) + // 12 bytes a character
		`", "to": "topic:` + strings.Repeat("x", 128) +
		`", "event": "` + strings.Repeat(`\u0041`, 128) + // 6 a byte
		`", "id": "` + strings.Repeat(`\u0000`, 256) +
		`", "retain": false, "data": `
	f, err := wire.ParseClientFrame([]byte(msg + "1}"))
	if err != nil || len(f.Event) != 128 || len(f.ID) != 256 || utf8.RuneCountInString(f.Ref) != wire.MaxRef {
		t.Fatalf("not the largest frame: %v", err)
	}
	if len(msg)+1 > slack {
		t.Errorf("%d bytes around the data, allowed are %d", len(msg)+1, slack)
	}
}

// As encoding/json sees them: Resume and Retain are good for others' structs as well.
func TestResumeAndRetainInJSON(t *testing.T) {
	var v struct {
		Resume wire.Resume
		Retain wire.Retain
	}
	if err := json.Unmarshal([]byte(`{"Resume":{"topic:a":"1-0"},"Retain":0}`), &v); err != nil || v.Resume.Positions["topic:a"] != "1-0" || !v.Retain.Off {
		t.Errorf("got %+v, %v", v, err)
	}
	if err := json.Unmarshal([]byte(`{"Resume":"device","Retain":1}`), &v); err != nil || !v.Resume.Device || v.Resume.Positions != nil || v.Retain.Off {
		t.Errorf("got %+v, %v: what was there before shines through", v, err)
	}
	if err := json.Unmarshal([]byte(`{"Resume":1}`), &v); err == nil {
		t.Error("a number is no resume")
	}
}
