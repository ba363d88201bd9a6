package outbound

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// The example of the specification's own libraries.
const (
	exampleSecret    = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw" //nolint:gosec // everybody's
	exampleSignature = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
)

func TestSign(t *testing.T) {
	other := "whsec_" + strings.Repeat("AAAA", 8)
	for secrets, want := range map[string]string{
		exampleSecret:               exampleSignature,
		" " + exampleSecret + "\n ": exampleSignature,
		"":                          "",
	} {
		keys, err := ParseKeys(secrets)
		if err != nil {
			t.Fatalf("%q: %v", secrets, err)
		}
		h := http.Header{}
		keys.Sign(h, "msg_p5jXN8AQM9LWM0D4loKWxJek", time.Unix(1614265330, 0), []byte(`{"test": 2432232314}`))
		if got := h.Get("webhook-signature"); got != want || h.Get("webhook-timestamp") != "1614265330" || h.Get("webhook-id") == "" {
			t.Errorf("%q signs %v", secrets, h)
		}
	}
	keys, err := ParseKeys(exampleSecret + " " + other)
	if err != nil {
		t.Fatal(err)
	}
	h := http.Header{}
	keys.Sign(h, "msg_p5jXN8AQM9LWM0D4loKWxJek", time.Unix(1614265330, 0), []byte(`{"test": 2432232314}`))
	if first, second, _ := strings.Cut(h.Get("webhook-signature"), " "); first != exampleSignature || !strings.HasPrefix(second, "v1,") || second == first {
		t.Errorf("two keys sign %v", h)
	}
}

func TestParseKeysRefuses(t *testing.T) {
	for _, bad := range []string{"geheim", "whsec_", "whsec_geheim!", "whsec_" + strings.Repeat("AAAA", 7), "whsec_" + strings.Repeat("AAAA", 22), exampleSecret + " geheim"} {
		if keys, err := ParseKeys(bad); err == nil || strings.Contains(err.Error(), "geheim") {
			t.Errorf("%q gives %d keys, %v", bad, len(keys), err)
		}
	}
}

// TestClient: no redirect is followed, a header without end and an answer that never comes are failures, and no failure
// holds the address.
func TestClient(t *testing.T) {
	end := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/redirect":
			http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
		case "/elsewhere":
			t.Error("it followed a redirect")
		case "/large":
			for range 100 {
				w.Header().Add("X-Large", strings.Repeat("x", 1<<10))
			}
		case "/slow":
			select {
			case <-r.Context().Done():
			case <-end:
			}
		}
	}))
	defer server.Close()
	defer close(end)
	client := NewClient(300 * time.Millisecond)
	defer client.CloseIdleConnections()
	answer, err := client.Get(server.URL + "/redirect")
	if err != nil || answer.StatusCode != http.StatusTemporaryRedirect {
		t.Fatalf("a redirect: %v, %v", answer, err)
	}
	_ = answer.Body.Close()
	for _, url := range []string{server.URL + "/large?token=geheim", server.URL + "/slow?token=geheim", "http://127.0.0.1:1/geheim", "http://[geheim", "http://x\x00geheim"} {
		answer, err := client.Get(url)
		if err == nil {
			_ = answer.Body.Close()
		}
		if reason := Reason(err); reason == nil || strings.Contains(reason.Error(), "geheim") {
			t.Errorf("%q: %v", url, reason)
		}
	}
	if other := errors.New("another one"); !errors.Is(Reason(other), other) {
		t.Error("the reason of another error is not itself")
	}
}
