package gateway

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"testing"

	"sluice/shared/client/js"
)

// TestScript: pages of any origin get the client, and a browser that has it gets it no second time.
func TestScript(t *testing.T) {
	for path, text := range js.Files {
		t.Run(path, func(t *testing.T) { testScript(t, path, text) })
	}
}

func testScript(t *testing.T, path string, text []byte) {
	get := func(has string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(http.MethodGet, path, nil)
		r.Header.Set("If-None-Match", has)
		w := httptest.NewRecorder()
		(&Gateway{}).handler().ServeHTTP(w, r)
		return w
	}
	first := get("")
	if first.Code != http.StatusOK || !bytes.Equal(first.Body.Bytes(), text) {
		t.Fatalf("status %d, %d bytes, want the %d of the client", first.Code, first.Body.Len(), len(text))
	}
	for name, want := range map[string]string{
		"Content-Type": "text/javascript; charset=utf-8", "Access-Control-Allow-Origin": "*", "X-Content-Type-Options": "nosniff",
		"Cache-Control": "no-cache",
	} {
		if got := first.Header().Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if again := get(first.Header().Get("ETag")); again.Code != http.StatusNotModified || again.Body.Len() > 0 {
		t.Errorf("who has it gets status %d and %d bytes", again.Code, again.Body.Len())
	}
	if other := get(`"another"`); other.Code != http.StatusOK {
		t.Errorf("who has another one gets status %d", other.Code)
	}
}
