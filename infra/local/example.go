package local

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	"sluice/shared/outbound"
	"sluice/worker/functions"
)

const (
	exampleEvents = 100     // are remembered
	exampleText   = 300     // bytes of each part of one
	exampleBody   = 1 << 20 // bytes of a request
	exampleFails  = 2       // times, before "fail" is answered
	exampleTries  = 1000    // events that failed are remembered
	exampleRoom   = "topic:room-1"
)

// example is the playground's function, which tells what it is called with. The names that it knows: count, which counts in the
// connection's state; say, which publishes; fail, which fails twice before it answers. It replies to all others with what they
// sent.
type example struct {
	keys     outbound.Keys
	listener net.Listener
	server   *http.Server
	served   chan struct{} // closed when it has ended

	mu     sync.Mutex
	events []exampleEvent
	tries  map[string]int // of events that have failed, by id
}

// exampleEvent is what the page shows of one attempt.
type exampleEvent struct {
	N      int    `json:"n"`
	At     int64  `json:"at"` // Unix ms
	Try    int    `json:"try"`
	Type   string `json:"type"`
	User   string `json:"user"`
	Seq    int    `json:"seq"`
	Status int    `json:"status"`
	About  string `json:"about"` // the call's name, or the cause
	Data   string `json:"data"`
	Answer string `json:"answer"`
}

// startExample starts the function, and says in cfg that there is one.
func startExample(cfg *functions.Config) (*example, error) {
	key := make([]byte, 32)
	_, _ = rand.Read(key)
	cfg.Secret = "whsec_" + base64.StdEncoding.EncodeToString(key)
	keys, err := outbound.ParseKeys(cfg.Secret)
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("the playground's function cannot listen: %w", err)
	}
	x := &example{keys: keys, listener: l, served: make(chan struct{}), tries: make(map[string]int)}
	x.server = &http.Server{Handler: http.HandlerFunc(x.serve), ReadTimeout: 10 * time.Second, WriteTimeout: 10 * time.Second}
	cfg.Functions = "call+connected+disconnected=http://" + l.Addr().String() + "/"
	go func() {
		defer close(x.served)
		_ = x.server.Serve(l) // ends with stop
	}()
	return x, nil
}

func (x *example) stop() {
	_ = x.server.Close()
	<-x.served
}

// received is what is read of an event.
type received struct {
	ID, Type, Subject string
	Data              struct {
		Name, Cause string
		Seq         int
		Data, State json.RawMessage
	}
}

func (x *example) serve(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, exampleBody))
	var e received
	if err == nil && !x.isSigned(r.Header, body) {
		err = errors.New("the signature is wrong")
	}
	if err == nil {
		err = json.Unmarshal(body, &e)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusUnauthorized)
		return
	}
	status, answer := x.answer(&e)
	w.WriteHeader(status)
	_, _ = w.Write(answer)
}

// isSigned reports whether the one signature is that of these bytes.
func (x *example) isSigned(h http.Header, body []byte) bool {
	seconds, err := strconv.ParseInt(h.Get("Webhook-Timestamp"), 10, 64)
	right := http.Header{}
	x.keys.Sign(right, h.Get("Webhook-Id"), time.Unix(seconds, 0), body)
	return err == nil && right.Get("Webhook-Signature") == h.Get("Webhook-Signature")
}

// answer is what the function does.
func (x *example) answer(e *received) (status int, answer []byte) {
	x.mu.Lock()
	defer x.mu.Unlock()
	try := x.tries[e.ID] + 1
	var text map[string]any
	switch status = http.StatusOK; {
	case e.Type != "sluice.call":
		text = map[string]any{}
	case e.Data.Name == "count":
		var n int
		_ = json.Unmarshal(e.Data.State, &n) // null at first
		text = map[string]any{"reply": n + 1, "state": n + 1}
	case e.Data.Name == "say":
		text = map[string]any{"reply": "said", "publish": []any{map[string]any{"to": exampleRoom, "data": e.Data.Data}}}
	case e.Data.Name == "fail" && try <= exampleFails && len(x.tries) < exampleTries:
		status, text = http.StatusServiceUnavailable, map[string]any{"error": "not now"}
		x.tries[e.ID] = try
	default:
		text = map[string]any{"reply": e.Data.Data}
	}
	if status == http.StatusOK {
		delete(x.tries, e.ID)
	}
	answer, _ = json.Marshal(text) // nothing in it can fail
	n := 1
	if len(x.events) > 0 {
		n = x.events[len(x.events)-1].N + 1
	}
	if len(x.events) == exampleEvents {
		x.events = x.events[1:]
	}
	x.events = append(x.events, exampleEvent{
		N: n, At: time.Now().UnixMilli(), Try: try, Type: e.Type, User: e.Subject, Seq: e.Data.Seq, Status: status,
		About: shorten(e.Data.Name + e.Data.Cause), Data: shorten(string(e.Data.Data)), Answer: shorten(string(answer)),
	})
	return status, answer
}

func shorten(s string) string {
	if len(s) > exampleText {
		return s[:exampleText] + "…"
	}
	return s
}

// log answers the page with what was heard, oldest first.
func (x *example) log(w http.ResponseWriter, _ *http.Request) {
	x.mu.Lock()
	defer x.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(append([]exampleEvent{}, x.events...))
}
