package gateway

import (
	"context"
	"time"

	"sluice/shared/ops"
	"sluice/shared/wire"
)

const (
	// Clients are told to come back after a while of chance, so that they do not come all
	// at once: where the drain itself is too short to keep them below returnRate in a
	// second, the while is longer.
	leastReturn = time.Second
	mostReturn  = time.Minute
	returnRate  = 1000
	// sessionPatience is how long a drain waits for Redis to remove the sessions of the
	// clients that it sends away next.
	sessionPatience = time.Second
)

// returnWithin is the longest while for n clients that are sent away within window.
func returnWithin(n int, window time.Duration) time.Duration {
	return min(max(leastReturn, time.Duration(n)*(time.Second/returnRate)-window), mostReturn)
}

// drain sends all clients away: for each one its session first, then goaway and the
// close, spread evenly. It ends within the drain timeout.
func (g *Gateway) drain() {
	end := time.Now().Add(g.cfg.DrainTimeout)
	ctx, cancel := context.WithDeadline(g.ctx, end)
	defer cancel()
	conns := g.all()
	g.log.Info("draining: sending all clients away", "connections", len(conns), "within", g.cfg.DrainTimeout)

	// The last ones need time to answer, too.
	window := g.cfg.DrainTimeout - min(closeTimeout+time.Second, g.cfg.DrainTimeout/4)
	gapTime := window / time.Duration(max(1, len(conns)))
	bye := farewell{"this gateway restarts", returnWithin(len(conns), window)}
	begin := time.Now()
	for sent := 0; sent < len(conns); {
		due := len(conns)
		if gapTime > 0 && ctx.Err() == nil {
			due = min(due, 1+int(time.Since(begin)/gapTime))
		}
		// Without Redis the clients are still sent away, one after the other.
		g.sendAway(ctx, min(sessionPatience, g.cfg.DrainTimeout/8), bye, conns[sent:due]...)
		if sent = due; sent < len(conns) {
			ops.Pause(ctx, max(gapTime, 5*time.Millisecond))
		}
	}
	for _, c := range conns {
		select {
		case <-c.sock.Done():
		case <-ctx.Done():
		}
	}
	for _, c := range g.all() { // came in the last moment, or did not close in time
		c.goaway(bye)
		c.interrupt() // a frame of the client may still be worked on
		c.sock.Kill()
		<-c.sock.Done()
	}
	for !g.sessions.Settled() && ctx.Err() == nil {
		ops.Pause(ctx, 5*time.Millisecond)
	}
	if !g.sessions.Settled() {
		g.log.Warn("some sessions could not be removed; they expire by themselves", "after", g.cfg.Store.SessionTTL)
	}
}

// sendAway closes some connections, once their sessions are gone: from then on
// nobody publishes to them here, and what they miss they get elsewhere. It waits for
// Redis no longer than patience.
func (g *Gateway) sendAway(ctx context.Context, patience time.Duration, bye farewell, conns ...*conn) {
	for _, c := range conns {
		c.leave()
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for _, c := range conns {
		_ = g.sessions.Wait(ctx, wire.UserTarget(c.user()), c.id) // in vain: it expires
		c.goaway(bye)
	}
}

// retire sends a connection away that has reached its greatest age. It is called by
// the socket's timer, so it does not wait.
func (c *conn) retire() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return
	}
	c.gw.metrics.retired.Inc()
	c.gw.wg.Add(1)
	go func() {
		defer c.gw.wg.Done()
		c.gw.sendAway(c.gw.ctx, sessionPatience, farewell{"connections move from time to time", leastReturn}, c)
	}()
}
