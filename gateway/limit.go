package gateway

import (
	"math"
	"net/netip"
	"time"

	"sluice/gateway/admit"
	"sluice/gateway/auth"
	"sluice/gateway/limits"
	"sluice/gateway/listen"
	"sluice/shared/wire"
)

// What frames cost besides those of admit/cost.go, in frames. They are documented (docs/protocol.md).
const (
	ackCost    = 0.1 // nothing is read, and a client may acknowledge each of many events
	authCost   = 10  // a signature
	deviceCost = 50  // a resume by the device's cursors
)

// The limits that a frame may be over: labels of the metric.
const (
	limitFrames    = "frames"
	limitBytes     = "bytes"
	limitPublishes = "publishes"
)

// spending is what a connection has taken from its limits.
type spending struct {
	frames, publishes, bytes limits.Bucket
	refused                  limits.Bucket // frames beyond them: who goes on is closed
	received                 uint64        // bytes that were counted
}

// admit counts a connection as its user's, or says why not. It comes once in the life of a
// connection, before it is opened.
func (c *conn) admit(id auth.Identity, asked *asked) *admit.Refusal {
	g := c.gw
	account, ok := g.users.Enter(id.User, g.limits.UserConnections)
	if !ok {
		return admit.RefusedConnections
	}
	cost := float64(admit.PlainCost + len(asked.wants))
	if asked.resume {
		cost += deviceCost
	}
	if account.Frames.Take(g.users.Now(), g.limits.UserFrameRate, cost) > 0 {
		g.users.Leave(account)
		return admit.RefusedRate
	}
	c.mu.Lock()
	closed := c.closed // while a function was asked; then Closed gives back only what it has found
	if !closed {
		c.account = account
		if c.visit != nil {
			c.visit.Known()
		}
	}
	c.mu.Unlock()
	if closed {
		g.users.Leave(account)
		return admit.RefusedGone
	}
	c.sock.ServeAs(account.Key)
	c.sock.Known()
	return nil
}

// charge takes what a frame costs, or returns the refusal.
func (c *conn) charge(f *wire.ClientFrame) error {
	cost, publishes := float64(admit.PlainCost), 0.0
	switch f.Type {
	case "publish":
		publishes = 1
	case "ack":
		cost = ackCost
	case "auth":
		cost = authCost
	case "subscribe":
		if s, _ := c.Get(f.To); s != nil {
			cost = admit.MoveCost
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
		{limit: admit.LimitUserFrames, rate: l.UserFrameRate, units: frames},
		{limit: admit.LimitUserBytes, rate: l.UserByteRate, units: bytes},
		{limit: admit.LimitUserPublishes, rate: l.UserPublishRate, units: publishes},
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
	return admit.TooFast(wait)
}

// Ping reports whether a ping may have its answer.
func (c *conn) Ping() bool {
	if err := c.spend(admit.PlainCost, 0); err != nil {
		c.Fail("", err)
		return false
	}
	return true
}

// sayLimited tells the operator who was closed.
func (g *Gateway) sayLimited(c *conn) {
	if g.admission.Line() {
		g.log.Info("closed a connection that sends far too much", "conn", c.id, "user", c.user(), "client", c.clientAddr())
	}
}

func (c *conn) clientAddr() netip.Addr {
	if c.visit == nil {
		return netip.Addr{}
	}
	return c.visit.Client
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
