package page

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func get(method, host, path string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, nil)
	r.Host = host
	w := httptest.NewRecorder()
	Handler(Options{RedisURL: "redis://127.0.0.1:6380"}).ServeHTTP(w, r)
	return w
}

func TestPaths(t *testing.T) {
	for _, c := range []struct {
		method, path string
		status       int
		contentType  string
	}{
		{"GET", "/", 200, "text/html; charset=utf-8"},
		{"HEAD", "/", 200, "text/html; charset=utf-8"},
		{"GET", "/page.js", 200, "text/javascript; charset=utf-8"},
		{"GET", "/pane.js", 200, "text/javascript; charset=utf-8"},
		{"GET", "/frames.js", 200, "text/javascript; charset=utf-8"},
		{"GET", "/page.css", 200, "text/css; charset=utf-8"},
		{"GET", "/playground/gateways", 404, ""}, // nobody's to kill
		{"POST", "/playground/gateways/kill", 404, ""},
		{"GET", "/index.html", 404, ""},
		{"GET", "/page.go", 404, ""},
		{"GET", "/v1/ws", 404, ""},
		{"POST", "/", 405, ""},
	} {
		w := get(c.method, "127.0.0.1:8080", c.path)
		if w.Code != c.status {
			t.Errorf("%s %s: status %d, want %d", c.method, c.path, w.Code, c.status)
		}
		if got := w.Header().Get("Content-Type"); c.contentType != "" && got != c.contentType {
			t.Errorf("%s %s: content type %q, want %q", c.method, c.path, got, c.contentType)
		}
		for name, want := range map[string]string{"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"} {
			if got := w.Header().Get(name); got != want {
				t.Errorf("%s %s: %s is %q, want %q", c.method, c.path, name, got, want)
			}
		}
		if !strings.Contains(w.Header().Get("Content-Security-Policy"), "default-src 'none'") {
			t.Errorf("%s %s: no strict policy", c.method, c.path)
		}
	}
}

func TestPolicyNamesOnlyAPlainHost(t *testing.T) {
	for _, c := range []struct{ host, connect string }{
		{"127.0.0.1:8080", "connect-src 'self' ws://127.0.0.1:8080 wss://127.0.0.1:8080;"},
		{"[::1]:8080", "connect-src 'self' ws://[::1]:8080 wss://[::1]:8080;"},
		{"a.example;script-src *", "connect-src 'self';"},
		{"*", "connect-src 'self';"},
		{"", "connect-src 'self';"},
	} {
		if got := get("GET", c.host, "/").Header().Get("Content-Security-Policy"); !strings.Contains(got, c.connect) {
			t.Errorf("host %q: policy %q does not contain %q", c.host, got, c.connect)
		}
	}
}

func TestShownAddress(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"redis://127.0.0.1:6380", "redis://127.0.0.1:6380"},
		{"rediss://app:s3cret@db:6379/2?dial_timeout=5s", "rediss://app:xxxxx@db:6379/2"},
		{"redis://:s3cret@a:7000,redis://:s3cret@b:7001", "redis://:xxxxx@a:7000"},
		{"redis://a:7000,b:7001", "redis://a:7000"},
		{"redis://:s3%zzcret@a", ""},
		{"s3cret", ""},
		{"", ""},
	} {
		if got := shownAddress(c.in); got != c.want {
			t.Errorf("shownAddress(%q) = %q, want %q", c.in, got, c.want)
		}
	}
}

func TestAddressIsEscaped(t *testing.T) {
	w := httptest.NewRecorder()
	Handler(Options{RedisURL: `redis://h"><script>alert(1)</script>`}).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
	if strings.Contains(w.Body.String(), "<script>alert") || !strings.Contains(w.Body.String(), `name="sluice-redis" content="redis://h&`) {
		t.Errorf("the address is not escaped, or not there:\n%.600s", w.Body.String())
	}
}
