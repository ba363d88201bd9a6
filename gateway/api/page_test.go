package api

import (
	"encoding/json"
	"net/url"
	"testing"
	"time"

	"sluice/gateway/live"
	"sluice/shared/wire"
)

// TestParsePage: what may stand in the query, and what may not.
func TestParsePage(t *testing.T) {
	good := map[string]func(w *pageWanted) bool{
		"to=all": func(w *pageWanted) bool {
			return w.Start == live.Now() && w.Events == 100 && w.wait == 0 && !w.Retained
		},
		"to=all&after=earliest&limit=1000": func(w *pageWanted) bool { return w.Start == live.Earliest() && w.Events == 1000 && !w.asked },
		"to=all&after=0&wait=25s": func(w *pageWanted) bool {
			return w.Start == live.After(wire.ID{}) && w.asked && w.wait == 25*time.Second
		},
		"to=all&wait=7&on_gap=retained":          func(w *pageWanted) bool { return w.wait == 7*time.Second && w.Retained },
		"to=all&reverse=1":                       func(w *pageWanted) bool { return w.reverse && w.before == wire.MaxID },
		"to=all&reverse=true&before=5-1&after=0": func(w *pageWanted) bool { return w.reverse && w.before == wire.ID{Ms: 5, Seq: 1} },
	}
	for text, is := range good {
		q, _ := url.ParseQuery(text)
		if w, err := parsePage(q); err != nil || w.Target != "all" || !is(w) {
			t.Errorf("%s is read as %+v, %v", text, w, err)
		}
	}
	for _, text := range []string{
		"", "to=room", "to=all&limit=0", "to=all&limit=1001", "to=all&limit=x", "to=all&after=x", "to=all&after=0-0", "to=all&reverse=2", "to=all&before=1-0",
		"to=all&reverse=1&before=x", "to=all&wait=56s", "to=all&wait=-1s", "to=all&wait=x", "to=all&wait=1s&reverse=1", "to=all&on_gap=never",
	} {
		q, _ := url.ParseQuery(text)
		if w, err := parsePage(q); err == nil || err.Code != wire.CodeBadRequest {
			t.Errorf("%q is read as %+v, %v", text, w, err)
		}
	}
}

// TestRenderPage: the answer is JSON, with each event as on a socket.
func TestRenderPage(t *testing.T) {
	event := wire.Event{To: "topic:a", ID: wire.ID{Ms: 7}, Data: "{\"a\":\n\"<&>\"}", Kind: wire.JSON}
	p := &live.Page{Frames: [][]byte{wire.EventFrame(&event), wire.EventFrame(&event)}, Position: event.ID, More: true}
	one := `{"type":"event","to":"topic:a","id":"7-0","prev":"0","event":"message","data":` + event.Data + `}`
	want := `{"to":"topic:a","events":[` + one + "," + one + `],"position":"7-0","gap":null,"more":true}` + "\n"
	if got := string(renderPage("topic:a", p)); got != want || !json.Valid([]byte(got)) {
		t.Errorf("got %s, want %s", got, want)
	}
	p = &live.Page{Gap: &wire.Gap{To: "topic:a", After: wire.ID{Ms: 1}, Reason: wire.GapTrimmed}}
	want = `{"to":"topic:a","events":[],"position":"0","gap":{"to":"topic:a","after":"1-0","oldest":"0","position":"0","reason":"trimmed"},"more":false}` + "\n"
	if got := string(renderPage("topic:a", p)); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
