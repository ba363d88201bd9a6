package gateway

import (
	"slices"
	"strings"
	"testing"
	"time"

	"sluice/gateway/auth"
	"sluice/gateway/live"
	"sluice/shared/wire"
)

// TestWantedIsBounded: of what a request asks for no more is read than a connection may
// have, and it is told once that the rest was left out.
func TestWantedIsBounded(t *testing.T) {
	const most = 10
	o := request{query: "topics=" + strings.Repeat(",", 60_000)}.wanted(most)
	if len(o.wants) != most || len(o.mistakes) != 1 || o.mistakes[0].Code != wire.CodeTooMany {
		t.Errorf("%d targets and the mistakes %v", len(o.wants), o.mistakes)
	}
	o = request{query: "topics=a,b&device=phone&resume=device&on_gap=retained&last_event_id=topic:a%3D1-0"}.wanted(most)
	if len(o.wants) != 3 || len(o.mistakes) != 0 || o.device != "phone" || !o.resume || !o.retained {
		t.Errorf("got %+v", o)
	}
	o = request{query: "last_event_id=topic:a%3Dearliest,topic:b%3Dnow,topic:c%3Dsoon,topic:d%3D0"}.wanted(most)
	if w := o.wants; len(w) != 4 || w[0].start != live.Earliest() || w[1].start != live.Now() || w[2].bad == "" || w[3].start != live.After(wire.ID{}) ||
		w[0].bad+w[1].bad+w[3].bad != "" {
		t.Errorf("words in the place of ids: %+v", w)
	}
	if o = (request{query: "topics=a", lastEventID: "5000-0"}).wanted(most); len(o.wants) != 2 || !o.byTime {
		t.Errorf("with the header: %+v", o)
	}
}

// TestEntitled: what a connection has already takes no more room, also where there is none.
func TestEntitled(t *testing.T) {
	c := &conn{gw: &Gateway{cfg: Config{MaxTargets: 4}}}
	verifier, err := auth.New(auth.Config{Mode: auth.ModeDev})
	if err != nil {
		t.Fatal(err)
	}
	may, err := verifier.Verify("dev:u", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	wants := request{query: "topics=a,b,c&last_event_id=user:u%3D5-0,all%3D6-0,topic:a%3D7-0,topic:d%3D8-0"}.wanted(9).wants
	list, mistakes := c.entitled(may, wants)
	var got []string
	for _, w := range list {
		got = append(got, w.target)
	}
	if want := []string{"user:u", "all", "topic:a", "topic:b"}; !slices.Equal(got, want) {
		t.Errorf("has %v, want %v", got, want)
	}
	for i, ms := range []uint64{5, 6, 7} {
		if list[i].start != live.After(wire.ID{Ms: ms}) {
			t.Errorf("%s begins at %v, want after %d-0", list[i].target, list[i].start, ms)
		}
	}
	for _, m := range mistakes {
		if m.Code != wire.CodeTooMany || (m.To != "topic:c" && m.To != "topic:d") {
			t.Errorf("was told %+v", m)
		}
	}
	if len(mistakes) != 2 {
		t.Errorf("%d targets were refused, want 2", len(mistakes))
	}
}

// FuzzWanted: whatever stands in a request, what is kept of it is bounded, and a device has
// a name.
func FuzzWanted(f *testing.F) {
	for _, q := range []string{
		"topics=a,b,,c", "topics=%2C%2C&last_event_id=1-0", "device=x&resume=device", "device=%00&resume=x", "on_gap=never", "last_event_id=a=1-0,b=x,=3",
		"last_event_id=%25zz=1", "topics=" + strings.Repeat(",", 100),
	} {
		f.Add(q, "")
		f.Add("", q)
	}
	f.Fuzz(func(t *testing.T, query, header string) {
		const most = 5
		o := request{query: query, lastEventID: header}.wanted(most)
		positions := 1 + max(strings.Count(query, ",")+strings.Count(strings.ToUpper(query), "%2C"), strings.Count(header, ","))
		if len(o.wants) > 1+most+positions || len(o.mistakes) > 4 {
			t.Errorf("%q %q: %d targets, %d mistakes", query, header, len(o.wants), len(o.mistakes))
		}
		if o.device != "" && !wire.ValidName(o.device) || o.resume && o.device == "" {
			t.Errorf("%q: device %q", query, o.device)
		}
	})
}
