package gateway

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"sluice/gateway/admit"
	"sluice/gateway/api"
	"sluice/shared/client/js"
)

// TestStatic: pages of any origin get the client and the document, compressed if they accept that, and a browser that has one
// gets it no second time.
func TestStatic(t *testing.T) {
	for path, compressed := range js.Files {
		t.Run(path, func(t *testing.T) { testStatic(t, path, "text/javascript; charset=utf-8", compressed) })
	}
	for path, compressed := range documents {
		t.Run(path, func(t *testing.T) { testStatic(t, path, "application/json", compressed) })
	}
}

func testStatic(t *testing.T, path, contentType string, compressed []byte) {
	get := func(accept, has string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(http.MethodGet, path, nil)
		r.Header.Set("Accept-Encoding", accept)
		r.Header.Set("If-None-Match", has)
		w := httptest.NewRecorder()
		(&Gateway{admission: admit.New(admit.Options{}), api: api.New(api.Options{})}).handler().ServeHTTP(w, r)
		return w
	}
	tags := map[string]bool{}
	for accept, want := range map[string][]byte{
		"": decompressed(compressed), "br": decompressed(compressed), "gzip;q=0, br": decompressed(compressed), "gzip; q=0.000": decompressed(compressed),
		"gzip": compressed, "br, GZIP": compressed, "deflate, gzip;q=0.5": compressed,
	} {
		first := get(accept, "")
		if first.Code != http.StatusOK || len(want) == 0 || !bytes.Equal(first.Body.Bytes(), want) {
			t.Fatalf("Accept-Encoding %q: status %d, %d bytes, want %d", accept, first.Code, first.Body.Len(), len(want))
		}
		encoding := ""
		if bytes.Equal(want, compressed) {
			encoding = "gzip"
		}
		for name, want := range map[string]string{
			"Content-Type": contentType, "Content-Encoding": encoding, "Vary": "Accept-Encoding", "Access-Control-Allow-Origin": "*",
			"X-Content-Type-Options": "nosniff", "Cache-Control": "no-cache",
		} {
			if got := first.Header().Get(name); got != want {
				t.Errorf("Accept-Encoding %q: %s is %q, want %q", accept, name, got, want)
			}
		}
		tag := first.Header().Get("ETag")
		tags[tag] = true
		if again := get(accept, tag); again.Code != http.StatusNotModified || again.Body.Len() > 0 {
			t.Errorf("who has it gets status %d and %d bytes", again.Code, again.Body.Len())
		}
		if other := get(accept, `"another"`); other.Code != http.StatusOK {
			t.Errorf("who has another one gets status %d", other.Code)
		}
	}
	if len(tags) != 2 {
		t.Errorf("tags %v, want one for each encoding", tags)
	}
}

// TestDocumentsInStep: what gateways serve is made of the files that people edit.
func TestDocumentsInStep(t *testing.T) {
	for path, compressed := range documents {
		name := strings.TrimPrefix(path, "/v1/")
		source, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(decompressed(compressed), source) {
			t.Errorf("%s.gz is not made of %s: run 'go generate ./gateway'", name, name)
		}
	}
}
