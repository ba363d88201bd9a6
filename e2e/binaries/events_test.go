package binaries_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// posted is the answer to an event of POST /v1/events, alone or in a list.
type posted struct {
	To, ID    string
	Duplicate *bool
	Error     struct{ Code, Message string }
}

func (p posted) is(to string, duplicate bool) bool {
	return p.To == to && p.ID != "" && p.Duplicate != nil && *p.Duplicate == duplicate && p.Error.Code == ""
}

// post publishes over HTTP, and returns the answers to the events.
func (s *server) post(t testing.TB, token, body string, header ...string) []posted {
	t.Helper()
	got := s.request(t, "POST", "/v1/events", body, append(header, bearerHeader(token)...)...)
	var all struct {
		posted
		Events []posted
	}
	if err := json.Unmarshal([]byte(got.body), &all); err != nil || got.status != 200 {
		t.Fatalf("posted %.200s, got %d %s (%v)", body, got.status, got.body, err)
	}
	if strings.HasPrefix(got.body, `{"events":`) {
		return all.Events
	}
	return []posted{all.posted}
}

// TestPostEvents: a backend publishes by HTTP in every form, and who subscribes gets it as from a socket; the ids that it is told are
// those of the events.
func TestPostEvents(t *testing.T) {
	t.Parallel()
	c, g := startJWTGateway(t)
	_ = c
	backend, room, other := unique("backend"), "topic:"+unique("room"), "topic:"+unique("room")
	token := jwtHS256(t, jwtSecret, claims(backend, msg{"sluice": msg{"publish": []string{room, other}}}))
	reader := dial(t, g, withBearer(jwtHS256(t, jwtSecret, claims("reader", msg{"sluice": msg{"subscribe": []string{"topic:*"}}})))).settle()
	reader.subscribe(room, "")
	reader.subscribe(other, "")

	one := g.post(t, token, `{"to":"`+room+`","data":{"n":1},"event":"chat","id":"k-1","from":"user:mallory","control":"kick"}`)[0]
	if !one.is(room, false) {
		t.Errorf("one event is answered by %+v", one)
	}
	if e := reader.waitEvents(room, 1)[0]; e.ID != one.ID || e.Event != "chat" || e.From != "user:"+backend || string(e.Data) != `{"n":1}` {
		t.Errorf("it arrives as %s", e)
	}
	if again := g.post(t, token, `{"to":"`+room+`","data":{"n":1}}`, "Idempotency-Key", "k-1")[0]; !again.is(room, true) || again.ID != one.ID {
		t.Errorf("the same again is answered by %+v", again)
	}
	// Another door, the same key.
	ws := dial(t, g, withBearer(token)).settle()
	if f := ws.ask(msg{"type": "publish", "to": room, "data": 1, "id": "k-1"}); f.Type != "published" || !f.Duplicate || f.ID != one.ID {
		t.Errorf("the same by a socket is answered by %s", f)
	}

	all := g.post(t, token, `{"to":["`+room+`","topic:forbidden","`+other+`"],"data":2,"id":"k-2"}`)
	if len(all) != 3 || !all[0].is(room, false) || all[1].To != "topic:forbidden" || all[1].Error.Code != "forbidden" || all[1].Duplicate != nil || !all[2].is(other, false) {
		t.Errorf("a list of targets is answered by %+v", all)
	}
	all = g.post(t, token, fmt.Sprintf("{\"to\":%q,\"data\":3}\n{\"to\":\n{\"to\":%q,\"data\":4}\n", room, room), "Content-Type", "application/x-ndjson")
	if len(all) != 3 || !all[0].is(room, false) || all[1].Error.Code != "bad_request" || !all[2].is(room, false) {
		t.Errorf("lines are answered by %+v", all)
	}
	cloud := `{"specversion":"1.0","id":"7","source":"/shop","type":"order.paid","subject":"` + room + `","data_base64":"aGVsbG8="}`
	all = g.post(t, token, "["+cloud+","+cloud+"]", "Content-Type", "application/cloudevents-batch+json; charset=utf-8")
	if len(all) != 2 || !all[0].is(room, false) || !all[1].is(room, true) || all[1].ID != all[0].ID {
		t.Errorf("CloudEvents are answered by %+v", all)
	}
	got := reader.waitEvents(room, 5)
	for i, want := range []string{`{"n":1}`, "2", "3", "4", `"aGVsbG8="`} {
		if string(got[i].Data) != want {
			t.Errorf("event %d is %s, want %s", i, got[i].Data, want)
		}
	}
	if last := got[4]; last.Enc != "base64" || last.Event != "order.paid" {
		t.Errorf("bytes arrive as %s", last)
	}
	if e := reader.waitEvents(other, 1)[0]; string(e.Data) != "2" {
		t.Errorf("the other target got %s", e)
	}
}

// TestPostRefusals: statuses and codes of what is not taken.
func TestPostRefusals(t *testing.T) {
	t.Parallel()
	_, g := startJWTGateway(t, "SLUICE_MAX_PUBLISH_RATE_PER_USER=2", "SLUICE_MAX_FRAME_BYTES=1024", "SLUICE_ALLOWED_ORIGINS=https://app.example")
	room := "topic:" + unique("room")
	token := func() string {
		return jwtHS256(t, jwtSecret, claims(unique("poster"), msg{"sluice": msg{"publish": []string{room}}}))
	}
	ok := `{"to":"` + room + `","data":1}`
	many := "[" + strings.TrimSuffix(strings.Repeat(ok+",", 1001), ",") + "]"
	for body, want := range map[string]answerError{
		`{"to":"topic:x","data":1}`: {403, "forbidden"},
		`{"to":"` + room + `"}`:     {400, "bad_request"},
		ok + "x":                    {400, "bad_request"},
		"\xff":                      {400, "bad_request"},
		"":                          {400, "bad_request"},
		`{"to":"` + room + `","data":"` + strings.Repeat("x", 1024) + `"}`: {413, "too_large"},
		many: {413, "too_large"},
		`{"to":"` + room + `","data":` + strings.Repeat("1", 4<<20) + `}`:               {413, "too_large"},
		`{"to":"` + room + `","data":` + strings.Repeat("[[", 40) + "1" + "]]" + ok[:0]: {400, "bad_request"},
	} {
		page := append(bearerHeader(token()), "Origin", "https://app.example")
		got := g.request(t, "POST", "/v1/events", body, page...)
		got.mustRefuse(t, want.status, want.code)
		if got.header.Get("Access-Control-Allow-Origin") != page[3] {
			t.Errorf("a page cannot read the error %s", got.body)
		}
	}
	g.request(t, "POST", "/v1/events", ok).mustRefuse(t, 401, "unauthorized")

	// Twenty may come at once; then none of a request is done.
	user := token()
	g.post(t, user, "["+strings.TrimSuffix(strings.Repeat(ok+",", 20), ",")+"]")
	limited := g.request(t, "POST", "/v1/events", "["+strings.TrimSuffix(strings.Repeat(ok+",", 15), ",")+"]", bearerHeader(user)...)
	limited.mustRefuse(t, 429, "rate_limited")
	if limited.header.Get("Retry-After") == "" {
		t.Errorf("too fast, and nobody says until when: %v", limited.header)
	}
	if f := dial(t, g, withBearer(user)).settle().ask(msg{"type": "publish", "to": room, "data": 1}); f.Code != "rate_limited" {
		t.Errorf("a socket of the same user gets %s", f)
	}
}

type answerError struct {
	status int
	code   string
}

// TestPostWithoutWorker: a request that no worker answers says that it is not known, and the same again is one event.
func TestPostWithoutWorker(t *testing.T) {
	t.Parallel()
	c := newCluster(t, t, 1, 0)
	g := c.gateways[0]
	body := `{"to":"topic:a","data":1,"id":"once"}`
	got := g.request(t, "POST", "/v1/events", body, bearerHeader("dev:anna")...)
	got.mustRefuse(t, 503, "unavailable")
	if got.header.Get("Retry-After") == "" {
		t.Errorf("nobody says when to come again: %v", got.header)
	}
	c.startWorker(t)
	again := g.post(t, "dev:anna", body)[0]
	if !again.is("topic:a", true) {
		t.Errorf("again is answered by %+v", again)
	}
}

// TestPostAcks: acks by HTTP move the cursors of a device, all of a request or none, and only up to what there was.
func TestPostAcks(t *testing.T) {
	t.Parallel()
	c, g := startJWTGateway(t)
	user, room := unique("acker"), "topic:"+unique("room")
	token := jwtHS256(t, jwtSecret, claims(user, msg{"sluice": msg{"subscribe": []string{room}, "publish": []string{room, "user:*"}}}))
	own := "user:" + user
	first, second := g.post(t, token, `{"to":"`+room+`","data":1}`)[0].ID, g.post(t, token, `{"to":"`+room+`","data":2}`)[0].ID
	mine := g.post(t, token, `{"to":"`+own+`","data":3}`)[0].ID
	post := func(body string) answer {
		return g.request(t, "POST", "/v1/acks", body, bearerHeader(token)...)
	}
	acks := func(pairs ...string) string {
		var list []string
		for i := 0; i < len(pairs); i += 2 {
			list = append(list, fmt.Sprintf(`{"to":%q,"id":%q}`, pairs[i], pairs[i+1]))
		}
		return `{"device":"phone","acks":[` + strings.Join(list, ",") + `]}`
	}
	above := "9" + second // later by thousands of years
	post(acks(own, mine, room, above)).mustRefuse(t, 400, "bad_request")
	post(acks(own, mine, "topic:other", "0")).mustRefuse(t, 403, "forbidden")
	post(acks(own, mine, "user:other", mine)).mustRefuse(t, 403, "forbidden")
	post(acks(own, mine, room, "x")).mustRefuse(t, 400, "bad_request")
	post(`{"device":"phone"}`).mustRefuse(t, 400, "bad_request")
	post(acks(own, mine, "all", "999999999999999-0")).mustRefuse(t, 400, "bad_request") // whose history may be empty
	if got := post(acks(room, first, room, "0", "all", "0")); got.status != 200 {
		t.Fatalf("good acks are answered by %d %s", got.status, got.body)
	}
	c.waitCursor(t, user, "phone", room, first)
	if ids := c.acksOf(t, user, own); len(ids) != 0 {
		t.Errorf("a request that was refused has acknowledged %v", ids)
	}
	// The device comes back by another door, to what it has not acknowledged.
	s := dial(t, g, withBearer(token), withQuery("device", "phone"), withQuery("resume", "device")).settle()
	if got := s.waitEvents(room, 1); got[0].ID != second {
		t.Errorf("a resume begins with %s, want %s", got[0], second)
	}
}

// TestPostUnsubscribe: a request for what cannot be is told so. What a good one does: TestStreamUnsubscribed.
func TestPostUnsubscribe(t *testing.T) {
	t.Parallel()
	g := sharedCluster(t).gateways[0]
	user := unique("leaver")
	post := func(body string, header ...string) answer {
		return g.request(t, "POST", "/v1/unsubscribe", body, header...)
	}
	for _, bad := range []string{
		``, `[]`, `{}`, `{"to":"topic:x"}`, `{"device":"a b","to":"topic:x"}`, `{"device":7,"to":"topic:x"}`, `{"device":"tv"}`, `{"device":"tv","to":"topic:"}`,
		`{"device":"tv","to":["topic:x"]}`, `{"device":"tv","to":"topic:x","to":"topic:y"}`, `{"device":"tv","to":"all"}`, `{"device":"tv","to":"user:` + user + `"}`,
	} {
		post(bad, bearerHeader("dev:"+user)...).mustRefuse(t, 400, "bad_request")
	}
	const good = `{"device":"tv","to":"topic:x"}`
	post(good).mustRefuse(t, 401, "unauthorized")
	if got := post(good, bearerHeader("dev:"+user)...); got.status != 200 || got.body != `{"to":"topic:x","type":"unsubscribed"}`+"\n" {
		t.Errorf("answered with %d %s", got.status, got.body)
	}
}
