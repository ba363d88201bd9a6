package inproc_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sluice/gateway"
)

// posted is the answer to a POST /v1/calls.
type posted struct {
	status int
	body   string
	ID     string
	Data   json.RawMessage
	Error  struct{ Code string }
}

// post calls over HTTP.
func (g *gatewayProcess) post(t testing.TB, user, body string) (p posted) {
	t.Helper()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+g.addr+"/v1/calls", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer dev:"+user)
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Error(err)
		return p
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err = firstError(err, json.Unmarshal(text, &p)); err != nil {
		t.Errorf("%d %q: %v", resp.StatusCode, text, err)
	}
	p.status, p.body = resp.StatusCode, string(text)
	return p
}

// takesPosts waits until a gateway knows what functions take.
func (g *gatewayProcess) takesPosts(t testing.TB, user, name string) {
	t.Helper()
	eventually(t, patience, "calls are taken", func() error {
		if p := g.post(t, user, fmt.Sprintf(`{"name":%q}`, name)); p.status != 200 {
			return fmt.Errorf("%d %s", p.status, p.body)
		}
		return nil
	})
}

// TestPostCall asks functions by requests: who asks again has the same answer, by any gateway, and those of a user are in order.
func TestPostCall(t *testing.T) {
	t.Parallel()
	var n atomic.Int64
	gate := make(chan struct{})
	f := startFunction(t, func(h heard) (int, string) {
		switch h.Data.Name {
		case "empty":
			return 204, ""
		case "gone":
			return 410, "no more"
		case "waits":
			<-gate
		}
		return 200, fmt.Sprintf(`{"reply":{"n":%d},"state":1,"subscribe":["topic:a"],"close":{"code":4000}}`, n.Add(1))
	})
	r := newRig(t)
	g1, g2 := r.gateway(), r.gateway()
	r.worker(f.serves("call"))
	g1.takesPosts(t, "probe", "x")
	g2.takesPosts(t, "probe", "x")

	first := g1.post(t, "alice", `{"name":"n","data":{"a":1},"id":"k 1"}`)
	if first.status != 200 || first.ID != "k 1" || !strings.HasPrefix(string(first.Data), `{"n":`) {
		t.Fatalf("got %d %s", first.status, first.body)
	}
	for _, g := range []*gatewayProcess{g1, g2} {
		if again := g.post(t, "alice", `{"name":"n","data":{"a":1},"id":"k 1"}`); again.body != first.body {
			t.Errorf("again: %s, want %s", again.body, first.body)
		}
	}
	if other := g1.post(t, "bob", `{"name":"n","id":"k 1"}`); other.body == first.body {
		t.Errorf("another user has the same answer: %s", other.body)
	}
	if e := g1.post(t, "alice", `{"name":"empty","id":"e"}`); e.body != "{\"id\":\"e\"}\n" {
		t.Errorf("an empty answer: %q", e.body)
	}
	for range 2 { // what has failed is asked again
		if p := g1.post(t, "alice", `{"name":"gone","id":"g"}`); p.status != 502 || p.Error.Code != "unavailable" {
			t.Errorf("what became a dead letter: %d %s", p.status, p.body)
		}
	}

	// Both wait for one call, and a third one behind it.
	var wg sync.WaitGroup
	answers := make([]posted, 3)
	for i, body := range []string{`{"name":"waits","id":"w"}`, `{"name":"waits","id":"w"}`, `{"name":"behind"}`} {
		wg.Go(func() { answers[i] = []*gatewayProcess{g1, g2, g2}[i].post(t, "alice", body) })
		eventually(t, patience, "the call waits", func() error {
			if calls := f.of("sluice.call", "alice"); calls[len(calls)-1].Data.Name != "waits" {
				return fmt.Errorf("%+v", calls)
			}
			return nil
		})
	}
	close(gate)
	wg.Wait()
	if answers[0].status != 200 || answers[1].body != answers[0].body || answers[2].status != 200 {
		t.Errorf("got %+v", answers)
	}
	var heard []string
	for _, h := range f.of("sluice.call", "alice") {
		heard = append(heard, h.Data.Name)
		if h.Data.Transport != "http" || h.Data.Seq != 1 || string(h.Data.State) != "null" || h.Data.Conn == "" {
			t.Errorf("%+v", h)
		}
	}
	if fmt.Sprint(heard) != "[n empty gone waits behind]" {
		t.Errorf("functions heard %v", heard)
	}
	if rest := r.rdb.HGetAll(ctx, r.key("user:alice", "calling:user:alice")).Val(); len(rest) > 0 {
		t.Errorf("left behind: %v", rest)
	}
	for body, code := range map[string]string{
		`[]`: "bad_request", `{"name":""}`: "bad_request", `{"name":1}`: "bad_request", `{"name":"n","name":"n"}`: "bad_request", "{\"name\":\"\xff\"}": "bad_request",
	} {
		if p := g1.post(t, "alice", body); p.status != 400 || p.Error.Code != code {
			t.Errorf("%s: %d %s", body, p.status, p.body)
		}
	}
}

// TestPostCallWithoutAWorker: who waits is told when the time is over; the call goes on, and who asks again has its answer.
func TestPostCallWithoutAWorker(t *testing.T) {
	t.Parallel()
	f := startFunction(t, func(heard) (int, string) { return 200, `{"reply":"late"}` })
	r := newRig(t)
	g := r.gateway(func(c *gateway.Config) { c.CallTimeout = time.Second })
	w := r.worker(f.serves("call"))
	g.takesPosts(t, "probe", "x")
	w.stop()
	const body = `{"name":"n","id":"k"}`
	for range 2 {
		if p := g.post(t, "alice", body); p.status != 504 || p.Error.Code != "unavailable" {
			t.Errorf("without a worker: %d %s", p.status, p.body)
		}
	}
	r.worker(f.serves("call"))
	eventually(t, patience, "the answer", func() error {
		if p := g.post(t, "alice", body); p.status != 200 || string(p.Data) != `"late"` {
			return fmt.Errorf("%d %s", p.status, p.body)
		}
		return nil
	})
	f.mu.Lock()
	defer f.mu.Unlock()
	times := 0
	for _, h := range f.calls {
		if h.Subject == "user:alice" {
			times++
		}
	}
	if times != 1 {
		t.Errorf("the function was called %d times", times)
	}
}
