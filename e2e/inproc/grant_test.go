package inproc_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"sluice/gateway"
	"sluice/gateway/auth"
)

// TestConnectByAFunctionAtEachDoor: where a function says who clients are it is asked by event streams, requests and frames auth, too, and
// a ticket stands for what it has said.
func TestConnectByAFunctionAtEachDoor(t *testing.T) {
	t.Parallel()
	f := startFunction(t, func(h heard) (int, string) {
		switch user, ok := strings.CutPrefix(h.Data.Token, "user "); {
		case h.Type == "sluice.connected":
			return 204, ""
		case ok:
			return 200, fmt.Sprintf(`{"user":%q,"state":{"n":7},"claims":{"subscribe":["topic:may"],"publish":["topic:may"]},"subscribe":["topic:granted"]}`, user)
		case h.Data.Token == "close":
			return 200, `{"close":{"code":4123,"reason":"not today"}}`
		case h.Data.Token == "nobody":
			return 204, ""
		}
		return 500, ""
	})
	r := newRig(t)
	g := r.gateway(func(c *gateway.Config) { c.Auth = auth.Config{Mode: auth.ModeFunction} })
	r.worker(f.serves("connect", "connected"))
	eventually(t, patience, "clients are let in", func() error {
		if _, code := withToken(t, g, "user probe", false); code != 0 {
			return fmt.Errorf("closed with %d", code)
		}
		return nil
	})
	ask := func(method, path, token, body string) (status int, answer io.Reader) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		t.Cleanup(cancel)
		req, err := http.NewRequestWithContext(ctx, method, "http://"+g.addr+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		if token != "" {
			req.Header.Set("Authorization", "Bearer "+token)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = resp.Body.Close() })
		return resp.StatusCode, resp.Body
	}

	// Requests, each with what it may.
	for _, c := range []struct {
		method, path, token, body string
		status                    int
	}{
		{"POST", "/v1/events", "user alice", `{"to":"topic:may","data":1}`, 200},
		{"POST", "/v1/events", "user alice", `{"to":"topic:granted","data":1}`, 403},
		{"GET", "/v1/events?to=topic:may", "user alice", "", 200},
		{"GET", "/v1/events?to=topic:granted", "user alice", "", 200},
		{"GET", "/v1/events?to=topic:other", "user alice", "", 403},
		{"GET", "/v1/events?to=topic:may", "close", "", 403},
		{"GET", "/v1/events?to=topic:may", "nobody", "", 403},
		{"GET", "/v1/events?to=topic:may", "fails", "", 503},
	} {
		if status, answer := ask(c.method, c.path, c.token, c.body); status != c.status {
			text, _ := io.ReadAll(answer)
			t.Errorf("%s %s as %q: %d %s, want %d", c.method, c.path, c.token, status, text, c.status)
		}
	}

	// Event streams.
	says := func(path, token, want string) {
		t.Helper()
		var said []string
		_, stream := ask("GET", path, token, "")
		for lines := bufio.NewScanner(stream); lines.Scan(); {
			if said = append(said, lines.Text()); strings.Contains(lines.Text(), want) {
				return
			}
		}
		t.Errorf("an event stream as %q does not say %s: %q", token, want, said)
	}
	for token, want := range map[string]string{"user alice": `"to":"topic:granted"`, "close": `"not today"`, "nobody": `"code":"forbidden"`, "fails": `"code":1013`} {
		says("/v1/sse?topics=may", token, want)
	}

	// Frames auth: the same user goes on, and another one does not.
	c, code := withToken(t, g, "user alice", false)
	if code != 0 {
		t.Fatalf("closed with %d", code)
	}
	for _, one := range [][2]string{{"user alice", `"type":"authorized"`}, {"user bob", `"code":"unauthorized"`}, {"nobody", `"code":"unauthorized"`}} {
		if err := c.WriteJSON(msg{"type": "auth", "token": one[0]}); err != nil {
			t.Fatal(err)
		}
		if code := until(c, one[1]); code != 0 {
			t.Errorf("auth as %q: closed with %d, want %s", one[0], code, one[1])
		}
	}

	// A ticket is for the user whom the function has named, once, and nobody asks again.
	var given struct{ Ticket string }
	_, answer := ask("POST", "/v1/tickets", "user carol", "")
	if err := json.NewDecoder(answer).Decode(&given); err != nil || given.Ticket == "" {
		t.Fatalf("%+v, %v", given, err)
	}
	asked := len(f.asked("user carol"))
	for _, want := range []string{`"to":"topic:granted"`, `"code":"unauthorized"`} {
		says("/v1/sse?topics=may&ticket="+url.QueryEscape(given.Ticket), "", want)
	}
	if n := len(f.asked("user carol")); n != 1 || n != asked {
		t.Errorf("the function was asked %d times for the token of a ticket", n)
	}
	eventually(t, patience, "carol's connection begins with the state that was given", func() error {
		f.mu.Lock()
		defer f.mu.Unlock()
		for _, h := range f.calls {
			if h.Type == "sluice.connected" && h.Subject == "user:carol" && string(h.Data.State) == `{"n":7}` {
				return nil
			}
		}
		return errors.New("functions do not hear so")
	})
	transports := make(map[string]bool)
	for _, h := range f.asked("user alice") {
		transports[h.Data.Transport] = true
	}
	if !transports["ws"] || !transports["sse"] || !transports["http"] {
		t.Errorf("it was asked for %v", transports)
	}
}

// asked are the questions who a token's client is.
func (f *function) asked(token string) (calls []heard) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, h := range f.calls {
		if h.Type == "sluice.connect" && h.Data.Token == token {
			calls = append(calls, h)
		}
	}
	return calls
}
