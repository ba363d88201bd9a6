package inproc_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"sluice/gateway"
	"sluice/gateway/auth"
	"sluice/worker"
)

// withToken dials with any token, and reads until the welcome or the close: its code, or 0.
func withToken(t testing.TB, g *gatewayProcess, token string, byFrame bool) (c *websocket.Conn, code int) {
	t.Helper()
	url := "ws://" + g.addr + "/v1/ws?device=phone&x=1"
	h := http.Header{}
	if !byFrame {
		h.Set("Authorization", "Bearer "+token)
	}
	c, resp, err := websocket.DefaultDialer.Dial(url, h)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	t.Cleanup(func() { _ = c.Close() })
	if byFrame {
		if err := c.WriteJSON(msg{"type": "connect", "token": token, "resume": msg{"topic:granted": "0"}}); err != nil {
			t.Fatal(err)
		}
	}
	return c, until(c, "welcome")
}

// until reads until a frame has the text: 0; else the code of the close.
func until(c *websocket.Conn, text string) (code int) {
	_ = c.SetReadDeadline(time.Now().Add(time.Minute))
	for {
		_, frame, err := c.ReadMessage()
		if closed := (*websocket.CloseError)(nil); err != nil {
			if asClose(err, &closed) {
				return closed.Code
			}
			return -1
		}
		if strings.Contains(string(frame), text) {
			return 0
		}
	}
}

func asClose(err error, to **websocket.CloseError) bool {
	closed, ok := err.(*websocket.CloseError) //nolint:errorlint // gorilla does not wrap it
	*to = closed
	return ok
}

// TestConnectByAFunction: a function says who clients are, what they may do, and with what a connection begins; nothing else
// waits for it, and what it does not answer in time is not asked again.
func TestConnectByAFunction(t *testing.T) {
	t.Parallel()
	hang := make(chan struct{})
	f := startFunction(t, func(h heard) (int, string) {
		if h.Type == "sluice.call" {
			return 200, fmt.Sprintf(`{"reply":%s}`, h.Data.State)
		}
		switch {
		case strings.HasPrefix(h.Data.Token, "user "):
			return 200, fmt.Sprintf(`{"user":%q,"claims":{"call":["*"]},"state":{"n":7},"subscribe":["topic:granted"]}`, h.Data.Token[5:])
		case h.Data.Token == "old":
			return 200, `{"user":"alice","exp":1}`
		case h.Data.Token == "close":
			return 200, `{"close":{"code":4123,"reason":"no"}}`
		case h.Data.Token == "closed":
			return 200, `{"close":{}}`
		case h.Data.Token == "bad":
			return 200, `{"user":"a b"}`
		case h.Data.Token == "hang":
			<-hang
		case h.Data.Token == "empty":
			return 204, ""
		}
		return 500, ""
	})
	defer close(hang)
	r := newRig(t)
	g := r.gateway(func(c *gateway.Config) {
		c.Auth = auth.Config{Mode: auth.ModeFunction}
		c.ConnectTimeout = 2 * time.Second
	})
	w := r.worker(func(c *worker.Config) { f.serves("call", "connect")(c); c.Functions.Timeout = 30 * time.Second })
	eventually(t, patience, "clients are let in", func() error {
		if _, code := withToken(t, g, "user probe", false); code != 0 {
			return fmt.Errorf("closed with %d", code)
		}
		return nil
	})
	for _, byFrame := range []bool{false, true} {
		c, code := withToken(t, g, "user alice", byFrame)
		if code != 0 {
			t.Fatalf("closed with %d", code)
		}
		if code := until(c, `"topic:granted"`); code != 0 {
			t.Errorf("not subscribed: %d", code)
		}
		_ = c.WriteJSON(msg{"type": "call", "ref": "1", "name": "x"})
		if code := until(c, `"data":{"n":7}`); code != 0 {
			t.Errorf("the call does not know the state: %d", code)
		}
	}
	// Many that hang hold up nobody who calls.
	caller, _ := withToken(t, g, "user bob", true)
	var wg sync.WaitGroup
	for i := range 100 {
		wg.Go(func() {
			if _, code := withToken(t, g, "hang", i%2 == 0); code != 1013 {
				t.Errorf("without an answer it was closed with %d", code)
			}
		})
	}
	_ = caller.WriteJSON(msg{"type": "call", "ref": "1", "name": "x"})
	if code := until(caller, `"reply"`); code != 0 {
		t.Errorf("a call: %d", code)
	}
	wg.Wait()
	eventually(t, patience, "the last ones no longer hang", func() error {
		if _, code := withToken(t, g, "user probe", false); code != 0 {
			return fmt.Errorf("closed with %d", code)
		}
		return nil
	})
	for token, want := range map[string]int{"close": 4123, "closed": 4503, "empty": 4503, "old": 4401, "bad": 1013, "fails": 1013} {
		for _, byFrame := range []bool{false, true} {
			if _, code := withToken(t, g, token, byFrame); code != want {
				t.Errorf("%s: closed with %d, want %d", token, code, want)
			}
		}
	}
	w.stop()
	if _, code := withToken(t, g, "user alice", true); code != 1013 {
		t.Errorf("without a worker it was closed with %d", code)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	asked := make(map[string]int)
	for _, h := range f.calls {
		if asked[h.ID]++; asked[h.ID] > 1 && h.Type == "sluice.connect" {
			t.Errorf("%s was asked again", h.ID)
		}
		if h.Type == "sluice.connect" && (h.Data.Device != "phone" || h.Data.Query != "device=phone&x=1" || h.Data.Address != "127.0.0.1" || h.Data.Transport != "ws") {
			t.Errorf("%+v", h.Data)
		}
	}
}
