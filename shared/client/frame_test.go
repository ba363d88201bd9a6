package client

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"testing"

	"sluice/shared/wire"
)

// golden are the frames that the server's golden file has.
func golden(t testing.TB) (frames []struct {
	Text string `json:"text"`
	Data []byte `json:"data_base64"`
}) {
	text, err := os.ReadFile("../wire/testdata/server_frames.json")
	if err != nil {
		t.Fatal(err)
	}
	file := struct{ Frames any }{&frames}
	if err := json.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	if len(frames) < 20 {
		t.Fatalf("there are %d frames", len(frames))
	}
	return frames
}

// TestServersFrames: every frame that a server sends can be read, and gives the bytes of its producer.
func TestServersFrames(t *testing.T) {
	events := 0
	for _, g := range golden(t) {
		f, err := decode([]byte(g.Text))
		if err != nil {
			t.Errorf("%s: %v", g.Text, err)
			continue
		}
		if f.Type != "event" {
			continue
		}
		events++
		e := f.event()
		got, err := e.Bytes()
		g.Data = bytes.TrimSpace(g.Data) // around JSON it says nothing
		if err == nil && e.Enc == "" && !bytes.Equal(got, g.Data) {
			var text string
			err = e.Decode(&text)
			got = []byte(text)
		}
		if err != nil || !bytes.Equal(got, g.Data) {
			t.Errorf("%s: %q, %v", g.Text, got, err)
		}
	}
	if events < 5 {
		t.Errorf("only %d events", events)
	}
}

// FuzzDecode: whatever comes, what decode takes has all that the client looks at.
func FuzzDecode(f *testing.F) {
	for _, g := range golden(f) {
		f.Add([]byte(g.Text))
	}
	for _, text := range []string{"", "null", "[]", "{", `{"type":7}`, `{"type":"event","to":"all","id":"0","prev":"0"}`,
		`{"type":"event","to":"all","id":"1-0"}`, `{"type":"skip","to":"all"}`, `{"type":"gap","to":"all"}`,
		`{"type":"welcome","user":"a","ping_ms":-1}`, `{"type":"published"}`, `{"type":"goaway","after_ms":-1e99}`,
		`{"type":"event","to":"all","data":"%%","enc":"base64"}`} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, msg []byte) {
		got, err := decode(msg)
		if err != nil {
			if got != nil {
				t.Error("an error, and a frame")
			}
			return
		}
		if !json.Valid(msg) {
			t.Errorf("%q was taken", msg)
		}
		switch got.Type {
		case "event":
			if e := got.event(); e.ID.IsZero() != (got.ID == nil) {
				t.Errorf("%+v of %s", e, msg)
			}
			_, _ = got.event().Bytes()
		case "skip":
			_, _ = *got.ID, *got.Prev
		case "gap":
			_ = got.gap()
		case "subscribed":
			_ = *got.Position
		case "published":
			_ = *got.ID
		case "welcome":
			if got.User == "" || got.PingMs <= 0 {
				t.Errorf("%s was taken", msg)
			}
		case "":
			t.Errorf("%s was taken", msg)
		}
	})
}

// TestPositionsAreBounded: those that moved the longest ago go first.
func TestPositionsAreBounded(t *testing.T) {
	p := positions{at: map[string]moved{}}
	name := func(n int) string { return fmt.Sprint("topic:", n) }
	for n := range mostPositions + 1 {
		p.set(name(n), wire.ID{Ms: uint64(n)})
		p.set("all", wire.ID{Ms: uint64(n)})
	}
	if len(p.at) > mostPositions || len(p.at) < mostPositions*8/10 {
		t.Errorf("%d are kept", len(p.at))
	}
	if !p.get("all").known || !p.get(name(mostPositions)).known || p.get(name(0)).known {
		t.Error("not the oldest one was forgotten")
	}
}
