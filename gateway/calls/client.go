package calls

import (
	"crypto/rand"
	"encoding/json"
	"sync"
	"time"

	"sluice/gateway/auth"
	"sluice/gateway/live"
	"sluice/shared/store"
	"sluice/shared/wire"
)

// Conn is a connection of which functions hear. It is called while no lock of this package is held, and does not wait.
type Conn interface {
	// About is what every event of it says: its User, Conn, Device and Transport.
	About() wire.Call
	Tell(f wire.ServerFrame)
	Fail(ref string, err error)
	// Forgotten ends a connection that is not there for functions any more: this process stood still for longer than its sessions
	// live, so they have heard of its end, or Redis has lost its data.
	Forgotten()
}

// Client is what a connection has to do with functions.
type Client struct {
	calls *Calls
	conn  Conn

	mu    sync.Mutex
	begun bool // functions may have heard of it
	known bool // they will: Redis has it
	over  bool
	code  int // of the close, when it is over
	open  map[string]*openCall
}

// openCall is a call that is not answered.
type openCall struct {
	ref   string
	until time.Time
	late  bool // the client was told that no answer has come
}

// NewClient makes the part of a connection.
func (x *Calls) NewClient(c Conn) *Client { return &Client{calls: x, conn: c} }

// event is one of the connection.
func (k *Client) event(of store.CallOf, about wire.Call, kind, id string) *event {
	about.Kind, about.ID, about.Server, about.Trace = kind, id, k.calls.o.Server, wire.NewTrace()
	return &event{client: k, Calling: store.Calling{Of: of, Call: about}}
}

// Begin tells functions that the connection is there, with a state that was given to it, JSON, or ""; once, or also again: they
// are to hear more of it.
func (k *Client) Begin(again bool, state string) {
	k.mu.Lock()
	done := k.begun && !again || k.over
	k.begun = true
	k.mu.Unlock()
	if done {
		return
	}
	takes := k.calls.takes.Load()
	about := k.conn.About()
	e := k.event(store.CallBegin, about, wire.ConnectedKind, wire.ConnectedID(about.Conn))
	e.Silent, e.State, e.Presence = !takes.connected, state, takes.presence
	k.calls.add(e)
	k.mu.Lock()
	over, code := k.over, k.code
	k.mu.Unlock()
	if over { // meanwhile: its end, which may be repeated, stands behind the begin
		k.tellEnd(code, true)
	}
}

// End tells functions that the connection has ended, by a close with this code.
func (k *Client) End(code int) {
	k.mu.Lock()
	begun := k.begun
	k.over, k.code = true, code
	k.mu.Unlock()
	k.calls.answered(k)
	k.tellEnd(code, begun)
}

func (k *Client) tellEnd(code int, begun bool) {
	takes := k.calls.takes.Load()
	about := k.conn.About()
	e := k.event(store.CallEnd, about, wire.DisconnectedKind, wire.DisconnectedID(about.Conn))
	e.Call.Cause = causeOf(code)
	e.Silent, e.Presence = !takes.disconnected || !begun, takes.presence
	k.calls.add(e)
}

// causeOf tells functions why a connection has ended.
func causeOf(code int) string {
	switch code {
	case wire.CloseExpired:
		return wire.CauseExpired
	case wire.CloseTooSlow:
		return wire.CauseSlow
	case wire.CloseForbidden:
		return wire.CauseKicked
	case wire.CloseRestart, wire.CloseOverloaded:
		return wire.CauseDrained
	case wire.CloseBadRequest, wire.CloseUnauthorized, wire.CloseRateLimited, wire.CloseProtocol, wire.CloseUnsupported,
		wire.CloseInvalidText, wire.CloseTooLarge:
		return wire.CauseRefused
	}
	return wire.CauseClosed
}

// isBegun says that Redis has the begin.
func (k *Client) isBegun() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.known = true
}

// isKnown reports whether functions hear of the connection, which is still there.
func (k *Client) isKnown() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.known && !k.over
}

// Call asks a function, if May allows it. Its answer comes from a worker: Answered must be called then. An error is for the client.
func (k *Client) Call(id auth.Identity, f *wire.ClientFrame) error {
	key := f.ID
	if key == "" {
		key = rand.Text()[:20]
	}
	x := k.calls
	until := time.Now().Add(x.o.Timeout)
	begun, err := k.add(key, f.Ref, until)
	if err != nil {
		x.refused(callTooMany)
		return err
	}
	e := k.event(store.CallEvent, k.conn.About(), wire.CallKind, wire.CallID(id.User, key))
	e.until, e.Begun = until, begun
	e.Call.Ref, e.Call.Name, e.Call.Data = f.Ref, f.Name, string(f.Data)
	if !x.add(e) {
		k.close(key)
		x.refused(callQueue)
		return &wire.FrameError{Code: wire.CodeUnavailable, Message: "too many calls wait; try again"}
	}
	x.o.Metrics.Calls.Inc()
	return nil
}

// add puts a call among those that wait for their answers.
func (k *Client) add(key, ref string, until time.Time) (begun bool, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case k.over: // it hears nothing of that
		return false, &wire.FrameError{Code: wire.CodeUnavailable, Message: live.TryAgain}
	case k.open[key] != nil:
		return false, &wire.FrameError{Code: wire.CodeBadRequest, Message: "a call with this id waits for its answer"}
	case len(k.open) >= mostCalls && !k.forgetLate():
		return false, &wire.FrameError{Code: wire.CodeTooMany, Message: "too many calls of this connection wait for their answers"}
	case k.open == nil:
		k.open = make(map[string]*openCall)
	}
	k.open[key] = &openCall{ref: ref, until: until}
	return k.begun, nil
}

// forgetLate makes room for a call: of those whose client was told that no answer came in time, the one that is late for the
// longest waits no more. What a worker said of it may have been lost, and then nothing else takes it off; how many calls really
// wait Redis counts, of all connections of the user. k.mu is held. false: there is none.
func (k *Client) forgetLate() bool {
	oldest := ""
	for key, o := range k.open {
		if o.late && (oldest == "" || o.until.Before(k.open[oldest].until)) {
			oldest = key
		}
	}
	delete(k.open, oldest)
	return oldest != ""
}

// close takes a call off those that wait; nil: it is not among them.
func (k *Client) close(key string) *openCall { return k.closeIf(key, time.Time{}) }

// closeIf is close for the one that waits until then, if that is not zero: the client may have asked again with the same id.
func (k *Client) closeIf(key string, until time.Time) *openCall {
	k.mu.Lock()
	o := k.open[key]
	if o != nil && !until.IsZero() && !o.until.Equal(until) {
		k.mu.Unlock()
		return nil
	}
	delete(k.open, key)
	none := len(k.open) == 0
	k.mu.Unlock()
	if none {
		k.calls.answered(k)
	}
	return o
}

// Answered takes what a worker says of a call: OrderReply, or OrderFail.
func (k *Client) Answered(o *wire.Order) {
	key := wire.CallKey(o.ID)
	open := k.close(key)
	switch {
	case open == nil: // it was answered before
	case o.What == wire.OrderReply:
		k.conn.Tell(wire.Replied{Ref: open.ref, ID: key, Data: json.RawMessage(o.Text)})
	default:
		k.conn.Fail(open.ref, &wire.FrameError{Code: o.Text, Message: notAnswered})
	}
}

// waits reports whether a call is not answered, and somebody there to hear of it.
func (k *Client) waits() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return !k.over && len(k.open) > 0
}

// late are the refs of the calls whose time is over, each once.
func (k *Client) late(now time.Time) (refs []string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.over {
		return nil
	}
	for _, o := range k.open {
		if !o.late && now.After(o.until) {
			o.late = true
			refs = append(refs, o.ref)
		}
	}
	return refs
}
