package binaries_test

import (
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// page is the answer to GET /v1/events.
type page struct {
	To       string
	Events   []frame
	Position string
	Gap      *struct{ After, Oldest, Position, Reason string }
	More     bool
}

func (s *server) page(t testing.TB, token, target string, query ...string) page {
	t.Helper()
	q := url.Values{"to": {target}}
	for i := 0; i < len(query); i += 2 {
		q.Set(query[i], query[i+1])
	}
	got := s.request(t, "GET", "/v1/events?"+q.Encode(), "", bearerHeader(token)...)
	var p page
	if err := json.Unmarshal([]byte(got.body), &p); err != nil || got.status != 200 || p.To != target || p.Events == nil || p.Position == "" || !strings.Contains(got.body, `"gap":`) {
		t.Fatalf("asked for %s, got %d %.300s (%v)", q.Encode(), got.status, got.body, err)
	}
	return p
}

func (p page) ids() (ids []string) {
	for _, e := range p.Events {
		ids = append(ids, e.ID)
	}
	return ids
}

// TestPagesOfHistory reads a history forwards, backwards and from now on.
func TestPagesOfHistory(t *testing.T) {
	t.Parallel()
	c, g := startJWTGateway(t, "SLUICE_MAX_PUBLISH_RATE_PER_USER=0")
	user, room, empty := unique("reader"), "topic:"+unique("room"), "topic:"+unique("room")
	token := jwtHS256(t, jwtSecret, claims(user, msg{"sluice": msg{"subscribe": []string{"topic:*"}, "publish": []string{"topic:*"}}}))
	var ids []string
	var lines strings.Builder
	for n := range 25 {
		fmt.Fprintf(&lines, "{\"to\":%q,\"data\":%d,\"event\":\"n\"}\n", room, n)
	}
	for _, p := range g.post(t, token, lines.String(), "Content-Type", "application/x-ndjson") {
		ids = append(ids, p.ID)
	}
	for target, q := range map[string]string{room: "limit=0", empty: "wait=1h", "nothing": ""} {
		g.request(t, "GET", "/v1/events?to="+target+"&"+q, "", bearerHeader(token)...).mustRefuse(t, 400, "bad_request")
	}
	g.request(t, "GET", "/v1/events?to=user:other", "", bearerHeader(token)...).mustRefuse(t, 403, "forbidden")

	if p := g.page(t, token, empty, "after", "earliest"); len(p.Events) != 0 || p.Position != "0" || p.More || p.Gap != nil {
		t.Errorf("of an empty history: %+v", p)
	}
	if p := g.page(t, token, room); len(p.Events) != 0 || p.Position != ids[24] || p.More {
		t.Errorf("from now on: %+v", p)
	}
	var got []string
	for after := "earliest"; ; {
		p := g.page(t, token, room, "after", after, "limit", "10")
		got = append(got, p.ids()...)
		if after = p.Position; !p.More {
			break
		}
	}
	if !slices.Equal(got, ids) {
		t.Errorf("read forwards there are %v, want %v", got, ids)
	}
	p := g.page(t, token, room, "after", ids[19], "limit", "5")
	if e := p.Events; len(e) != 5 || p.More || e[0].Prev != ids[19] || string(e[0].Data) != "20" || e[0].From != "user:"+user || e[0].Event != "n" {
		t.Errorf("the last five are %+v", p)
	}
	back := slices.Clone(ids)
	slices.Reverse(back)
	p = g.page(t, token, room, "reverse", "1", "limit", "20")
	if !slices.Equal(p.ids(), back[:20]) || !p.More || p.Position != back[19] || p.Events[19].Prev != back[20] {
		t.Errorf("read backwards there are %v, %v", p.ids(), p.More)
	}
	if p = g.page(t, token, room, "reverse", "1", "limit", "20", "before", p.Position); !slices.Equal(p.ids(), back[20:]) || p.More || p.Gap != nil {
		t.Errorf("and then %v, %v", p.ids(), p.More)
	}
	if p = g.page(t, token, room, "reverse", "1", "limit", "4", "after", ids[20]); !slices.Equal(p.ids(), back[:4]) || p.More || p.Gap != nil {
		t.Errorf("down to %s: %v, %v, %v", ids[20], p.ids(), p.More, p.Gap)
	}

	if err := c.XTrimMinID(t.Context(), c.history(room), ids[10]).Err(); err != nil {
		t.Fatal(err)
	}
	p = g.page(t, token, room, "after", ids[5])
	if p.Gap == nil || p.Gap.Reason != "trimmed" || p.Gap.After != ids[5] || p.Gap.Oldest != ids[10] || p.Position != ids[24] || len(p.Events) != 0 {
		t.Errorf("behind a gap: %+v, %+v", p, p.Gap)
	}
	if p = g.page(t, token, room, "after", ids[5], "on_gap", "retained"); p.Gap == nil || !slices.Equal(p.ids(), ids[10:]) {
		t.Errorf("what is retained behind a gap: %v, %+v", p.ids(), p.Gap)
	}
	if p = g.page(t, token, room, "after", ids[5], "reverse", "1"); p.Gap == nil || p.Gap.Reason != "trimmed" || !slices.Equal(p.ids(), back[:15]) {
		t.Errorf("down to a gap: %v, %+v", p.ids(), p.Gap)
	}
}

// TestLongPoll: a reader that only polls has everything once and in order, while events come all the time; one that waits is answered
// by the event, and by nothing else.
func TestLongPoll(t *testing.T) {
	t.Parallel()
	c, g := startJWTGateway(t)
	user, room := unique("poller"), "topic:"+unique("room")
	token := jwtHS256(t, jwtSecret, claims(user, msg{"sluice": msg{"subscribe": []string{room}}}))
	began := time.Now()
	start := g.page(t, token, room, "wait", "1s")
	if d := time.Since(began); d < time.Second || len(start.Events) != 0 || start.Position != "0" {
		t.Errorf("nothing came, and after %v the answer is %+v", d, start)
	}
	const total = 300
	sent := make(chan []string, 1)
	go func() {
		var ids []string
		for n := range total {
			ids = append(ids, c.sendDirect(t, room, number(n)))
			if n%20 == 0 { // some come while nobody waits, some while somebody does
				c.sendDirect(t, room, number(-1), "retain", "0")
				time.Sleep(time.Duration(n%7) * time.Millisecond)
			}
		}
		sent <- ids
	}()
	var got []string
	polls := 0
	for position := start.Position; len(got) < total; polls++ {
		began := time.Now()
		p := g.page(t, token, room, "after", position, "wait", "20s", "limit", "50")
		if p.Gap != nil || len(p.Events) == 0 && time.Since(began) < 20*time.Second {
			t.Fatalf("after %v and %d events: %+v", time.Since(began), len(got), p)
		}
		for i, e := range p.Events {
			if prev := append([]string{position}, p.ids()...)[i]; e.Prev != prev {
				t.Fatalf("%s follows %s", e, prev)
			}
		}
		got, position = append(got, p.ids()...), p.Position
	}
	if ids := <-sent; !slices.Equal(got, ids) {
		t.Errorf("in %d polls there came %v, want %v", polls, got, ids)
	}
}

// TestWaitingRequestsEnd: one that waits is listed, ended by a kick, and answered when its gateway ends.
func TestWaitingRequestsEnd(t *testing.T) {
	t.Parallel()
	_, g := startJWTGateway(t)
	user := unique("waiter")
	room := "topic:" + user
	token := jwtHS256(t, jwtSecret, claims(user, msg{"sluice": msg{"subscribe": []string{room}}}))
	wait := func(to string) chan answer {
		done := make(chan answer, 1)
		go func() { done <- g.request(t, "GET", "/v1/events?wait=15s&to="+to, "", bearerHeader(token)...) }()
		eventually(t, func() error {
			if list := g.user(t, token, user); len(list.Connections) != 1 || list.Connections[0].Transport != "http" || list.Connections[0].Since.Before(time.Now().Add(-time.Minute)) {
				return fmt.Errorf("listed are %+v", list)
			}
			return nil
		})
		return done
	}
	for _, to := range []string{"user:" + user, room} {
		kicked := wait(to)
		if got := g.request(t, "DELETE", "/v1/users/"+user+"/connections?reason=enough", "", bearerHeader(token)...); got.status != 200 {
			t.Fatalf("asked for a kick, got %d %s", got.status, got.body)
		}
		got := <-kicked
		got.mustRefuse(t, 403, "forbidden")
		if !strings.Contains(got.body, "enough") {
			t.Errorf("%s: the reason is missing: %s", to, got.body)
		}
		eventually(t, func() error {
			if list := g.user(t, token, user); list.Online {
				return fmt.Errorf("listed are %+v", list)
			}
			return nil
		})
	}
	left := wait("user:" + user)
	g.Signal(t, syscall.SIGTERM)
	if got := <-left; got.status != 200 || !strings.Contains(got.body, `"events":[]`) {
		t.Errorf("at the end of the gateway the answer is %d %s", got.status, got.body)
	}
}
