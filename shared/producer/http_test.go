package producer_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"sluice/shared/producer"
	"sluice/shared/wire"
)

// door is a gateway's door for events. It appends what comes, once for each key, and answers; fault may do something else.
type door struct {
	*httptest.Server
	fault func(n int, w http.ResponseWriter) (done, lost bool) // of request n: it is answered; its answer gets lost
	most  int                                                  // bytes of a body that what stands before it lets through; 0: any

	mu       sync.Mutex
	requests int
	sizes    []int
	events   []wire.Publish
	keys     map[string]bool
}

func newDoor(t *testing.T) *door {
	d := &door{keys: map[string]bool{}, fault: func(int, http.ResponseWriter) (bool, bool) { return false, false }}
	d.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { d.serve(t, w, r) }))
	t.Cleanup(d.Close)
	return d
}

func (d *door) serve(t *testing.T, w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil || r.Method != http.MethodPost || r.URL.Path != "/v1/events" || r.Header.Get("Authorization") != "Bearer token" {
		t.Errorf("%s %s %v: %v", r.Method, r.URL, r.Header, err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.requests++
	if d.most > 0 && len(body) > d.most {
		w.WriteHeader(http.StatusRequestEntityTooLarge)
		return
	}
	done, lost := d.fault(d.requests, w)
	if done {
		return
	}
	posts, single, refused := wire.ParsePosts(r.Header.Get("Content-Type"), body, r.Header.Get("Idempotency-Key"))
	if refused != nil || single {
		t.Errorf("%s: single %v, %v", body, single, refused)
	}
	d.sizes = append(d.sizes, len(posts))
	var answers []map[string]any
	for _, p := range posts {
		switch {
		case p.To == "topic:forbidden":
			answers = append(answers, map[string]any{"to": p.To, "error": map[string]any{"code": "forbidden", "message": "no"}})
			continue
		case p.ID == "" || !d.keys[p.ID]:
			d.events = append(d.events, p.Publish)
		}
		answers = append(answers, map[string]any{"to": p.To, "id": "1-0", "duplicate": d.keys[p.ID]})
		d.keys[p.ID] = true
	}
	if lost {
		panic(http.ErrAbortHandler)
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"events": answers})
}

func (d *door) all() []wire.Publish {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.events)
}

func (d *door) producer(t *testing.T) *producer.Producer {
	return open(t, d.URL, producer.Options{Token: func(context.Context) (string, error) { return "token", nil }})
}

// refuse answers as gateways do.
func refuse(w http.ResponseWriter, status int, code string) {
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, `{"error":{"code":%q,"message":"not now"}}`, code)
}

func TestHTTP(t *testing.T) {
	d := newDoor(t)
	p := d.producer(t)
	err := p.Publish(ctx,
		producer.Event{To: "topic:room-1", Data: []byte(`{"n": "<&>"}`), Name: "chat", Key: "k", Except: "c", LiveOnly: true},
		producer.Event{To: "room", Data: []byte("1")},
		producer.Event{To: "topic:forbidden", Data: []byte("1")},
		producer.Event{To: "all", Data: []byte("plain \"text\"")},
		producer.Event{To: "all", Data: []byte{0xff}},
		producer.Event{To: "all", Data: []byte("1"), Key: "\xff"},
		producer.Event{To: "user:a", Data: []byte("1"), Unread: time.Hour},
	)
	var failed *producer.Failed
	var refused *producer.Refused
	if !errors.As(err, &failed) || len(failed.Errs) != 7 || failed.Errs[6] != nil || failed.Errs[0] != nil || failed.Errs[3] != nil ||
		!errors.Is(failed.Errs[1], wire.ErrTarget) || !errors.As(failed.Errs[2], &refused) || refused.Code != "forbidden" ||
		!errors.Is(failed.Errs[4], producer.ErrBinary) || !errors.Is(failed.Errs[5], producer.ErrBinary) {
		t.Fatalf("got %v", err)
	}
	want := []wire.Publish{
		{To: "topic:room-1", Data: `{"n": "<&>"}`, Event: "chat", ID: "k", Except: "c", Live: true},
		{To: "all", Data: `"plain \"text\""`},
		{To: "user:a", Data: "1", Unread: "1h0m0s"},
	}
	if got := d.all(); !slices.Equal(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

// TestHTTPManyEvents go in requests of a thousand, or two megabytes, in order; behind one that failed none is sent.
func TestHTTPManyEvents(t *testing.T) {
	d := newDoor(t)
	p := d.producer(t)
	many := make([]producer.Event, 2100)
	for i := range many {
		many[i] = producer.Event{To: "all", Data: fmt.Append(nil, i)}
	}
	large := producer.Event{To: "all", Data: []byte(`"` + strings.Repeat("x", 800<<10) + `"`)}
	many = append(many, large, large, large)
	if err := p.Publish(ctx, many...); err != nil {
		t.Fatal(err)
	}
	for i, e := range d.all()[:2100] {
		if e.Data != fmt.Sprint(i) {
			t.Fatalf("number %d is %s", i, e.Data)
		}
	}
	if !slices.Equal(d.sizes, []int{1000, 1000, 102, 1}) {
		t.Errorf("requests of %v", d.sizes)
	}
	d.fault = func(n int, w http.ResponseWriter) (bool, bool) {
		if n == 6 {
			w.Header().Set("Retry-After", "3")
			refuse(w, http.StatusTooManyRequests, "rate_limited")
		}
		return n == 6, false
	}
	var failed *producer.Failed
	var refused *producer.Refused
	err := p.Publish(ctx, many[:2100]...)
	if !errors.As(err, &failed) || failed.Errs[999] != nil || !errors.As(failed.Errs[1000], &refused) ||
		refused.Status != 429 || refused.RetryAfter != 3*time.Second || failed.Errs[2099] == nil || d.requests != 6 {
		t.Errorf("got %v after %d requests", err, d.requests)
	}
}

// TestHTTPRefused: what is no answer of a gateway, no token, and URLs that are none.
func TestHTTPRefused(t *testing.T) {
	d := newDoor(t)
	p := d.producer(t)
	for i, answer := range []func(w http.ResponseWriter){
		func(w http.ResponseWriter) {
			w.Header().Set("Location", "/v1/events")
			w.WriteHeader(http.StatusTemporaryRedirect)
		},
		func(w http.ResponseWriter) { _, _ = io.WriteString(w, "<html>") },
		func(w http.ResponseWriter) { _, _ = io.WriteString(w, `{"events":[]}`) },
		func(w http.ResponseWriter) { w.WriteHeader(http.StatusBadGateway) },
	} {
		d.fault = func(_ int, w http.ResponseWriter) (bool, bool) {
			answer(w)
			return true, false
		}
		if err := p.Publish(ctx, producer.Event{To: "all", Data: []byte("1")}); err == nil {
			t.Errorf("answer %d was taken", i)
		}
	}
	if d.requests != 4 {
		t.Errorf("%d requests", d.requests)
	}
	broken := errors.New("broken")
	noToken := open(t, d.URL, producer.Options{Token: func(context.Context) (string, error) { return "", broken }})
	if err := noToken.Publish(ctx, producer.Event{To: "all", Data: []byte("1")}); !errors.Is(err, broken) {
		t.Errorf("without a token: %v", err)
	}
	if _, err := producer.New(d.URL, producer.Options{}); err == nil {
		t.Error("it was made without Token")
	}
}
