package inproc_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/redis/go-redis/v9"

	"sluice/gateway"
	"sluice/gateway/auth"
	"sluice/shared/store"
	"sluice/shared/wire"
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

// asks lets a gateway ask a function who its clients are.
func asks(c *gateway.Config) {
	c.Auth, c.ConnectTimeout = auth.Config{Mode: auth.ModeFunction}, time.Minute
	c.Listen.TrustedProxies = prefixes("127.0.0.0/8")
}

// letsIn waits until functions say who clients are.
func (g *gatewayProcess) letsIn(t *testing.T) {
	t.Helper()
	eventually(t, patience, "clients are let in", func() error {
		if _, code := withToken(t, g, "user probe", false); code != 0 {
			return fmt.Errorf("closed with %d", code)
		}
		return nil
	})
}

// TestConnectQueueIsFull: of one address functions are asked about so many clients at a time, and so many wait for that. Who comes then is sent
// away at once, and counted; those of other addresses are not, and who waits has its turn.
func TestConnectQueueIsFull(t *testing.T) {
	t.Parallel()
	const room, more = 32 + 128, 20
	hang := make(chan struct{})
	var once sync.Once
	goOn := func() { once.Do(func() { close(hang) }) }
	f := startFunction(t, func(h heard) (int, string) {
		if h.Data.Token == "hang" {
			<-hang
		}
		return 200, `{"user":"alice"}`
	})
	defer goOn()
	r := newRig(t)
	g := r.gateway(asks)
	r.worker(func(c *worker.Config) { f.serves("connect")(c); c.Functions.Timeout = time.Minute })
	g.letsIn(t)
	codes := make(chan int, room+more)
	for i := range room + more {
		go func() {
			_, code := withToken(t, g, "hang", i%2 == 0)
			codes <- code
		}()
	}
	outcome := func(n, want int) {
		t.Helper()
		for i := range n {
			if code, came := await(codes, patience); !came || code != want {
				t.Fatalf("client %d of %d was closed with %d (it was: %v), want %d", i, n, code, came, want)
			}
		}
	}
	outcome(more, 1013) // while all others hang
	if n := g.metric("sluice_gateway_refused_total", "reason", "asks"); n != more {
		t.Errorf("%v were counted, want %d", n, more)
	}
	other, resp, err := websocket.DefaultDialer.Dial("ws://"+g.addr+"/v1/ws", http.Header{"Authorization": {"Bearer user bob"}, "X-Forwarded-For": {"203.0.113.1"}})
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	t.Cleanup(func() { _ = other.Close() })
	if code := until(other, "welcome"); code != 0 {
		t.Errorf("a client of another address was closed with %d", code)
	}
	goOn()
	outcome(room, 0)
	if n := g.metric("sluice_gateway_refused_total", "reason", "asks"); n != more {
		t.Errorf("%v were counted in the end, want %d", n, more)
	}
}

// TestWorkerAsksSoMany: a worker holds so many clients of whom a function is to say who they are. Those who come then hear at once that
// nobody does, and are counted; the others have their answer.
func TestWorkerAsksSoMany(t *testing.T) {
	t.Parallel()
	const room, more = 1024, 40
	hang := make(chan struct{})
	var once sync.Once
	goOn := func() { once.Do(func() { close(hang) }) }
	f := startFunction(t, func(heard) (int, string) {
		<-hang
		return 200, `{"user":"alice"}`
	})
	defer goOn()
	r := newRig(t)
	w := r.worker(func(c *worker.Config) { f.serves("connect")(c); c.Functions.Timeout = time.Minute })
	st, err := store.Open(r.cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = st.Close() }()
	sub := r.rdb.Subscribe(ctx, r.cfg.Prefix+"server:test")
	defer func() { _ = sub.Close() }()
	if _, err := sub.Receive(ctx); err != nil {
		t.Fatal(err)
	}
	for i := range room + more {
		err := st.AskConnect(ctx, &wire.Connect{
			Server: "test", Ask: fmt.Sprint("a", i), Until: uint64(time.Now().Add(5 * time.Minute).UnixMilli()), Token: "t", Transport: wire.TransportWS, Address: "192.0.2.1",
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	answers, asked := sub.Channel(redis.WithChannelSize(2*(room+more))), map[string]bool{}
	outcome := func(n int, want byte) {
		t.Helper()
		for range n {
			answer, came := await(answers, patience)
			if !came {
				t.Fatalf("%d of %d were answered", len(asked), n)
			}
			m, err := wire.ParseMessage(answer.Payload)
			if err != nil || len(m.Orders) != 1 || m.Orders[0].What != want || asked[m.Orders[0].Conn] {
				t.Fatalf("the answer is %+v (%v), want one %q", m.Orders, err, want)
			}
			asked[m.Orders[0].Conn] = true
		}
	}
	outcome(more, wire.OrderFail) // while all others hang
	if n := w.metric("sluice_worker_functions_total", "kind", "connect", "outcome", "full"); n != more {
		t.Errorf("%v were counted, want %d", n, more)
	}
	goOn()
	outcome(room, wire.OrderGrant)
}

// TestClusterConnectByAFunction: the same on a Cluster, whichever node has what is asked.
func TestClusterConnectByAFunction(t *testing.T) {
	t.Parallel()
	f := startFunction(t, func(h heard) (int, string) {
		if h.Data.Token == "close" {
			return 200, `{"close":{"code":4123,"reason":"no"}}`
		}
		return 200, `{"user":"alice","subscribe":["topic:granted"]}`
	})
	r, nodes := newClusterRig(t)
	g := r.gateway(asks)
	r.worker(f.serves("connect"))
	g.letsIn(t)
	on := func() (asked int) { // nodes that have been asked
		for _, n := range nodes {
			node := redis.NewClient(&redis.Options{Addr: n.Addr()})
			if slices.ContainsFunc(node.Keys(ctx, "*:connects").Val(), func(key string) bool {
				return node.XInfoStream(ctx, key).Val().LastGeneratedID != "0-0" // a worker makes it
			}) {
				asked++
			}
			_ = node.Close()
		}
		return asked
	}
	for i := 0; i < 20 || i < 200 && on() < len(nodes); i++ {
		c, code := withToken(t, g, "user alice", i%2 == 0)
		if code == 0 {
			code = until(c, `"topic:granted"`)
		}
		if code != 0 {
			t.Fatalf("client %d was closed with %d", i, code)
		}
		_ = c.Close()
	}
	if n := on(); n != len(nodes) {
		t.Errorf("%d nodes have been asked", n)
	}
	if _, code := withToken(t, g, "close", true); code != 4123 {
		t.Errorf("closed with %d, want 4123", code)
	}
}
