package wire_test

import (
	"errors"
	"maps"
	"net/url"
	"testing"

	"sluice/shared/wire"
)

type cursorFile struct {
	About   string `json:"about"`
	Written []struct {
		Text      string             `json:"text"`
		Positions map[string]wire.ID `json:"positions"`
	} `json:"written"`
	Cursors []struct {
		Text      string            `json:"text"`
		Positions map[string]string `json:"positions"`
	} `json:"cursors"`
	Bare []struct {
		Text string  `json:"text"`
		ID   wire.ID `json:"id"`
	} `json:"bare"`
	Bad []string `json:"bad"`
}

func TestCursors(t *testing.T) {
	var golden cursorFile
	readGolden(t, "cursors.json", &golden)
	if len(golden.Written) < 4 || len(golden.Cursors) < 4 || len(golden.Bare) < 4 || len(golden.Bad) < 4 {
		t.Fatal("cases are missing in the golden file")
	}
	for _, g := range golden.Written {
		if got := wire.Cursor(g.Positions); got != g.Text {
			t.Errorf("%v: got %s, want %s", g.Positions, got, g.Text)
		}
		if err := checkCursor(g.Text, g.Positions); err != nil {
			t.Error(err)
		}
		// Who puts it into a query without encoding it has it decoded once too often.
		query, err := url.ParseQuery("last_event_id=" + g.Text)
		if err != nil {
			t.Fatal(err)
		}
		if err := checkCursor(query.Get("last_event_id"), g.Positions); err != nil {
			t.Errorf("as a query: %v", err)
		}
	}
	for _, g := range golden.Cursors {
		got, err := wire.ParseLastEventID(g.Text)
		if err != nil || got.IsBare || !maps.Equal(got.Positions, g.Positions) {
			t.Errorf("%q: got %+v, %v, want %v", g.Text, got, err, g.Positions)
		}
	}
	for _, g := range golden.Bare {
		got, err := wire.ParseLastEventID(g.Text)
		if err != nil || !got.IsBare || got.Bare != g.ID || got.Positions != nil {
			t.Errorf("%q: got %+v, %v, want %v", g.Text, got, err, g.ID)
		}
	}
	for _, text := range golden.Bad {
		got, err := wire.ParseLastEventID(text)
		if !errors.Is(err, wire.ErrCursor) || got.IsBare || got.Positions != nil {
			t.Errorf("%q: got %+v, %v, want ErrCursor", text, got, err)
		}
	}
	if got := wire.Cursor(nil); got != "" {
		t.Errorf("the cursor of no positions is %q", got)
	}
}

// checkCursor reads a cursor and wants exactly these positions in it.
func checkCursor(text string, want map[string]wire.ID) error {
	got, err := wire.ParseLastEventID(text)
	if err != nil {
		return err
	}
	ids := make(map[string]wire.ID)
	for target, text := range got.Positions {
		id, err := wire.ParseID(text)
		if err != nil {
			return err
		}
		ids[target] = id
	}
	if got.IsBare || !maps.Equal(ids, want) {
		return errors.New(text + " has other positions: " + wire.Cursor(ids))
	}
	return nil
}
