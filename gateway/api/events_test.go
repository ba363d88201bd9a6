package api

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"sluice/gateway/auth"
	"sluice/gateway/limits"
	"sluice/shared/wire"
)

func testAPI() *API {
	vec := func(name string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name}, []string{"label"})
	}
	return New(Options{Metrics: &Metrics{Errors: vec("errors"), Limited: vec("limited")}, Log: slog.New(slog.DiscardHandler)})
}

// TestBodiesShareABudget: a user whose bodies take its share waits for itself only, and is refused in the end.
func TestBodiesShareABudget(t *testing.T) {
	g := testAPI()
	g.bodies = limits.NewSemaphore(limits.Bounds{Size: 300, KeySize: 100, Waiting: 10, KeyWaiting: 5})
	read := func(ctx context.Context, user string, body io.Reader, most int) (*incoming, error) {
		r := httptest.NewRequestWithContext(ctx, http.MethodPost, "/v1/events", body)
		in := &incoming{Request: r, id: auth.Identity{User: user}}
		return in, g.readBody(httptest.NewRecorder(), in, most)
	}
	anna, err := read(t.Context(), "anna", strings.NewReader(strings.Repeat("x", 90)), 1000)
	if err != nil || len(anna.body) != 90 {
		t.Fatalf("%d bytes are read, %v", len(anna.body), err)
	}
	impatient, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	var refused *wire.FrameError
	if _, err := read(impatient, "anna", strings.NewReader(strings.Repeat("x", 20)), 1000); !errors.As(err, &refused) || refused.Code != wire.CodeUnavailable {
		t.Errorf("more than a user's share: %v", err)
	}
	bob, err := read(t.Context(), "bob", strings.NewReader(strings.Repeat("x", 90)), 1000)
	if err != nil {
		t.Fatalf("another user: %v", err)
	}
	bob.end()
	anna.end()
	// A length that is not told counts as the most that there may be, and is no way around it.
	endless, err := read(t.Context(), "anna", io.LimitReader(zeros{}, 1<<40), 50)
	if !errors.As(err, &refused) || refused.Code != wire.CodeTooLarge {
		t.Errorf("a body without end: %v", err)
	}
	if n := g.bodies.Taken(); n != 50 {
		t.Errorf("a body without end takes %d bytes, want 50", n)
	}
	if endless.end(); g.bodies.Taken() != 0 {
		t.Errorf("%d bytes are still taken", g.bodies.Taken())
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

// TestPosting: of the answers to an event the first one counts, what comes for others is dropped, and what has not come is not known.
func TestPosting(t *testing.T) {
	g := testAPI()
	p := g.newPosting(3)
	p.Published(wire.Published{Ref: "1", To: "all", ID: wire.ID{Ms: 7}})
	p.Fail("1", errors.New("too late"))
	p.Fail("2", &wire.FrameError{Code: wire.CodeForbidden})
	for _, ref := range []string{"", "-1", "3", "x", "99999999999999999999"} {
		p.Published(wire.Published{Ref: ref})
	}
	select {
	case <-p.done:
		t.Error("all are answered")
	default:
	}
	got := p.all()
	p.Published(wire.Published{Ref: "0", To: "all", ID: wire.ID{Ms: 8}}) // while the answer is being written
	if got[0].refused == nil || got[0].refused.Message != notKnown || got[1].refused != nil || got[1].id.Ms != 7 || got[2].refused.Code != wire.CodeForbidden {
		t.Errorf("the answers are %+v", got)
	}
	one := wire.Post{}
	answer, err := g.tellPosted([]wire.Post{one, one, one}, got, false)
	if err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer
	w := httptest.NewRecorder()
	answerJSON(w, http.StatusOK, answer)
	text.Write(w.Body.Bytes())
	want := `{"events":[{"error":{"code":"unavailable","message":"` + notKnown + `"}},{"id":"7-0","duplicate":false},{"error":{"code":"forbidden","message":""}}]}` + "\n"
	if text.String() != want {
		t.Errorf("the answer is %s, want %s", text.String(), want)
	}
	if _, err := g.tellPosted([]wire.Post{one}, g.newPosting(1).all(), false); err == nil {
		t.Error("nothing is known, and it is no error")
	}
	select {
	case <-g.newPosting(0).done:
	default:
		t.Error("no events have to wait")
	}
}

// TestIdempotencyKeyHeader reads the header.
func TestIdempotencyKeyHeader(t *testing.T) {
	for _, tc := range []struct {
		values []string
		want   string
		bad    bool
	}{
		{nil, "", false}, {[]string{"k"}, "k", false}, {[]string{` "a \"b\" \\c" `}, `a "b" \c`, false}, {[]string{`"`}, `"`, false},
		{[]string{""}, "", true}, {[]string{`""`}, "", true}, {[]string{"a", "b"}, "", true},
	} {
		got, err := idempotencyKey(tc.values)
		if got != tc.want || (err != nil) != tc.bad {
			t.Errorf("%q is read as %q, %v", tc.values, got, err)
		}
	}
}

// TestUnknownCode: a code that a newer worker sends is told as it is.
func TestUnknownCode(t *testing.T) {
	w := httptest.NewRecorder()
	testAPI().AnswerError(w, &wire.FrameError{Code: "new", Message: "m"})
	if w.Code != http.StatusInternalServerError || w.Body.String() != `{"error":{"code":"new","message":"m"}}`+"\n" {
		t.Errorf("%d: %s", w.Code, w.Body)
	}
}
