package calls

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"sluice/gateway/auth"
	"sluice/gateway/live"
	"sluice/shared/store/storetest"
	"sluice/shared/wire"
)

// party is a connection that notes what it is told.
type party struct {
	told  []string
	asked func() // calls it when somebody asks what it is
}

func (p *party) About() wire.Call {
	if ask := p.asked; ask != nil {
		p.asked = nil
		ask()
	}
	return wire.Call{User: "alice", Conn: "c1", Transport: wire.TransportWS}
}
func (p *party) Tell(f wire.ServerFrame) {
	p.told = append(p.told, string(wire.Payload(wire.Frame(f))))
}
func (p *party) Fail(ref string, err error) { p.told = append(p.told, ref+": "+err.Error()) }
func (p *party) Forgotten()                 { p.told = append(p.told, "forgotten") }
func (p *party) heard(t *testing.T, want ...string) {
	t.Helper()
	if got := strings.Join(p.told, "; "); got != strings.Join(want, "; ") {
		t.Errorf("the client is told %q, want %q", got, want)
	}
	p.told = nil
}

// testCalls are some that append nothing, where functions take these kinds.
func testCalls(t *testing.T, takes ...string) *Calls {
	t.Helper()
	st := storetest.Unasked(t, nil)
	x := New(Options{
		Server: "gw", Store: st, Timeout: time.Minute, NoRoom: func(int) string { return "" }, Log: slog.New(slog.DiscardHandler),
		Metrics: &Metrics{
			Calls:   prometheus.NewCounter(prometheus.CounterOpts{Name: "calls"}),
			Refused: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "refused"}, []string{"reason"}),
		},
	})
	x.takes.Store(parseKinds(takes))
	return x
}

func alice(t *testing.T) auth.Identity {
	t.Helper()
	v, err := auth.New(auth.Config{Mode: auth.ModeDev})
	if err != nil {
		t.Fatal(err)
	}
	id, err := v.Await(t.Context(), "dev:alice", time.Now)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// code is that of a refusal, "" for none.
func code(err error) string {
	var refused *wire.FrameError
	if errors.As(err, &refused) {
		return refused.Code
	}
	return ""
}

// TestMay: who may call what, and a gateway that has only begun cannot say that there is no function.
func TestMay(t *testing.T) {
	id := alice(t)
	for _, c := range []struct {
		name  string
		takes *kinds
		id    auth.Identity
		call  string
		data  int
		room  string
		want  string
	}{
		{"it may", parseKinds([]string{"call:chat.*"}), id, "chat.rename", 1, "", ""},
		{"any call", parseKinds([]string{"call"}), id, "rename", 1, "", ""},
		{"before it knows", &kinds{unknown: true}, id, "rename", 1, "", wire.CodeUnavailable},
		{"without functions", parseKinds(nil), id, "rename", 1, "", wire.CodeBadRequest},
		{"for other calls", parseKinds([]string{"call:chat.*", "connected"}), id, "rename", 1, "", wire.CodeBadRequest},
		{"no right", parseKinds([]string{"call"}), auth.Identity{User: "bob"}, "rename", 1, "", wire.CodeForbidden},
		{"too large", parseKinds([]string{"call"}), id, "rename", 64<<10 + 1, "", wire.CodeTooLarge},
		{"too much waits", parseKinds([]string{"call"}), id, "rename", 1, "later", wire.CodeUnavailable},
	} {
		x := testCalls(t)
		x.takes.Store(c.takes)
		x.o.NoRoom = func(int) string { return c.room }
		if got := code(x.May(c.id, &wire.ClientFrame{Name: c.call, Data: []byte(strings.Repeat("1", c.data))})); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

// TestLearn: what functions take counts at once; that they take nothing, when it is seen for longer than workers need to say it again.
func TestLearn(t *testing.T) {
	x := testCalls(t)
	begun := 0
	x.o.Begin = func() { begun++ }
	x.takes.Store(&kinds{unknown: true})
	call := func() string { return code(x.May(alice(t), &wire.ClientFrame{Name: "rename"})) }
	if x.learn(nil); call() != wire.CodeBadRequest {
		t.Errorf("there were no functions at first: %q", call())
	}
	x.learn([]string{"call", "connected"})
	for range 3 {
		for range functionsGone - 1 {
			x.learn(nil)
		}
		if got := call(); got != "" {
			t.Errorf("Redis has just lost it: %q", got)
		}
		x.learn([]string{"call", "connected"})
	}
	if begun != 1 {
		t.Errorf("connections began %d times", begun)
	}
	for range functionsGone {
		x.learn(nil)
	}
	if got := call(); got != wire.CodeBadRequest {
		t.Errorf("there are no functions any more: %q", got)
	}
	for n, kinds := range [][]string{{"disconnected"}, {"disconnected", "connected"}, {"disconnected", "connected", "offline"}} {
		for range 2 {
			if x.learn(kinds); begun != n+2 {
				t.Errorf("where functions take %s, connections began %d times, want %d", kinds, begun, n+2)
			}
		}
	}
}

// TestOrder: a connection's begin stands once before its calls, and its end behind, whoever tells of it; and what no function
// wants to hear is only noted.
func TestOrder(t *testing.T) {
	x := testCalls(t, "connected", "call")
	k := x.NewClient(&party{})
	k.Begin(false, `{"a":1}`)
	k.Begin(false, "")
	if err := k.Call(alice(t), &wire.ClientFrame{Ref: "r1", ID: "k1", Name: "rename", Data: []byte("1")}); err != nil {
		t.Fatal(err)
	}
	k.End(wire.CloseRestart)
	k.Begin(true, "")
	if got := code(k.Call(alice(t), &wire.ClientFrame{Ref: "r2", Name: "rename"})); got != wire.CodeUnavailable {
		t.Errorf("a call after the end: %q", got)
	}
	var got []string
	for _, e := range x.take() {
		got = append(got, fmt.Sprintf("%s %s/%s/%s%s%s silent=%v begun=%v", e.Of, e.Call.Server, e.Call.User, e.Call.Conn, e.Call.Cause, e.State, e.Silent, e.Begun))
	}
	want := []string{
		`begin gw/alice/c1{"a":1} silent=false begun=false`, "call gw/alice/c1 silent=false begun=true", "end gw/alice/c1drained silent=true begun=false",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("functions are to hear\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if x.bytes != 0 || len(x.waiting) != 0 {
		t.Errorf("%d bytes and %d clients still wait", x.bytes, len(x.waiting))
	}
}

// TestEndWhileItBegins: the end of a connection stands behind its begin, also if it ends while that is being told.
func TestEndWhileItBegins(t *testing.T) {
	x := testCalls(t, "connected", "disconnected")
	p := &party{}
	k := x.NewClient(p)
	p.asked = func() { k.End(wire.CloseTooSlow) }
	k.Begin(false, "")
	var got []string
	for _, e := range x.take() {
		got = append(got, fmt.Sprintf("%s %s silent=%v", e.Of, e.Call.Cause, e.Silent))
	}
	if want := "end slow silent=false"; len(got) < 2 || got[len(got)-1] != want || got[len(got)-2] != "begin  silent=false" {
		t.Errorf("functions are to hear %q, want the begin and then %q at the end", got, want)
	}
}

// TestAnswers: each call is answered once, with its own ref; one that takes too long is told so once, and may still be answered.
func TestAnswers(t *testing.T) {
	x := testCalls(t, "call")
	p := &party{}
	k := x.NewClient(p)
	call := func(ref, id string) error {
		return k.Call(alice(t), &wire.ClientFrame{Ref: ref, ID: id, Name: "rename", Data: []byte("1")})
	}
	for n := range mostCalls {
		if err := call(fmt.Sprint("r", n), fmt.Sprint("k", n)); err != nil {
			t.Fatal(err)
		}
	}
	if got := code(call("again", "k0")); got != wire.CodeBadRequest {
		t.Errorf("the same id: %q", got)
	}
	if got := code(call("more", "more")); got != wire.CodeTooMany {
		t.Errorf("one more: %q", got)
	}
	answer := func(what byte, id, text string) {
		k.Answered(&wire.Order{What: what, ID: wire.CallID("alice", id), Text: text})
	}
	answer(wire.OrderReply, "k0", "1")
	answer(wire.OrderReply, "k0", "2")
	answer(wire.OrderReply, "k999", "1")
	p.heard(t, `{"type":"reply","ref":"r0","id":"k0","data":1}`)
	for n := range mostCalls - 2 {
		answer(wire.OrderReply, fmt.Sprint("k", n), "1")
	}
	p.told = nil
	x.tellLate(time.Now())
	p.heard(t)
	x.tellLate(time.Now().Add(2 * time.Minute))
	x.tellLate(time.Now().Add(2 * time.Minute))
	if n := testutil.ToFloat64(x.o.Metrics.Refused.WithLabelValues(callLate)); n != 2 || len(p.told) != 2 || !strings.HasPrefix(p.told[0], "r6") {
		t.Errorf("%v are late, the client is told %q", n, p.told)
	}
	p.told = nil
	answer(wire.OrderFail, fmt.Sprint("k", mostCalls-2), wire.CodeForbidden)
	if len(p.told) != 1 || !strings.HasPrefix(p.told[0], fmt.Sprint("r", mostCalls-2)) || len(x.waiting) != 1 {
		t.Errorf("a failure is told %q, %d clients wait", p.told, len(x.waiting))
	}
	if answer(wire.OrderReply, fmt.Sprint("k", mostCalls-1), "1"); len(x.waiting) != 0 {
		t.Errorf("%d clients wait, though all is answered", len(x.waiting))
	}
}

// TestLateCallsMakeRoom: what a worker said of a call may have been lost, and that takes no place for as long as the connection
// lives; one that Redis did not take in time is not asked any more, and may be asked again with its id.
func TestLateCallsMakeRoom(t *testing.T) {
	x := testCalls(t, "call")
	p := &party{}
	k := x.NewClient(p)
	call := func(id string) string {
		return code(k.Call(alice(t), &wire.ClientFrame{Ref: id, ID: id, Name: "rename"}))
	}
	for n := range mostCalls {
		if got := call(fmt.Sprint("k", n)); got != "" {
			t.Fatalf("call %d: %q", n, got)
		}
	}
	x.tellLate(time.Now().Add(2 * time.Minute))
	p.told = nil
	if got := call("more"); got != "" || len(k.open) != mostCalls || k.open["k0"] != nil {
		t.Errorf("one more, when all are late: %q, %d wait", got, len(k.open))
	}

	batch := x.take()
	for _, e := range batch {
		e.until = e.until.Add(-2 * time.Minute)
		if o := k.open[wire.CallKey(e.Call.ID)]; o != nil {
			o.until = e.until
		}
	}
	batch[1].tried = true
	if err := x.append(t.Context(), batch); err != nil {
		t.Fatal(err)
	}
	p.heard(t, "more: "+wire.CodeUnavailable+": "+live.TryAgain)
	if len(k.open) != 1 || k.open["k1"] == nil {
		t.Errorf("%d wait, want the one that Redis may have", len(k.open))
	}
	if got := call("more"); got != "" {
		t.Errorf("again with the same id: %q", got)
	}
	if err := x.append(t.Context(), batch[mostCalls:]); err != nil || k.open["more"] == nil {
		t.Error("the second one with the id went with the first one")
	}
}

// TestAppended does what Redis says of an event.
func TestAppended(t *testing.T) {
	x := testCalls(t, "connected", "call")
	p := &party{}
	k := x.NewClient(p)
	k.Begin(false, "")
	for _, id := range []string{"full", "gone"} {
		if err := k.Call(alice(t), &wire.ClientFrame{Ref: id, ID: id, Name: "rename"}); err != nil {
			t.Fatal(err)
		}
	}
	batch := x.take()
	if k.isKnown() {
		t.Error("Redis has not the begin")
	}
	batch[0].Done, batch[1].Full = true, true
	x.appended(batch[0])
	if !k.isKnown() {
		t.Error("Redis has the begin")
	}
	x.appended(batch[1])
	p.heard(t, "full: "+errWait.Error())
	x.appended(batch[2])
	p.heard(t, "forgotten")
	if k.End(1000); k.isKnown() {
		t.Error("it has ended")
	}
}

// TestHear: who has no connection hears the first order for its address, until it leaves.
func TestHear(t *testing.T) {
	x := testCalls(t)
	heard, at, leave := x.Hear()
	for _, text := range []string{"1", "2"} {
		if !x.Heard(&wire.Order{Conn: at, Text: text}) {
			t.Error("nobody hears")
		}
	}
	if o := <-heard; o.Text != "1" {
		t.Errorf("it hears %q", o.Text)
	}
	leave()
	if x.Heard(&wire.Order{Conn: at}) || x.Heard(&wire.Order{Conn: "c1"}) {
		t.Error("it has left")
	}
}

// TestWaitingWhileAnother: a client is told that a call is late also when another one of it was answered as this one was made;
// and one whose connection ended meanwhile is not kept.
func TestWaitingWhileAnother(t *testing.T) {
	x := testCalls(t, "call")
	p := &party{}
	k := x.NewClient(p)
	if err := k.Call(alice(t), &wire.ClientFrame{Ref: "1", ID: "1", Name: "rename"}); err != nil {
		t.Fatal(err)
	}
	x.answered(k) // by who has just taken the only other call off
	x.tellLate(time.Now().Add(2 * time.Minute))
	p.heard(t, "1: "+wire.CodeUnavailable+": "+ErrLate.Message)

	p.asked = func() { k.End(wire.CloseExpired) }
	if err := k.Call(alice(t), &wire.ClientFrame{Ref: "2", ID: "2", Name: "rename"}); err != nil {
		t.Fatal(err)
	}
	if x.tellLate(time.Now()); len(x.waiting) != 0 {
		t.Error("who has ended is kept")
	}
}
