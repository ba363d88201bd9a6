package inproc_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"sluice/gateway"
	"sluice/gateway/auth"
	"sluice/shared/wire"
	"sluice/worker"
	"sluice/worker/functions"
)

// functionSecret signs what functions of the tests are sent.
var functionKey = []byte("twenty-four bytes or more")

// heard is what a function was called with.
type heard struct {
	ID, Type, Subject string
	Traceparent       string
	Data              struct {
		Conn, Gateway, Device, Transport, Name, Cause string
		Token, Query, Address                         string
		To, ID, Event, From, Enc                      string
		Seq                                           int
		State, Data                                   json.RawMessage
	}
	at time.Time
}

// traceparent is what W3C wants it to be, with a trace and a span.
var traceparent = regexp.MustCompile(`^00-[0-9a-f]{32}-[0-9a-f]{16}-01$`)

// function is an address that records what it is called with.
type function struct {
	t      testing.TB
	server *httptest.Server
	answer func(h heard) (status int, body string)

	mu    sync.Mutex
	calls []heard
}

func startFunction(t testing.TB, answer func(heard) (int, string)) *function {
	f := &function{t: t, answer: answer}
	f.server = httptest.NewServer(http.HandlerFunc(f.serve))
	t.Cleanup(f.server.Close)
	return f
}

func (f *function) serve(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	mac := hmac.New(sha256.New, functionKey)
	fmt.Fprintf(mac, "%s.%s.%s", r.Header.Get("webhook-id"), r.Header.Get("webhook-timestamp"), body)
	want := "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
	var h heard
	if err = firstError(err, json.Unmarshal(body, &h)); err != nil || r.Header.Get("webhook-signature") != want || h.ID != r.Header.Get("webhook-id") ||
		!traceparent.MatchString(h.Traceparent) || h.Traceparent != r.Header.Get("Traceparent") {
		f.t.Errorf("a function got %q, signed %q, want %q: %v", body, r.Header.Get("webhook-signature"), want, err)
	}
	h.at = time.Now()
	f.mu.Lock()
	f.calls = append(f.calls, h)
	f.mu.Unlock()
	status, text := f.answer(h)
	w.WriteHeader(status)
	_, _ = io.WriteString(w, text)
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// of are the calls of a type, by webhook-id once each, for a user.
func (f *function) of(kind, user string) (calls []heard) {
	f.mu.Lock()
	defer f.mu.Unlock()
	seen := make(map[string]bool)
	for _, h := range f.calls {
		if h.Type == kind && h.Subject == "user:"+user && !seen[h.ID] {
			seen[h.ID] = true
			calls = append(calls, h)
		}
	}
	return calls
}

// serves lets workers call the function for kinds of events.
func (f *function) serves(kinds ...string) func(*worker.Config) {
	return func(c *worker.Config) {
		for i := range kinds {
			kinds[i] += "=" + f.server.URL
		}
		c.Functions = functions.Config{
			Functions: strings.Join(kinds, ","), Secret: "whsec_" + base64.StdEncoding.EncodeToString(functionKey),
			Timeout: 5 * time.Second, RetryFor: time.Hour,
		}
	}
}

// takesCalls waits until a gateway knows what functions take.
func (r *rig) takesCalls(c *client, name string) {
	r.t.Helper()
	n := 0
	eventually(r.t, patience, "calls are taken", func() error {
		n++
		ref := fmt.Sprint("try", n)
		c.send(msg{"type": "ping"}) // a good frame, since too many bad ones in a row end the connection
		c.send(msg{"type": "call", "ref": ref, "name": name})
		if f := c.wait("an answer", func(f frame) bool { return f.Ref == ref }); f.Type != "reply" {
			return fmt.Errorf("%s: %s", f.Code, f.Message)
		}
		return nil
	})
}

// TestCall asks functions: they answer, in order, with what they keep for the connection, and publish.
func TestCall(t *testing.T) {
	t.Parallel()
	f := startFunction(t, func(h heard) (int, string) {
		var n int
		_ = json.Unmarshal(h.Data.State, &n)
		return 200, fmt.Sprintf(`{"reply":{"n":%d,"data":%s},"state":%d,"publish":[{"to":"topic:log","data":%d}]}`, n, orNull(h.Data.Data), n+1, n)
	})
	r := newRig(t)
	g := r.gateway()
	r.worker(f.serves("call:chat.*"))
	alice, bob := join(t, g, "alice", device("phone")), join(t, g, "bob", topics("log"))
	r.takesCalls(alice, "chat.say")
	first := len(f.of("sluice.call", "alice"))
	for i := range 20 {
		alice.send(msg{"type": "call", "ref": fmt.Sprint("c", i), "name": "chat.say", "data": msg{"i": i}, "id": fmt.Sprint("k", i)})
	}
	for i := range 20 {
		reply := alice.wait("a reply", func(f frame) bool { return f.Ref == fmt.Sprint("c", i) })
		if want := fmt.Sprintf(`{"n":%d,"data":{"i":%d}}`, first+i, i); reply.Type != "reply" || string(reply.Data) != want || reply.ID != fmt.Sprint("k", i) {
			t.Fatalf("reply %d: %s %s %s, want %s", i, reply.Type, reply.ID, reply.Data, want)
		}
	}
	for i, h := range f.of("sluice.call", "alice") {
		if h.Data.Seq != i+1 || h.Data.Device != "phone" || h.Data.Name != "chat.say" || h.Data.Transport != "ws" || h.Data.Gateway != g.name {
			t.Errorf("call %d: %+v", i, h)
		}
	}
	bob.mustHave(patience, "topic:log", 0, first+20)
	traces := make(map[string]bool)
	for _, h := range f.of("sluice.call", "alice") {
		traces[h.Traceparent] = true
	}
	for _, e := range r.rdb.XRange(ctx, r.key("topic:log", "history"), "-", "+").Val() {
		trace, _ := e.Values["traceparent"].(string)
		if !traces[trace] {
			t.Errorf("what a function published has the trace %q, which is that of no call", trace)
		}
		delete(traces, trace) // each call has its own
	}
	alice.send(msg{"type": "call", "ref": "other", "name": "other"})
	if f := alice.wait("a refusal", func(f frame) bool { return f.Ref == "other" }); f.Code != "bad_request" {
		t.Errorf("a call that no function takes: %+v", f)
	}
}

func orNull(data json.RawMessage) string {
	if len(data) == 0 {
		return "null"
	}
	return string(data)
}

// TestCallFails tries functions that fail again, holds up only those behind, and gives up.
func TestCallFails(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	failures := map[string]int{"again": 2}
	f := startFunction(t, func(h heard) (int, string) {
		mu.Lock()
		defer mu.Unlock()
		if h.Data.Name == "gone" {
			return 410, "no more"
		}
		if failures[h.Data.Name]--; failures[h.Data.Name] >= 0 {
			return 503, "not now"
		}
		return 200, fmt.Sprintf(`{"reply":%q}`, h.Data.Name)
	})
	r := newRig(t)
	g := r.gateway()
	r.worker(f.serves("call"))
	alice, bob := join(t, g, "alice"), join(t, g, "bob")
	r.takesCalls(alice, "x")
	for _, name := range []string{"again", "behind", "gone", "last"} {
		alice.send(msg{"type": "call", "ref": name, "name": name})
	}
	bob.send(msg{"type": "call", "ref": "other", "name": "other"})
	bob.wait("a reply for another user", func(f frame) bool { return f.Type == "reply" && f.Ref == "other" })
	for _, name := range []string{"again", "behind", "last"} {
		alice.wait("the reply of "+name, func(f frame) bool { return f.Type == "reply" && f.Ref == name })
	}
	if f := alice.wait("a refusal", func(f frame) bool { return f.Ref == "gone" }); f.Code != "unavailable" {
		t.Errorf("a call whose function has gone: %+v", f)
	}
	var names []string
	for _, h := range f.of("sluice.call", "alice") {
		if h.Data.Name != "x" {
			names = append(names, h.Data.Name)
		}
	}
	if fmt.Sprint(names) != "[again behind gone last]" {
		t.Errorf("the calls came as %v", names)
	}
	dead := r.rdb.XRange(ctx, "sluice:dead", "-", "+").Val()
	if len(dead) != 1 || dead[0].Values["reason"] != "function_gone" || dead[0].Values["f:status"] != "410" || dead[0].Values["f:answer"] != "no more" {
		t.Errorf("dead letters: %v", dead)
	}
}

// TestConnectedAndDisconnected tells functions of each connection's begin and end, once, however it ends.
func TestConnectedAndDisconnected(t *testing.T) {
	t.Parallel()
	f := startFunction(t, func(heard) (int, string) { return 204, "" })
	r := newRig(t)
	r.cfg.SessionTTL = 6 * time.Second
	quick := func(c *gateway.Config) { c.PingInterval = 2 * time.Second }
	g1, g2 := r.gateway(quick), r.gateway(quick)
	w := r.worker(f.serves("call", "connected", "disconnected"))
	probe := join(t, g1, "probe")
	r.takesCalls(probe, "x")
	probe = join(t, g2, "probe")
	r.takesCalls(probe, "x")

	left, killed, lost := join(t, g1, "left"), join(t, g1, "killed"), join(t, g2, "lost")
	for _, c := range []string{"left", "killed", "lost"} {
		eventually(t, patience, "connected", func() error {
			if calls := f.of("sluice.connected", c); len(calls) != 1 || calls[0].Data.Seq != 1 {
				return fmt.Errorf("%s: %+v", c, calls)
			}
			return nil
		})
	}
	w.stop() // what ends meanwhile is told later
	left.leave()
	killed.kill()
	g2.crash()
	r.worker(f.serves("call", "connected", "disconnected"))
	for name, cause := range map[string]string{"left": "closed", "killed": "closed", "lost": "lost"} {
		eventually(t, patience, "disconnected", func() error {
			if calls := f.of("sluice.disconnected", name); len(calls) != 1 || calls[0].Data.Cause != cause || calls[0].Data.Seq != 2 {
				return fmt.Errorf("%s: %+v", name, calls)
			}
			return nil
		})
	}
	_ = lost
	if n := len(f.of("sluice.connected", "lost")); n != 1 {
		t.Errorf("connected came %d times", n)
	}
}

// TestConnectedBehindACall: a connection was there, and has called, before functions wanted to hear of begins; then they hear that it is
// there, and that it has ended.
func TestConnectedBehindACall(t *testing.T) {
	t.Parallel()
	for _, before := range [][]string{{"call"}, {"call", "disconnected"}, {"call", "offline"}} {
		t.Run(strings.Join(before, " and "), func(t *testing.T) {
			t.Parallel()
			connectedBehindACall(t, before)
		})
	}
}

func connectedBehindACall(t *testing.T, before []string) {
	f := startFunction(t, func(heard) (int, string) { return 204, "" })
	r := newRig(t)
	g := r.gateway()
	w := r.worker(f.serves(before...))
	alice := join(t, g, "alice")
	r.takesCalls(alice, "x")
	w.stop()
	r.worker(f.serves("call", "connected", "disconnected"))
	told := func(kind string) heard {
		t.Helper()
		eventually(t, patience, kind, func() error {
			if calls := f.of("sluice."+kind, "alice"); len(calls) != 1 {
				return fmt.Errorf("%+v", calls)
			}
			return nil
		})
		return f.of("sluice."+kind, "alice")[0]
	}
	connected := told("connected")
	alice.send(msg{"type": "call", "ref": "last", "name": "x"})
	alice.wait("a reply", func(f frame) bool { return f.Ref == "last" })
	alice.leave()
	disconnected, calls := told("disconnected"), f.of("sluice.call", "alice")
	if seq := connected.Data.Seq; seq != len(calls) || calls[len(calls)-1].Data.Seq != seq+1 || disconnected.Data.Seq != seq+2 {
		t.Errorf("connected is %d, the last of %d calls %+v, disconnected %d", seq, len(calls), calls[len(calls)-1], disconnected.Data.Seq)
	}
}

// TestEndOfALostConnectionCounts: a gateway that cannot reach Redis for longer than its sessions live finds that functions
// have heard of the ends of its connections, and sends these away. Who comes back is another connection.
func TestEndOfALostConnectionCounts(t *testing.T) {
	t.Parallel()
	f := startFunction(t, func(heard) (int, string) { return 200, "" })
	r := newRig(t)
	r.cfg.SessionTTL = 6 * time.Second
	g := r.gateway(func(c *gateway.Config) { c.PingInterval = 2 * time.Second })
	r.worker(f.serves("call", "connected", "disconnected"))
	probe := join(t, g, "probe")
	r.takesCalls(probe, "x")
	alice := join(t, g, "alice")
	came := func(kind string, n int, cause string) {
		t.Helper()
		eventually(t, patience, kind, func() error {
			calls := f.of(kind, "alice")
			if len(calls) != n || calls[n-1].Data.Cause != cause {
				return fmt.Errorf("%+v", calls)
			}
			return nil
		})
	}
	came("sluice.connected", 1, "")
	g.via.freeze()
	came("sluice.disconnected", 1, "lost")
	g.via.thaw()
	alice.mustClose(patience, 1012)
	again := join(t, g, "alice")
	came("sluice.connected", 2, "")
	again.leave()
	came("sluice.disconnected", 2, "closed")
}

// callOwners says how many partitions' calls each worker owns.
func (r *rig) callOwners() map[string]int {
	owned := make(map[string]int)
	for p := range r.cfg.Partitions {
		if owner := r.rdb.Get(ctx, r.keyOf(p, "calls-lease")).Val(); owner != "" {
			owned[owner]++
		}
	}
	return owned
}

// TestCallsAreShared: workers that call functions share the partitions' calls, and the calls of a connection stay in order
// when they come and go. Who has no functions has no share.
func TestCallsAreShared(t *testing.T) {
	t.Parallel()
	f := startFunction(t, func(h heard) (int, string) { return 200, `{"reply":1}` })
	r := newRig(t)
	g := r.gateway()
	r.worker() // without functions
	w1 := r.worker(f.serves("call"))
	shared := func(want ...string) {
		t.Helper()
		eventually(t, patience, "calls are shared", func() error {
			owned := r.callOwners()
			for _, name := range want {
				if owned[name] != r.cfg.Partitions/len(want) {
					return fmt.Errorf("%v, want equal shares of %v", owned, want)
				}
			}
			return nil
		})
	}
	shared(w1.name)
	var clients []*client
	for i := range 8 {
		clients = append(clients, join(t, g, fmt.Sprint("user", i)))
	}
	r.takesCalls(clients[0], "x")
	asked := 0
	ask := func() {
		for range 20 {
			asked++
			for _, c := range clients {
				c.send(msg{"type": "call", "ref": fmt.Sprint(asked), "name": "n", "id": fmt.Sprint(asked)})
			}
		}
	}
	ask()
	w2 := r.worker(f.serves("call"))
	shared(w1.name, w2.name)
	ask()
	w1.stop()
	ask()
	shared(w2.name)
	for i, c := range clients {
		for n := 1; n <= asked; n++ {
			c.wait("a reply", func(f frame) bool { return f.Type == "reply" && f.Ref == fmt.Sprint(n) })
		}
		seq := 0
		for _, h := range f.of("sluice.call", fmt.Sprint("user", i)) {
			if h.Data.Seq != seq+1 {
				t.Fatalf("user %d: after %d came %d", i, seq, h.Data.Seq)
			}
			seq = h.Data.Seq
		}
		if seq < asked {
			t.Errorf("user %d: %d calls came, want %d", i, seq, asked)
		}
	}
}

// TestGoClientCalls: the Go client's calls go over breaks under their ids, and each has its reply.
func TestGoClientCalls(t *testing.T) {
	t.Parallel()
	f := startFunction(t, func(h heard) (int, string) { return 200, fmt.Sprintf(`{"reply":{"got":%s}}`, orNull(h.Data.Data)) })
	r := newRig(t)
	g := r.gateway()
	r.worker(f.serves("call"))
	r.takesCalls(join(t, g, "probe"), "n")
	c := newGoClient(t, g, "alice")
	for n := range 12 {
		cut := make(chan struct{})
		go func() {
			defer close(cut)
			if n%4 == 1 { // while the call is on its way, or before it
				c.road.cut()
			}
		}()
		data, err := c.Call(t.Context(), "n", n)
		if want := fmt.Sprintf(`{"got":%d}`, n); err != nil || string(data) != want {
			t.Fatalf("%s, %v, want %s", data, err, want)
		}
		<-cut
	}
	for i, h := range f.of("sluice.call", "alice") { // by webhook-id once each
		if string(h.Data.Data) != fmt.Sprint(i) {
			t.Errorf("call %d was heard as %s", i, h.Data.Data)
		}
	}
}

// TestEndsWhileRedisIsAway: what happens to connections while Redis restarts is told once, when it is back.
func TestEndsWhileRedisIsAway(t *testing.T) {
	t.Parallel()
	f := startFunction(t, func(heard) (int, string) { return 200, `{"reply":1}` })
	r := newRig(t)
	r.cfg.SessionTTL = 6 * time.Second
	quick := func(c *gateway.Config) { c.PingInterval = 2 * time.Second }
	g, crashing := r.gateway(quick), r.gateway(quick)
	r.worker(f.serves("call", "connected", "disconnected"))
	r.takesCalls(join(t, g, "probe"), "x")
	r.takesCalls(join(t, crashing, "probe"), "x")
	left, killed, stays := join(t, g, "left"), join(t, g, "killed"), join(t, g, "stays")
	join(t, crashing, "lost")
	told := func(kind, user string, n int, cause string) {
		t.Helper()
		eventually(t, patience, kind+" of "+user, func() error {
			calls := f.of("sluice."+kind, user)
			if len(calls) != n || n > 0 && calls[0].Data.Cause != cause {
				return fmt.Errorf("%+v", calls)
			}
			return nil
		})
	}
	for _, user := range []string{"left", "killed", "stays", "lost"} {
		told("connected", user, 1, "")
	}
	r.redis.stop()
	left.leave()
	killed.kill()
	crashing.crash()
	if err := r.redis.start(t); err != nil {
		t.Fatal(err)
	}
	told("disconnected", "left", 1, "closed")
	told("disconnected", "killed", 1, "closed")
	told("disconnected", "lost", 1, "lost")
	told("disconnected", "stays", 0, "")
	r.takesCalls(stays, "x")
	stays.leave()
	told("disconnected", "stays", 1, "closed")
	for _, user := range []string{"left", "killed", "lost"} {
		told("connected", user, 1, "")
		told("disconnected", user, 1, f.of("sluice.disconnected", user)[0].Data.Cause)
	}
}

// TestRetriesLeaveNothing: what says that an event is to be tried again is not kept, also while another event waits for long.
func TestRetriesLeaveNothing(t *testing.T) {
	t.Parallel()
	hold := make(chan struct{})
	var mu sync.Mutex
	failures := 2
	f := startFunction(t, func(h heard) (int, string) {
		mu.Lock()
		defer mu.Unlock()
		switch h.Data.Name {
		case "hold":
			mu.Unlock()
			<-hold
			mu.Lock()
		case "again":
			if failures--; failures >= 0 {
				return 503, "not now"
			}
		}
		return 200, `{"reply":1}`
	})
	defer close(hold)
	r := newRig(t)
	g := r.gateway()
	r.worker(f.serves("call"), func(c *worker.Config) { c.Functions.Timeout = time.Minute })
	alice, bob := join(t, g, "alice"), join(t, g, "bob")
	r.takesCalls(alice, "x")
	bob.send(msg{"type": "call", "ref": "hold", "name": "hold"})
	eventually(t, patience, "a call is under way", func() error {
		if n := len(f.of("sluice.call", "bob")); n != 1 {
			return fmt.Errorf("%d calls", n)
		}
		return nil
	})
	alice.send(msg{"type": "call", "ref": "again", "name": "again"})
	alice.wait("a reply", func(f frame) bool { return f.Type == "reply" && f.Ref == "again" })
	eventually(t, patience, "nothing is left", func() error {
		if left := r.rdb.XRange(ctx, r.key("user:alice", "calls"), "-", "+").Val(); len(left) > 0 {
			return fmt.Errorf("%v", left)
		}
		return nil
	})
}

// TestTargetsOfOthers: a function cannot give a connection the target of another user, whose session nobody would renew there, and
// whose kicks would end it.
func TestTargetsOfOthers(t *testing.T) {
	t.Parallel()
	f := startFunction(t, func(h heard) (int, string) { return 200, `{"reply":1,"subscribe":["user:bob","topic:given"]}` })
	r := newRig(t)
	r.cfg.SessionTTL = 6 * time.Second
	g := r.gateway(func(c *gateway.Config) { c.PingInterval = 2 * time.Second })
	r.worker(f.serves("call"))
	alice := join(t, g, "alice")
	r.takesCalls(alice, "x")
	alice.waitSubscribed("topic:given")
	r.kick("bob")
	r.add("intake", "topic:given", 0, 1)
	alice.mustHave(patience, "topic:given", 0, 1)
	for _, frame := range alice.everything() {
		if frame.To == "user:bob" {
			t.Errorf("alice is told %+v", frame)
		}
	}
}

// TestGivenTargetsStay: what a function has given a connection it has as long as it is subscribed to it, whatever its token says, also
// a later one; and it may ask for it from another position.
func TestGivenTargetsStay(t *testing.T) {
	t.Parallel()
	f := startFunction(t, func(h heard) (int, string) {
		switch {
		case h.Type == "sluice.connect":
			return 200, `{"user":"alice","claims":{"call":["*"]}}`
		case h.Data.Name == "give":
			return 200, `{"reply":1,"subscribe":["topic:given"]}`
		}
		return 200, `{"reply":1}`
	})
	r := newRig(t)
	g := r.gateway(func(c *gateway.Config) { c.Auth = auth.Config{Mode: auth.ModeFunction} })
	r.worker(f.serves("connect", "call"))
	var c *websocket.Conn
	eventually(t, patience, "alice is let in", func() (err error) {
		var code int
		if c, code = withToken(t, g, "alice", false); code != 0 {
			err = fmt.Errorf("closed with %d", code)
		}
		return err
	})
	for _, step := range []struct {
		frame msg
		want  string
	}{
		{msg{"type": "call", "ref": "give", "name": "give"}, `"topic:given"`},
		{msg{"type": "auth", "token": "alice"}, `"type":"authorized"`},
		{msg{"type": "subscribe", "ref": "again", "to": "topic:given", "after": "earliest"}, `"type":"subscribed","ref":"again"`},
		{msg{"type": "unsubscribe", "ref": "no more", "to": "topic:given"}, `"type":"unsubscribed","ref":"no more"`},
		{msg{"type": "subscribe", "ref": "back", "to": "topic:given"}, `"code":"forbidden"`},
	} {
		if err := c.WriteJSON(step.frame); err != nil {
			t.Fatal(err)
		}
		if code := until(c, step.want); code != 0 {
			t.Fatalf("%v: closed with %d, want %s", step.frame, code, step.want)
		}
	}
}

// TestDeviceUnsubscribedByAFunction: a device does not come back with what a function has ended for it.
func TestDeviceUnsubscribedByAFunction(t *testing.T) {
	t.Parallel()
	f := startFunction(t, func(h heard) (int, string) {
		return 200, fmt.Sprintf(`{"reply":1,%q:["topic:room"]}`, h.Data.Name)
	})
	r := newRig(t)
	g := r.gateway()
	r.worker(f.serves("call"))
	phone := dial(t, g, "alice", asDevice("alice", "phone"))
	r.takesCalls(phone, "subscribe")
	phone.waitSubscribed("topic:room")
	phone.send(msg{"type": "call", "name": "unsubscribe"})
	phone.wait("unsubscribed", func(f frame) bool { return f.Type == "unsubscribed" && f.To == "topic:room" })
	phone.kill()
	back := dial(t, g, "alice", asDevice("alice", "phone"))
	back.waitSubscribed("all")
	back.send(msg{"type": "ping"})
	back.wait("pong", func(f frame) bool { return f.Type == "pong" })
	if frames := back.all("topic:room"); len(frames) > 0 {
		t.Errorf("it has come back to %+v", frames[0])
	}
}

// TestOrdersInTurn: what functions want of a connection's targets is done in the order in which they want it, however fast it comes, and
// what cannot be done is told.
func TestOrdersInTurn(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	g := r.gateway(func(c *gateway.Config) { c.MaxTargets = 3 })
	c := join(t, g, "alice")
	conn := c.wait("welcome", func(f frame) bool { return f.Type == "welcome" }).Conn
	const rooms = 100
	var orders []wire.Order
	for i := range rooms {
		for _, what := range []byte{wire.OrderSubscribe, wire.OrderUnsubscribe} {
			orders = append(orders, wire.Order{Conn: conn, What: what, Text: fmt.Sprint("topic:room-", i)})
		}
	}
	for _, name := range []string{"last", "last", "over"} {
		orders = append(orders, wire.Order{Conn: conn, What: wire.OrderSubscribe, Text: "topic:" + name})
	}
	if err := r.rdb.Publish(ctx, r.cfg.Prefix+"server:"+g.name, wire.AppendOrders(nil, orders)).Err(); err != nil {
		t.Fatal(err)
	}
	c.wait("an error", func(f frame) bool { return f.Type == "error" && f.To == "topic:over" && f.Code == "too_many" })
	var got, want []string
	for _, f := range c.everything() {
		if strings.HasPrefix(f.To, "topic:") {
			got = append(got, f.Type+" "+f.To)
		}
	}
	for i := range rooms {
		want = append(want, fmt.Sprint("subscribed topic:room-", i), fmt.Sprint("unsubscribed topic:room-", i))
	}
	want = append(want, "subscribed topic:last", "error topic:over")
	if !slices.Equal(got, want) {
		t.Errorf("the client is told %q", got)
	}
}
