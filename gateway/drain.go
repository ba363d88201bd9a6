package gateway

import (
	"context"
	"math/rand/v2"
	"time"

	"sluice/gateway/socket"
	"sluice/shared/wire"
)

const (
	// returnWithin spreads the clients' return.
	returnWithin = 3 * time.Second
	// sessionPatience is how long a drain waits for Redis to remove the sessions of the
	// clients that it sends away next.
	sessionPatience = time.Second
)

// drain sends all clients away: for each one its session first, then goaway and the
// close, spread evenly. It ends within the drain timeout.
func (g *Gateway) drain() {
	end := time.Now().Add(g.cfg.DrainTimeout)
	ctx, cancel := context.WithDeadline(g.ctx, end)
	defer cancel()
	conns := g.all()
	g.log.Info("drains", "connections", len(conns), "within", g.cfg.DrainTimeout)

	// The last ones need time to answer, too.
	window := g.cfg.DrainTimeout - min(closeTimeout+time.Second, g.cfg.DrainTimeout/4)
	gapTime := window / time.Duration(max(1, len(conns)))
	begin := time.Now()
	for sent := 0; sent < len(conns); {
		due := len(conns)
		if gapTime > 0 && ctx.Err() == nil {
			due = min(due, 1+int(time.Since(begin)/gapTime))
		}
		g.sendAway(ctx, conns[sent:due])
		if sent = due; sent < len(conns) {
			sleep(ctx, max(gapTime, 5*time.Millisecond))
		}
	}
	for _, c := range conns {
		select {
		case <-c.sock.Done():
		case <-ctx.Done():
		}
	}
	for _, c := range g.all() { // came in the last moment, or did not close in time
		c.goaway()
		c.cancel() // a frame of the client may still be worked on
		c.sock.Kill()
		<-c.sock.Done()
	}
	for !g.sessions.idle() && ctx.Err() == nil {
		sleep(ctx, 5*time.Millisecond)
	}
	if !g.sessions.idle() {
		g.log.Warn("some sessions could not be removed; they expire by themselves", "after", g.cfg.Store.SessionTTL)
	}
}

// sendAway closes some connections, once their sessions are gone: from then on
// nobody publishes to them here, and what they miss they get elsewhere.
func (g *Gateway) sendAway(ctx context.Context, conns []*conn) {
	for _, c := range conns {
		c.leave()
	}
	// Without Redis the clients are still sent away, one after the other.
	ctx, cancel := context.WithTimeout(ctx, min(sessionPatience, g.cfg.DrainTimeout/8))
	defer cancel()
	for _, c := range conns {
		_ = g.sessions.wait(ctx, wire.UserTarget(c.user()), c.id) // in vain: it expires
		c.goaway()
	}
}

func (g *Gateway) all() []*conn {
	g.mu.Lock()
	defer g.mu.Unlock()
	conns := make([]*conn, 0, len(g.conns))
	for _, c := range g.conns {
		conns = append(conns, c)
	}
	return conns
}

// goaway closes a connection that may come back elsewhere.
func (c *conn) goaway() {
	after := rand.Int64N(returnWithin.Milliseconds())
	_ = c.sock.Send(wire.Frame(wire.Goaway{AfterMs: after, Reason: "this gateway restarts"}))
	c.sock.Close(wire.CloseRestart, "restart")
}

var _ socket.Handler = (*conn)(nil)
