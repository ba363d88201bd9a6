package gateway

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"sluice/gateway/admit"
	"sluice/gateway/api"
	"sluice/gateway/auth"
	"sluice/gateway/limits"
	"sluice/shared/store/storetest"
)

// TestRequestsOfAnAddress: HTTP requests without a good token take from their address's rate, whatever they ask for: ten
// seconds' worth at once, then as many as come back. What has a good token takes nothing of it, and another address has
// its own.
func TestRequestsOfAnAddress(t *testing.T) {
	const rate, burst = 2, 20
	st := storetest.Unasked(t, nil) // for its clock
	for name, ask := range map[string]func(*http.Request){
		"no token":                 func(r *http.Request) { r.URL.Path = "/v1/users/anna" },
		"a bad token":              func(r *http.Request) { r.URL.Path = "/v1/users/anna"; r.Header.Set("Authorization", "Bearer nonsense") },
		"a page of another origin": func(r *http.Request) { r.Header.Set("Origin", "https://evil.example") },
		"what everybody may read":  func(r *http.Request) { r.URL.Path = "/sluice.js" },
		"nothing there":            func(r *http.Request) { r.URL.Path = "/v1/nothing" },
		"a stream's header":        func(r *http.Request) { r.Method = http.MethodHead; r.URL.Path = "/v1/sse" },
		"a socket's header":        func(r *http.Request) { r.Method = http.MethodHead; r.URL.Path = "/v1/ws" },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				verifier, err := auth.New(auth.Config{Mode: auth.ModeDev})
				if err != nil {
					t.Fatal(err)
				}
				m, log := newMetrics(prometheus.NewRegistry()), slog.New(slog.DiscardHandler)
				g := &Gateway{admission: admit.New(admit.Options{Store: st, Verifier: verifier, HandshakeRate: rate, Refused: m.refused, Log: log})}
				g.api = api.New(api.Options{
					Store: st, Verifier: verifier, Admission: g.admission, Users: limits.NewParties(), Running: &g.wg, Log: log,
					Metrics: &api.Metrics{Errors: m.errors, Limited: m.limited},
				})
				handler := g.handler()
				get := func(from string, change func(*http.Request)) *httptest.ResponseRecorder {
					r := httptest.NewRequest(http.MethodGet, "/v1/", nil)
					r.Host, r.RemoteAddr = "localhost", from+":1"
					change(r)
					w := httptest.NewRecorder()
					handler.ServeHTTP(w, r)
					return w
				}
				passes := func(when, from string, n int) {
					t.Helper()
					for i := range n {
						if w := get(from, ask); w.Code == http.StatusTooManyRequests {
							t.Fatalf("%s: request %d of %d gets %d", when, i+1, n, w.Code)
						}
					}
				}
				limited := func(when, from string) {
					t.Helper()
					if w := get(from, ask); w.Code != http.StatusTooManyRequests || w.Header().Get("Retry-After") != "1" {
						t.Fatalf("%s: %d, Retry-After %q", when, w.Code, w.Header().Get("Retry-After"))
					}
				}
				for range 3 * burst {
					member := func(r *http.Request) { r.URL.Path = "/v1/nothing"; r.Header.Set("Authorization", "Bearer dev:anna") }
					if w := get("192.0.2.1", member); w.Code != http.StatusNotFound {
						t.Fatalf("a request with a token gets %d", w.Code)
					}
				}
				passes("at once", "192.0.2.1", burst)
				limited("more at once", "192.0.2.1")
				passes("another address", "192.0.2.2", burst)
				time.Sleep(3 * time.Second)
				passes("after 3 s", "192.0.2.1", 3*rate)
				limited("more after 3 s", "192.0.2.1")
			})
		})
	}
}
