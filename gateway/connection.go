package gateway

import (
	"context"
	"crypto/rand"
	"errors"
	mathrand "math/rand/v2"
	"strings"
	"time"

	"sluice/gateway/acks"
	"sluice/gateway/admit"
	"sluice/gateway/auth"
	"sluice/gateway/calls"
	"sluice/gateway/limits"
	"sluice/gateway/live"
	"sluice/gateway/lock"
	"sluice/gateway/publish"
	"sluice/gateway/slow"
	"sluice/gateway/socket"
	"sluice/shared/wire"
)

const (
	connectTimeout = 5 * time.Second // for the first frame of who brought no token
	maxBadFrames   = 10              // in a row
)

// conn is one client. It handles its socket's messages, one after the other. There are
// many, and most do nothing: what only some of them need is made when they need it.
type conn struct {
	live.Client // its subscriptions

	gw   *Gateway
	id   string
	sock *socket.Conn

	request *request // kept until `connect`

	// Set before the first subscription.
	visit    *admit.Visit  // nil in tests
	account  *limits.Party // the user's; nil in tests
	since    int64         // when it was let in, Redis's clock in Unix ms
	device   string        // for cursors
	retained bool          // on_gap
	stream   *stream       // nil: a WebSocket

	spending spending // the reader's

	mu       lock.Mutex[lock.Conn]
	bad      uint8 // refused frames in a row; only the reader uses it
	badAuths uint8 // the same of refused frames `auth`
	opened   bool
	long     bool // its first frame has a place of gw.longFrames
	leaving  bool // its subscriptions are over, a close follows
	closed   bool
	welcomed bool  // welcome was queued
	workers  int32 // who works under ctx
	identity auth.Identity
	given    map[string]struct{} // targets that it may have besides, by functions
	orders   []order             // what functions want of its targets, the first one under way
	retireAt time.Time           // the end of its greatest age, zero if it has none
	calling  *calls.Client       // nil until functions may hear of it
	acking   *acks.Client        // nil until the first ack, or the end of a subscription
	ctx      context.Context     // of those who work for the connection, nil while nobody does
	cancel   context.CancelFunc
}

// newConn makes a connection of a socket; what it is sent goes to the peer.
func newConn(g *Gateway, sock *socket.Conn, peer live.Peer) *conn {
	c := &conn{gw: g, id: strings.Clone(rand.Text()[:16]), sock: sock}
	c.Attach(g.flow, c.id, peer, c)
	sock.Attach(c)
	return c
}

func (c *conn) transport() string {
	if c.stream != nil {
		return wire.TransportSSE
	}
	return wire.TransportWS
}

// maxTargets is how many subscriptions it may have. Each event of a stream carries the positions of all.
func (c *conn) maxTargets() int {
	if c.stream != nil {
		return min(c.gw.cfg.MaxTargets, c.gw.cfg.StreamTargets)
	}
	return c.gw.cfg.MaxTargets
}

func (c *conn) start() { c.gw.register(c) }

// Work gives the context for work that may outlast a frame. It ends with the socket,
// or when the gateway has no more patience; done must be called.
func (c *conn) Work() (ctx context.Context, done func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ctx == nil {
		c.ctx, c.cancel = context.WithCancel(c.gw.ctx)
		if c.closed {
			c.cancel()
		}
	}
	c.workers++
	return c.ctx, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.workers--; c.workers == 0 {
			c.cancel()
			c.ctx, c.cancel = nil, nil
		}
	}
}

// interrupt ends the work that is under way.
func (c *conn) interrupt() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cancel != nil {
		c.cancel()
	}
}

// refuse closes a connection that was started, and is not let in.
func (c *conn) refuse(r *admit.Refusal) {
	c.gw.admission.Count(r.Reason, r.Code, c.clientAddr())
	c.sock.Close(r.Code, r.Text)
}

// Message handles a frame of the client.
func (c *conn) Message(data []byte) {
	if !c.opened { // this goroutine sets it, or who opens before the socket is released
		c.connect(data)
		return
	}
	f, err := wire.ParseClientFrame(data)
	if limit := c.charge(&f); limit != nil {
		err = limit
	}
	if err == nil {
		err = c.handle(&f)
	}
	if err == nil {
		c.bad = 0
		return
	}
	c.Fail(f.Ref, err)
	var fe *wire.FrameError
	if !errors.As(err, &fe) || fe.Code != wire.CodeBadRequest {
		return
	}
	if c.bad++; c.bad > maxBadFrames {
		c.sock.Close(wire.CloseBadRequest, "too many bad frames in a row")
	}
}

// handle does what a frame asks for. Errors are for the client.
func (c *conn) handle(f *wire.ClientFrame) error {
	switch f.Type {
	case "subscribe":
		return c.subscribe(f)
	case "unsubscribe":
		return c.unsubscribe(f)
	case "publish":
		return c.publish(f)
	case "auth":
		return c.reauthorize(f)
	case "ping":
		c.Tell(wire.Pong{})
		return nil
	case "call":
		return c.call(f)
	case "ack":
		return c.ack(f)
	}
	return &wire.FrameError{Code: wire.CodeBadRequest, Message: "this connection is connected already"}
}

// Fail tells the client why its frame was refused. What is not meant for clients
// becomes `unavailable`.
func (c *conn) Fail(ref string, err error) {
	fe := admit.ForClients(c.gw.log, err, "conn", c.id)
	c.gw.metrics.errors.WithLabelValues(fe.Code).Inc()
	c.Tell(wire.Error{Ref: ref, Code: fe.Code, Message: fe.Message, RetryAfterMs: ceilMs(fe.RetryAfter)})
}

// publish sends a client's event on its way. `published` comes from the worker, after the append to the history.
func (c *conn) publish(f *wire.ClientFrame) error {
	c.mu.Lock()
	id := c.identity
	c.mu.Unlock()
	return c.gw.publisher.Add(c, publish.Address{By: c.id, Ref: f.Ref}, id, f.Publish())
}

// Published tells the client that its event was appended.
func (c *conn) Published(p wire.Published) { c.Tell(p) }

// ceilMs is a duration in ms, rounded up: who waits so long has waited long enough.
func ceilMs(d time.Duration) int64 { return int64((d + time.Millisecond - 1) / time.Millisecond) }

// Refuse says that what was asked for is not possible now.
func (c *conn) Refuse(ref, message string) {
	c.Fail(ref, &wire.FrameError{Code: wire.CodeUnavailable, Message: message})
}

// CannotOpen ends a connection that cannot have what it asked for when it came.
func (c *conn) CannotOpen() { c.sock.Close(wire.CloseOverloaded, live.TryAgain) }

// Go runs a goroutine that the gateway waits for.
func (c *conn) Go(f func()) {
	c.gw.wg.Add(1)
	go func() {
		defer c.gw.wg.Done()
		f()
	}()
}

// Tell queues an answer. A client that asks without reading the answers is closed, and
// may come back.
func (c *conn) Tell(f wire.ServerFrame) {
	if !c.Answer(wire.Frame(f)) {
		c.sock.Close(wire.CloseTooSlow, "answers are not read")
	}
}

// subscribe adds a target, or moves the position of one.
func (c *conn) subscribe(f *wire.ClientFrame) error {
	if !c.allowed(f.To) {
		return admit.Forbidden("this token does not allow to subscribe to it")
	}
	old, n := c.Get(f.To)
	if old == nil && n >= c.maxTargets() {
		return &wire.FrameError{Code: wire.CodeTooMany, Message: "this connection has as many subscriptions as it may have"}
	}
	if old == nil && c.mayHave() <= 0 {
		return &wire.FrameError{Code: wire.CodeTooMany, Message: "the connections of this user have as many subscriptions as they may have"}
	}
	w := live.Request{Target: f.To, Ref: f.Ref, Retained: c.retained}
	if f.OnGap != "" {
		w.Retained = f.OnGap == wire.OnGapRetained
	}
	switch f.After {
	case "":
	case wire.Earliest:
		w.Start = live.Earliest()
	default:
		id, _ := wire.ParseID(f.After) // the frame was checked
		w.Start = live.After(id)
	}
	ctx, done := c.Work()
	defer done()
	if old != nil {
		ok, err := c.Move(ctx, old, &w)
		if !ok {
			return &wire.FrameError{Code: wire.CodeUnavailable, Message: "too many subscribe frames for this target wait for an answer"}
		}
		return err
	}
	err := c.Subscribe(ctx, []live.Request{w}, func(refused []live.Refusal) {
		for _, r := range refused {
			c.Refuse(r.Ref, r.Target+": "+live.TryAgain)
		}
	})
	if errors.Is(err, live.ErrSubscribed) { // a function wanted the same at this moment: now it is a move
		return c.subscribe(f)
	}
	return err
}

func (c *conn) unsubscribe(f *wire.ClientFrame) error {
	if live.HasAlways(c.user(), f.To) {
		return live.ErrHasAlways
	}
	ended, err := c.endTarget(f.To)
	if err != nil {
		return err
	}
	if ended == nil && c.device == "" && !c.isOver() { // who is sent away has no subscriptions before it is told
		return &wire.FrameError{Code: wire.CodeBadRequest, Message: "this connection is not subscribed to it"}
	}
	c.Tell(wire.Unsubscribed{Ref: f.Ref, To: f.To})
	return nil
}

func (c *conn) user() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.identity.User
}

// isOver reports whether the connection has ended, or is about to.
func (c *conn) isOver() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.leaving || c.closed
}

func (c *conn) allowed(target string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, given := c.given[target]
	return given || c.identity.CanSubscribe(target)
}

// Pong renews the connection's session. That of an event stream is no frame of its client.
func (c *conn) Pong() {
	if c.stream == nil && c.spend(admit.PlainCost, 0) != nil {
		return
	}
	if user := c.user(); user != "" {
		c.gw.sessions.Renew(wire.UserTarget(user), c.id)
	}
}

// Closed ends everything of the connection.
func (c *conn) Closed(code int) {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.interrupt()
	c.leave()
	if k := c.ackerIfAny(); k != nil {
		k.Closed()
	}
	c.endLong()
	if k := c.callerIfAny(); k != nil {
		k.End(code)
	}
	c.gw.unregister(c)
	if c.account != nil {
		c.gw.users.Leave(c.account)
	}
	c.gw.admission.Leave(c.visit)
	c.gw.metrics.closed(code)
}

// leave ends all subscriptions.
func (c *conn) leave() {
	c.mu.Lock()
	c.leaving = true
	c.mu.Unlock()
	c.Leave()
}

func (c *conn) isWelcomed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.welcomed
}

// farewell is what a client is told that may come back elsewhere.
type farewell struct {
	reason string
	within time.Duration // it comes back after a random part of this
}

// goaway closes a connection that may come back elsewhere.
func (c *conn) goaway(bye farewell) {
	after := mathrand.Int64N(bye.within.Milliseconds())
	_ = c.Answer(wire.Frame(wire.Goaway{AfterMs: after, Reason: bye.reason}))
	c.sock.Close(wire.CloseRestart, "come back")
}

// Lags says that a subscription has something to catch up with, from a position on, and
// its socket has no room. Its shard's lock is held, and it has not ended.
func (c *conn) Lags(s *live.Sub, at wire.ID) {
	c.gw.lags.Lags(slow.Client{Conn: c.id, User: c.user(), Sock: c.sock, Drained: c.Drained}, s, at)
}

// CaughtUp says that a subscription has met the live flow, or is gone. Its shard's lock is
// held.
func (c *conn) CaughtUp(s *live.Sub) { c.gw.lags.CaughtUp(c.id, s) }

var _ socket.Handler = (*conn)(nil)
