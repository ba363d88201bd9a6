package binaries_test

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// answer is that of an HTTP request to a gateway's address for clients.
type answer struct {
	status int
	header http.Header
	body   string
}

// request asks a gateway; header are names and values.
func (s *server) request(t testing.TB, method, path, body string, header ...string) answer {
	t.Helper()
	req, err := http.NewRequest(method, "http://"+s.addr+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	client := http.Client{Timeout: patience}
	got, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = got.Body.Close() }()
	text, err := io.ReadAll(got.Body)
	if err != nil {
		t.Fatal(err)
	}
	a := answer{got.StatusCode, got.Header, string(text)}
	a.mustBeDescribed(t, req, body)
	return a
}

// mustRefuse fails unless the answer is an error with a status and a code.
func (a answer) mustRefuse(t testing.TB, status int, code string) {
	t.Helper()
	var said struct {
		Error struct{ Code, Message string }
	}
	if err := json.Unmarshal([]byte(a.body), &said); err != nil || a.status != status || said.Error.Code != code || said.Error.Message == "" {
		t.Errorf("got %d %s, want %d with the error %s (%v)", a.status, a.body, status, code, err)
	}
	if a.header.Get("Cache-Control") != "no-store" || a.header.Get("Content-Type") != "application/json" {
		t.Errorf("the headers of an error are %v", a.header)
	}
}

func bearerHeader(token string) []string { return []string{"Authorization", "Bearer " + token} }

// TestHTTPRefusals: what the door refuses, and how pages of other origins see it.
func TestHTTPRefusals(t *testing.T) {
	t.Parallel()
	c, g := startJWTGateway(t, "SLUICE_ALLOWED_ORIGINS=https://app.example")
	_ = c
	good := jwtHS256(t, jwtSecret, claims("anna", nil))
	old := jwtHS256(t, jwtSecret, claims("anna", msg{"exp": time.Now().Add(-time.Minute).Unix()}))
	g.request(t, "POST", "/v1/tickets", "").mustRefuse(t, 401, "unauthorized")
	g.request(t, "POST", "/v1/tickets?token="+good, "").mustRefuse(t, 401, "unauthorized") // tokens stay out of URLs
	g.request(t, "POST", "/v1/tickets", "", bearerHeader("rubbish")...).mustRefuse(t, 401, "unauthorized")
	g.request(t, "POST", "/v1/tickets", "", bearerHeader(old)...).mustRefuse(t, 401, "unauthorized")
	g.request(t, "POST", "/v1/tickets", strings.Repeat("x", 64<<10+1), bearerHeader(good)...).mustRefuse(t, 413, "too_large")
	g.request(t, "GET", "/v1/tickets", "", bearerHeader(good)...).mustRefuse(t, 404, "not_found")
	g.request(t, "POST", "/v1/calls", `{"name":"n"}`, bearerHeader(good)...).mustRefuse(t, 403, "forbidden")
	calls := jwtHS256(t, jwtSecret, claims("anna", msg{"sluice": msg{"call": []string{"n"}}}))
	g.request(t, "POST", "/v1/calls", `{"name":"n"}`, bearerHeader(calls)...).mustRefuse(t, 400, "bad_request") // no function takes it
	g.request(t, "POST", "/v1/nothing", "").mustRefuse(t, 404, "not_found")

	page := []string{"Origin", "https://app.example"}
	refused := g.request(t, "POST", "/v1/tickets", "", page...)
	refused.mustRefuse(t, 401, "unauthorized")
	if got := refused.header.Get("Access-Control-Allow-Origin"); got != page[1] || !strings.Contains(refused.header.Get("Vary"), "Origin") {
		t.Errorf("a page of an allowed origin cannot read an error: %v", refused.header)
	}
	evil := g.request(t, "POST", "/v1/tickets", "", append(bearerHeader(good), "Origin", "https://evil.example")...)
	evil.mustRefuse(t, 403, "forbidden")
	if got := evil.header.Get("Access-Control-Allow-Origin"); got != "" {
		t.Errorf("a page of another origin may read: %q", got)
	}
	preflight := g.request(t, "OPTIONS", "/v1/tickets", "", append(page, "Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", "authorization")...)
	if preflight.status != 204 || preflight.header.Get("Access-Control-Allow-Origin") != page[1] ||
		!strings.Contains(preflight.header.Get("Access-Control-Allow-Headers"), "Authorization") || // * does not stand for it
		!strings.Contains(preflight.header.Get("Access-Control-Allow-Methods"), "POST") {
		t.Errorf("a preflight is answered with %d %v", preflight.status, preflight.header)
	}
}

// ticket asks a gateway for one.
func (s *server) ticket(t testing.TB, token string) string {
	t.Helper()
	got := s.request(t, "POST", "/v1/tickets", "", bearerHeader(token)...)
	var said struct {
		Ticket  string
		Expires time.Time
	}
	if err := json.Unmarshal([]byte(got.body), &said); err != nil || got.status != 200 || said.Ticket == "" || got.header.Get("Cache-Control") != "no-store" {
		t.Fatalf("asked for a ticket, got %d %s (%v)", got.status, got.body, err)
	}
	if left := time.Until(said.Expires); left < 15*time.Second || left > 45*time.Second {
		t.Errorf("a ticket expires in %v, want 30 s", left)
	}
	return said.Ticket
}

// TestTickets: a ticket stands for a token, on another gateway too, once, and with the token's claims and end.
func TestTickets(t *testing.T) {
	t.Parallel()
	c, g := startJWTGateway(t)
	other := c.startGateway(t, "SLUICE_AUTH=jwt", "SLUICE_JWT_SECRET=another-secret-0123456789abcdef-0123")
	user, room := unique("ticket"), "topic:"+unique("room")
	exp := time.Now().Add(4 * time.Second)
	token := jwtHS256(t, jwtSecret, claims(user, msg{"exp": exp.Unix(), "sluice": msg{"subscribe": []string{room}, "publish": []string{room}}}))
	text := g.ticket(t, token)
	s := dial(t, other, withQuery("ticket", text)).settle()
	if s.welcome.User != user {
		t.Errorf("the ticket of %s let %s in", user, s.welcome.User)
	}
	s.subscribe(room, "")
	s.must(s.ask(msg{"type": "publish", "to": room, "data": 1}), "published")
	s.mustError(s.ask(msg{"type": "subscribe", "to": room + "x"}), "forbidden")
	for _, gw := range []*server{g, other} {
		dial(t, gw, withQuery("ticket", text)).mustClose(4501)
	}
	dial(t, g, withQuery("ticket", "")).mustClose(4501)
	dial(t, g, withQuery("ticket", strings.Repeat("A", 26))).mustClose(4501)
	// A ticket of a gateway that believes everybody is none elsewhere.
	dial(t, g, withQuery("ticket", c.gateways[0].ticket(t, "dev:mallory"))).mustClose(4501)
	dial(t, c.gateways[1], withQuery("ticket", c.gateways[0].ticket(t, "dev:anna"))).settle()
	s.mustClose(4401)
	if d := time.Since(exp); d < -time.Second || d > 10*time.Second {
		t.Errorf("closed %v after the end of the token", d)
	}
}
