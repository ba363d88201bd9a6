package wake

import (
	"bytes"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"sluice/shared/store"
	"sluice/shared/store/storetest"
)

const secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

func TestCheck(t *testing.T) {
	for _, c := range []struct {
		cfg  Config
		want string // in the error; "": none
	}{
		{Config{}, ""},
		{Config{URL: "https://example.com/wake", Secret: secret}, ""},
		{Config{URL: "example.com/wake"}, "SLUICE_WAKE_URL"},
		{Config{URL: "ftp://example.com/wake"}, "SLUICE_WAKE_URL"},
		{Config{URL: "https://"}, "SLUICE_WAKE_URL"},
		{Config{Secret: "secret"}, "SLUICE_FUNCTION_SECRET"},
	} {
		err := c.cfg.Check()
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v, want %q", c.cfg, err, c.want)
		}
	}
}

// TestAsk: each request is counted by its outcome, and the log says once that the address does not work, without its secrets.
func TestAsk(t *testing.T) {
	status := http.StatusInternalServerError
	signed := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Webhook-Signature") != "" && r.Header.Get("Content-Type") == "application/cloudevents+json" {
			signed++
		}
		w.WriteHeader(status)
	}))
	defer server.Close()
	st := storetest.Unasked(t, func(c *store.Config) { c.Partitions = 1 })
	said := &bytes.Buffer{}
	asked := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "asked"}, []string{"outcome"})
	w := New(Options{
		Config: Config{URL: server.URL + "/wake?token=geheim", Secret: secret}, Store: st, Asked: asked, Log: slog.New(slog.NewTextHandler(said, nil)),
	})
	w.ask(t.Context())
	w.ask(t.Context())
	status = http.StatusNoContent
	w.ask(t.Context())
	if ok, failed := testutil.ToFloat64(asked.WithLabelValues("ok")), testutil.ToFloat64(asked.WithLabelValues("failed")); ok != 1 || failed != 2 || signed != 3 {
		t.Errorf("%v requests went, %v failed, %d were signed; want 1, 2 and 3", ok, failed, signed)
	}
	if n := strings.Count(said.String(), "level=ERROR"); n != 1 || strings.Contains(said.String(), "geheim") {
		t.Errorf("the log says\n%s", said)
	}
}

// TestLeftBehind: for acks and calls workers are asked for when nobody may look after them; one that calls functions may have the role
// acks, too.
func TestLeftBehind(t *testing.T) {
	redis := storetest.OnRedis(t)
	st := storetest.Open(t, redis.URL, nil)
	w := New(Options{Store: st, Log: slog.New(slog.DiscardHandler)})
	want := func(what string, want bool) {
		t.Helper()
		if got, err := w.leftBehind(t.Context()); err != nil || got != want {
			t.Errorf("%s: %v, %v, want %v", what, got, err, want)
		}
	}
	lives := func(kind store.Kind) func() {
		t.Helper()
		if _, _, err := st.Announce(t.Context(), kind, "w", time.Minute); err != nil {
			t.Fatal(err)
		}
		return func() { _ = st.Leave(kind, "w") }
	}
	adds := func(stream string) {
		t.Helper()
		if err := redis.Client.Do(t.Context(), "XADD", storetest.Key(0, stream), "*", "x", "y").Err(); err != nil {
			t.Fatal(err)
		}
	}
	want("nothing waits", false)
	adds("acks")
	want("an ack, and nobody", true)
	for _, kind := range []store.Kind{store.Callers, store.Helpers} {
		leave := lives(kind)
		want("an ack, and one of the "+string(kind), false)
		leave()
	}
	adds("calls")
	leave := lives(store.Helpers)
	want("a call, and a helper", true)
	leave()
	lives(store.Callers)
	want("a call, and a caller", false)
}
