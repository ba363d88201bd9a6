package functions

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"sluice/shared/wire"
)

const secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

func TestRoutes(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":                               "",
		"call":                           "KINDS=URL",
		"call=/path":                     "KINDS=URL",
		"call=ftp://f.example/":          "KINDS=URL",
		"called=https://f.example/":      "no kind of event",
		"connected:x=https://f.example/": "no kind of event",
		"call:=https://f.example/":       "no kind of event",
		"call=https://a.example/,call=https://b.example/":                   "two addresses",
		"call+connected=https://a.example/?x=1,call:a.*=https://b.example/": "",
	} {
		_, err := (&Config{Functions: text}).routes()
		if (want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
	all, _ := (&Config{Functions: "call=https://any/,call:chat.*=https://chat/,call:chat.say=https://say/"}).routes()
	for name, want := range map[string]string{"other": "https://any/", "chat.": "https://chat/", "chat.say": "https://say/", "chat.said": "https://chat/"} {
		if got, ok := routing(all).find(wire.CallKind, name); !ok || got != want {
			t.Errorf("%s goes to %q, want %q", name, got, want)
		}
	}
	if _, ok := routing(all).find(wire.ConnectedKind, ""); ok {
		t.Error("an event goes where nobody takes it")
	}
}

func TestSecrets(t *testing.T) {
	t.Parallel()
	for text, good := range map[string]bool{
		secret: true, secret + "  " + secret: true, "": true, "whsec_": false, "whsec_!": false, strings.TrimPrefix(secret, "whsec_"): false,
		"whsec_" + base64.StdEncoding.EncodeToString(make([]byte, 23)): false, "whsec_" + base64.StdEncoding.EncodeToString(make([]byte, 65)): false,
	} {
		_, err := (&Config{Secret: text}).secrets()
		if (err == nil) != good || err != nil && text != "" && strings.Contains(err.Error(), "MfKQ") {
			t.Errorf("%q: %v", text, err)
		}
	}
	if err := (&Config{Functions: "call=https://f.example/"}).Validate(); err == nil {
		t.Error("functions without a secret are allowed")
	}
}

func TestParseAnswer(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]string{
		"": "", " \n": "", "{}": "", `{"reply":1,"other":[]}`: "", `{"state":null}`: "",
		"[]": "no JSON object", "null": "no JSON object", "{": "may be", `{"publish":{}}`: "may be", `{"close":"x"}`: "may be",
		`{"state":"` + strings.Repeat("x", maxState) + `"}`:           "state has",
		`{"subscribe":[` + strings.Repeat(`"a",`, maxItems) + `"a"]}`: "more than",
	} {
		a, err := parseAnswer([]byte(body))
		if (want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), want) || err == nil && a == nil {
			t.Errorf("%.40q: %+v, %v, want %q", body, a, err, want)
		}
	}
}

func FuzzParseAnswer(f *testing.F) {
	f.Add([]byte(`{"reply":1,"publish":[{"to":"all","data":{}}],"state":{"a":1},"close":{"code":4000,"reason":"x"}}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		if a, err := parseAnswer(body); err == nil && (len(a.State) > maxState || len(a.Publish) > maxItems) {
			t.Errorf("too much is taken: %+v", a)
		}
	})
}

func TestAttempt(t *testing.T) {
	t.Parallel()
	var body, status = "", 200
	var got *http.Request
	var sent []byte
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = r.Clone(context.Background())
		sent, _ = io.ReadAll(r.Body)
		w.Header().Set("Retry-After", "7")
		w.Header().Set("Location", "/elsewhere")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}))
	defer server.Close()
	c, err := NewCaller(&Config{Functions: "call=" + server.URL + "/secret", Secret: secret, Timeout: 5 * time.Second}, "sluice:")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	call := &wire.Call{Kind: wire.CallKind, ID: "id", User: "alice", Conn: "c1", Server: "g1", Seq: 3, Name: "n", Data: `{"a":1}`, Trace: "00-1"}
	for _, tc := range []struct {
		status int
		body   string
		want   string // of the outcome
	}{
		{200, `{"reply":1}`, "answer true after 0s gone false status 200"},
		{204, "", "answer true after 0s gone false status 204"},
		{302, "", "answer false after 7s gone false status 302"},
		{503, "busy\n", "answer false after 7s gone false status 503"},
		{410, "", "answer false after 0s gone true status 410"},
		{200, "[]", "answer false after 0s gone false status 200"},
		{200, strings.Repeat(" ", maxAnswer+1), "answer false after 0s gone false status 200"},
	} {
		status, body = tc.status, tc.body
		out, err := c.Attempt(t.Context(), call, Known{State: `{"s":1}`}, time.UnixMilli(1700000000123))
		if err != nil {
			t.Fatal(err)
		}
		is := fmt.Sprintf("answer %v after %v gone %v status %d", out.Answer != nil, out.After, out.Gone, out.Status)
		if is != tc.want || (out.Err == nil) != (out.Answer != nil) || out.Err != nil && strings.Contains(out.Err.Error(), "secret") {
			t.Errorf("%d %.20q: %s, %v, want %s", tc.status, tc.body, is, out.Err, tc.want)
		}
	}
	want := `{"specversion":"1.0","id":"id","source":"sluice:","type":"sluice.call","subject":"user:alice","time":"2023-11-14T22:13:20.123Z","traceparent":"00-1",` +
		`"datacontenttype":"application/json","data":{"conn":"c1","gateway":"g1","seq":3,"state":{"s":1},"name":"n","data":{"a":1}}}`
	if string(sent) != want || got.Header.Get("content-type") != contentType || got.Header.Get("traceparent") != "00-1" || got.Header.Get("webhook-id") != "id" {
		t.Errorf("sent %v\n%s\nwant\n%s", got.Header, sent, want)
	}
	if _, err := c.Attempt(t.Context(), &wire.Call{Kind: wire.ConnectedKind}, Known{}, time.Now()); !errors.Is(err, ErrNoFunction) {
		t.Errorf("an event that nobody takes: %v", err)
	}
}

// TestStandardWebhooks: the published library takes what is sent, by each of the secrets, and nothing that was changed.
func TestStandardWebhooks(t *testing.T) {
	t.Parallel()
	second := "whsec_" + base64.StdEncoding.EncodeToString([]byte("thirty-two bytes, of another key"))
	var header http.Header
	var body []byte
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		header = r.Header
		body, _ = io.ReadAll(r.Body)
	}))
	defer server.Close()
	c, err := NewCaller(&Config{Functions: "call=" + server.URL, Secret: secret + " " + second, Timeout: 5 * time.Second}, "sluice:")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	call := &wire.Call{Kind: wire.CallKind, ID: "call:alice k \u00e9", User: "alice", Conn: "c1", Server: "g1", Seq: 1, Name: "n", Data: `"\u00e9"`}
	if out, err := c.Attempt(t.Context(), call, Known{}, time.Now()); err != nil || out.Answer == nil {
		t.Fatal(out, err)
	}
	for _, key := range []string{secret, second} {
		hook, err := standardwebhooks.NewWebhook(key)
		if err != nil {
			t.Fatal(err)
		}
		if err := hook.Verify(body, header); err != nil {
			t.Errorf("the library does not take what is signed: %v, %v", err, header)
		}
		if hook.Verify(append(body, ' '), header) == nil {
			t.Error("the library takes a body that was changed")
		}
	}
	other, err := standardwebhooks.NewWebhook("whsec_" + base64.StdEncoding.EncodeToString(make([]byte, 32)))
	if err != nil || other.Verify(body, header) == nil {
		t.Errorf("the library takes another key: %v", err)
	}
}

// An address that fails again and again is left alone, for longer and longer, and one attempt shows that it is back.
func TestBreaker(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var b breaker
		for range breakAfter - 1 {
			if b.ask(time.Now()) != 0 || b.tell(false, time.Now()) {
				t.Fatal("it is left alone too early")
			}
		}
		if b.ask(time.Now()) != 0 || !b.tell(false, time.Now()) {
			t.Fatal("it is not left alone")
		}
		for i := range 8 {
			want := min(restMost, restFirst<<i)
			if got := b.ask(time.Now()); got != want {
				t.Fatalf("rest %d: %v, want %v", i, got, want)
			}
			time.Sleep(want)
			if b.ask(time.Now()) != 0 || b.ask(time.Now()) == 0 {
				t.Fatal("not one attempt shows whether it is back")
			}
			b.tell(false, time.Now())
		}
		time.Sleep(restMost)
		if b.ask(time.Now()) != 0 {
			t.Fatal("it is still left alone")
		}
		b.tell(true, time.Now())
		for range 2 {
			if b.ask(time.Now()) != 0 {
				t.Fatal("it is back, and left alone")
			}
		}
	})
}
