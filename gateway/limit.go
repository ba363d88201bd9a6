package gateway

import (
	"math"
	"net/http"
	"net/netip"
	"strconv"
	"time"

	"sluice/gateway/auth"
	"sluice/gateway/limits"
	"sluice/gateway/listen"
	"sluice/shared/wire"
)

// What frames cost, in frames. They are documented (docs/protocol.md).
const (
	plainCost  = 1
	ackCost    = 0.1 // nothing is read, and a client may acknowledge each of many events
	moveCost   = 5   // subscribe of what is subscribed already: a history may be read again
	authCost   = 10  // a signature
	deviceCost = 50  // a resume by the device's cursors
)

// The limits that a frame may be over: labels of the metric.
const (
	limitFrames        = "frames"
	limitBytes         = "bytes"
	limitPublishes     = "publishes"
	limitUserFrames    = "user_frames"
	limitUserBytes     = "user_bytes"
	limitUserPublishes = "user_publishes"
	limitBodies        = "bodies" // of requests
)

// spending is what a connection has taken from its limits.
type spending struct {
	frames, publishes, bytes limits.Bucket
	refused                  limits.Bucket // frames beyond them: who goes on is closed
	received                 uint64        // bytes that were counted
}

// visit is a client's place among those of its address, from the handshake to the end of
// the connection.
type visit struct {
	entry   *listen.Conn // nil once the client is known
	known   bool
	client  netip.Addr
	address *limits.Party
}

// knock counts a handshake and its connection, or answers that its address has too many.
// leave must follow if ok.
func (g *Gateway) knock(w http.ResponseWriter, r *http.Request) (v *visit, ok bool) {
	v = &visit{entry: listen.Of(r)}
	v.client = v.entry.Client(r)
	share := listen.Share(v.client)
	if wait := g.addresses.Handshake(share, g.limits.HandshakeRate); wait > 0 {
		g.turnAway(w, v.client, "address_rate", "too many handshakes from this address", wait)
		return nil, false
	}
	if v.address, ok = g.addresses.Enter(share, g.limits.AddressConnections); !ok {
		g.turnAway(w, v.client, "address_connections", "too many connections from this address", limits.BurstTime)
	}
	return v, ok
}

// perAddress counts requests as handshakes of their address, so that those of strangers are limited, too.
func (g *Gateway) perAddress(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		client := listen.Of(r).Client(r)
		if wait := g.addresses.Handshake(listen.Share(client), g.limits.HandshakeRate); wait > 0 {
			g.turnAway(w, client, "address_rate", "too many requests from this address", wait)
			return
		}
		next(w, r)
	}
}

// strangerWaits counts a request without a token as perAddress does, and returns how long it has to wait. One with a token
// is its user's, and is counted once that was refused (countStranger).
func (g *Gateway) strangerWaits(r *http.Request) (wait time.Duration) {
	client := listen.Of(r).Client(r)
	count := g.addresses.Handshake
	if _, found := auth.Bearer(r); found {
		count = g.addresses.MayShake
	}
	if wait = count(listen.Share(client), g.limits.HandshakeRate); wait > 0 {
		g.countRefusal("address_rate", http.StatusTooManyRequests, client)
	}
	return wait
}

// countStranger counts a request that was refused although it has a token: one without was counted already.
func (g *Gateway) countStranger(r *http.Request) {
	if _, found := auth.Bearer(r); !found {
		return
	}
	_ = g.addresses.Handshake(listen.Share(listen.Of(r).Client(r)), g.limits.HandshakeRate) // the next one waits
}

// turnAway answers before the upgrade: it must cost little.
func (g *Gateway) turnAway(w http.ResponseWriter, client netip.Addr, reason, text string, wait time.Duration) {
	g.countRefusal(reason, http.StatusTooManyRequests, client)
	w.Header().Set("Connection", "close") // else the next requests are there already
	w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(wait.Seconds()))))
	http.Error(w, text, http.StatusTooManyRequests)
}

// leave ends a visit whose socket is gone.
func (g *Gateway) leave(v *visit) {
	if v != nil {
		g.addresses.Leave(v.address)
		if v.known {
			g.listener.Gone()
		}
		v.entry.Gone()
	}
}

// admit counts a connection as its user's, or says why not. It comes once in the life of a
// connection, before it is opened.
func (c *conn) admit(id auth.Identity, asked *asked) *refusal {
	g := c.gw
	account, ok := g.users.Enter(id.User, g.limits.UserConnections)
	if !ok {
		return refusedConnections
	}
	cost := float64(plainCost + len(asked.wants))
	if asked.resume {
		cost += deviceCost
	}
	if account.Frames.Take(g.users.Now(), g.limits.UserFrameRate, cost) > 0 {
		g.users.Leave(account)
		return refusedRate
	}
	c.mu.Lock()
	closed := c.closed // while a function was asked; then Closed gives back only what it has found
	if !closed {
		c.account = account
		if v := c.visit; v != nil && v.entry.Known() {
			v.entry, v.known = nil, true
		}
	}
	c.mu.Unlock()
	if closed {
		g.users.Leave(account)
		return refusedGone
	}
	c.sock.ServeAs(account.Key)
	c.sock.Known()
	return nil
}

// charge takes what a frame costs, or returns the refusal.
func (c *conn) charge(f *wire.ClientFrame) error {
	cost, publishes := float64(plainCost), 0.0
	switch f.Type {
	case "publish":
		publishes = 1
	case "ack":
		cost = ackCost
	case "auth":
		cost = authCost
	case "subscribe":
		if s, _ := c.Get(f.To); s != nil {
			cost = moveCost
		}
	}
	return c.spend(cost, publishes)
}

// spend takes from all buckets. The first one that has too little refuses; what the others
// gave is gone, which counts against who asks for too much.
func (c *conn) spend(frames, publishes float64) error {
	s, l, now := &c.spending, &c.gw.limits, c.gw.users.Now()
	received := c.sock.Received()
	bytes := float64(received - s.received)
	s.received = received
	all := [...]struct {
		limit  string
		bucket *limits.Bucket
		rate   limits.Rate
		units  float64
	}{
		{limitFrames, &s.frames, l.FrameRate, frames},
		{limitBytes, &s.bytes, l.ByteRate, bytes},
		{limitPublishes, &s.publishes, l.PublishRate, publishes},
		{limit: limitUserFrames, rate: l.UserFrameRate, units: frames},
		{limit: limitUserBytes, rate: l.UserByteRate, units: bytes},
		{limit: limitUserPublishes, rate: l.UserPublishRate, units: publishes},
	}
	if a := c.account; a != nil {
		all[3].bucket, all[4].bucket, all[5].bucket = &a.Frames, &a.Bytes, &a.Publishes
	}
	for i := range all {
		one := &all[i]
		if one.bucket == nil || one.units == 0 {
			continue
		}
		if wait := one.bucket.Take(now, one.rate, one.units); wait > 0 {
			return c.overLimit(one.limit, now, wait)
		}
	}
	return nil
}

// overLimit refuses a frame. Who is refused as much as it may send is closed.
func (c *conn) overLimit(limit string, now, wait time.Duration) error {
	c.gw.metrics.limited.WithLabelValues(limit).Inc()
	if c.spending.refused.Take(now, c.gw.limits.FrameRate, 1) > 0 {
		c.gw.sayLimited(c)
		c.sock.Close(wire.CloseRateLimited, "far too many frames, though they were refused")
	}
	return tooFast(wait)
}

func tooFast(wait time.Duration) error {
	return &wire.FrameError{Code: wire.CodeRateLimited, Message: "too much in too short a time", RetryAfter: wait}
}

// Ping reports whether a ping may have its answer.
func (c *conn) Ping() bool {
	if err := c.spend(plainCost, 0); err != nil {
		c.Fail("", err)
		return false
	}
	return true
}

// sayLimited tells the operator who was closed.
func (g *Gateway) sayLimited(c *conn) {
	if g.lines.Take(g.users.Now(), linesPerSecond, 1) == 0 {
		g.log.Info("closed a connection that sends far too much", "conn", c.id, "user", c.user(), "client", c.clientAddr())
	}
}

func (c *conn) clientAddr() netip.Addr {
	if c.visit == nil {
		return netip.Addr{}
	}
	return c.visit.client
}

// Joined counts a subscription as the user's, until Left.
func (c *conn) Joined() { c.count(1) }

func (c *conn) count(subscriptions int) {
	if c.account != nil {
		c.account.Targets.Add(int64(subscriptions))
	}
}

// mayHave is how many subscriptions more this connection may have, of the user's.
func (c *conn) mayHave() int {
	if c.account == nil || c.gw.limits.UserTargets == 0 {
		return math.MaxInt
	}
	return c.gw.limits.UserTargets - int(c.account.Targets.Load())
}

// told are the limits that a client should know which may have so many subscriptions.
func (g *Gateway) told(maxTargets int) wire.Limits {
	data, l := g.cfg.Store.MaxData, &g.limits
	return wire.Limits{
		MaxData: data, MaxMessage: data + maxMessage, MaxTargets: maxTargets,
		FrameRate: int(l.FrameRate), UserFrameRate: int(l.UserFrameRate), PublishRate: int(l.PublishRate), UserPublishRate: int(l.UserPublishRate),
		ByteRate: int(l.ByteRate), UserByteRate: int(l.UserByteRate), UserConnections: l.UserConnections, UserTargets: l.UserTargets,
	}
}

// sayLimits tells the operator how many clients there may be, and whether nothing limits
// what they do.
func (g *Gateway) sayLimits() {
	g.log.Info("connections are limited by the files that this process may open", "open_files", listen.Files(), "connections", g.listener.Most())
	if w := g.cfg.Limits.Warning(); w != "" {
		g.log.Warn("a setting works, but should be changed", "why", w)
	}
}
