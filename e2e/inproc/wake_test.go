package inproc_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"sluice/gateway"
	"sluice/shared/outbound"
	"sluice/shared/testkit"
)

// alarm is an address that gateways ask for workers at.
type alarm struct {
	*httptest.Server
	rang chan *http.Request // each of them, its body read

	mu     sync.Mutex
	status int
	bodies map[*http.Request][]byte
}

func newAlarm(t *testing.T) *alarm {
	a := &alarm{rang: make(chan *http.Request, 100), status: http.StatusAccepted, bodies: map[*http.Request][]byte{}}
	a.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		a.mu.Lock()
		a.bodies[r] = body
		status := a.status
		a.mu.Unlock()
		a.rang <- r
		w.Header().Set("Location", "/elsewhere")
		w.WriteHeader(status)
	}))
	t.Cleanup(a.Server.Close)
	return a
}

func (a *alarm) answer(status int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.status = status
}

func (a *alarm) wait(t *testing.T, why string) *http.Request {
	t.Helper()
	select {
	case r := <-a.rang:
		return r
	case <-time.After(patience):
		t.Fatalf("nobody asked for a worker: %s", why)
		return nil
	}
}

func (a *alarm) silent(t *testing.T, why string) {
	t.Helper()
	if n := len(a.rang); n > 0 {
		t.Fatalf("workers were asked for %d times: %s", n, why)
	}
}

const wakeSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

// TestWake: two gateways ask once for a worker when an event comes and none lives, signed, by a request that says nothing;
// again when it failed and the time is over; for an acknowledgement, too; and not while a worker lives.
func TestWake(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a := newAlarm(t)
	said := &testkit.Buffer{}
	r.log = slog.New(slog.NewTextHandler(said, nil))
	wakes := func(c *gateway.Config) { c.Wake.URL, c.Wake.Secret = a.URL+"/wake?token=geheim", wakeSecret }
	g1, g2 := r.gateway(wakes), r.gateway(wakes)
	counted := func(outcome string) float64 {
		return g1.metric("sluice_gateway_wakes_total", "outcome", outcome) + g2.metric("sluice_gateway_wakes_total", "outcome", outcome)
	}
	phone := dial(t, g1, "alice", asDevice("alice", "phone"))
	phone.waitSubscribed("user:alice")

	a.silent(t, "nothing waits")
	r.add("intake", "user:alice", 0, 1)
	checkWake(t, a, a.wait(t, "an event waits"))
	again := func() { r.rdb.Del(ctx, "sluice:wake") } // as if the time were over
	eventually(t, patience, "the request is counted", func() error {
		if n := counted("ok"); n != 1 {
			return fmt.Errorf("%v requests", n)
		}
		return nil
	})
	a.silent(t, "they were asked for just now")
	a.answer(http.StatusTemporaryRedirect)
	again()
	a.wait(t, "the event still waits")
	eventually(t, patience, "the failure is counted and told", func() error {
		if n := counted("failed"); n != 1 || !strings.Contains(said.String(), "307") {
			return fmt.Errorf("%v failures; the log says %s", n, said)
		}
		return nil
	})

	w := r.worker()
	phone.mustHave(patience, "user:alice", 0, 1)
	w.stop()
	for len(a.rang) > 0 { // while the worker started
		<-a.rang
	}
	a.answer(http.StatusOK)
	again()
	phone.send(msg{"type": "ack", "to": "user:alice", "id": phone.last("user:alice")})
	r1 := a.wait(t, "an acknowledgement waits")
	if r1.URL.Path == "/elsewhere" {
		t.Error("a redirect was followed")
	}
	g1.stop()
	g2.stop()
	if strings.Contains(said.String(), "geheim") || strings.Contains(said.String(), wakeSecret) {
		t.Errorf("a secret is in the log:\n%s", said)
	}
}

func checkWake(t *testing.T, a *alarm, r *http.Request) {
	t.Helper()
	a.mu.Lock()
	body := a.bodies[r]
	a.mu.Unlock()
	var event struct{ SpecVersion, ID, Source, Type, Time string }
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&event); err != nil || event.SpecVersion != "1.0" || event.Type != "sluice.wake" || event.Source == "" || event.Time == "" {
		t.Errorf("asked with %s: %v", body, err)
	}
	keys, err := outbound.ParseKeys(wakeSecret)
	if err != nil {
		t.Fatal(err)
	}
	var seconds int64
	_, _ = fmt.Sscan(r.Header.Get("webhook-timestamp"), &seconds)
	h := http.Header{}
	keys.Sign(h, event.ID, time.Unix(seconds, 0), body)
	if got := r.Header.Get("webhook-signature"); got == "" || got != h.Get("webhook-signature") || r.Header.Get("webhook-id") != event.ID {
		t.Errorf("the signature is %v", r.Header)
	}
	if r.Method != http.MethodPost || r.Header.Get("Content-Type") != "application/cloudevents+json" || r.URL.Query().Get("token") != "geheim" {
		t.Errorf("asked by %s %s with %v", r.Method, r.URL, r.Header)
	}
}
