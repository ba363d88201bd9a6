package gateway

import (
	"bytes"

	"sluice/gateway/admit"
	"sluice/gateway/auth"
	"sluice/gateway/limits"
	"sluice/gateway/live"
	"sluice/shared/wire"
)

// How many frames `connect` may be read at a time, of all clients and of one address, whose token does not stand in their
// begin: each takes up to 68 KiB before it is known whose it is.
const (
	maxLongFrames        = 16
	maxLongFramesAddress = 4
)

func newLongFrames() *limits.Semaphore {
	return limits.NewSemaphore(limits.Bounds{Size: maxLongFrames, KeySize: maxLongFramesAddress})
}

// awaitConnect waits for the frame `connect`.
func (c *conn) awaitConnect(r *request) {
	c.request = r
	c.start()
	evict := func() { c.sock.Close(wire.CloseOverloaded, live.TryAgain) }
	if !c.visit.OnEvict(evict) {
		evict()
	}
	c.sock.After(connectTimeout, func() { c.refuse(admit.RefusedLate) })
	c.sock.Start()
}

// Early decides on a frame `connect` that is longer than those of strangers are read. Whoever has its token in the begin
// shows it, and then the rest costs what a client may cost.
func (c *conn) Early(begin []byte) bool {
	if c.opened {
		return false
	}
	if c.gw.verifier.Asks() { // it would wait for a function in whole
		c.refuse(admit.RefusedLarge)
		return false
	}
	if token, found := wire.FindToken(begin); found {
		if _, ok := c.whoHas(token, admit.Stranger{}); ok {
			c.sock.Known()
			return true
		}
		return false
	}
	if c.long = c.gw.longFrames.TryAcquire(c.visit.Address.Key, 1); !c.long {
		c.refuse(admit.RefusedLong)
	}
	return c.long
}

func (c *conn) endLong() {
	if c.long {
		c.gw.longFrames.Release(c.visit.Address.Key, 1)
		c.long = false
	}
}

// whoHas says who a token belongs to, or refuses the connection.
func (c *conn) whoHas(token string, of admit.Stranger) (id auth.Identity, ok bool) {
	c.sock.After(0, nil) // it brought a token in time
	ctx, done := c.Work()
	defer done()
	id, refused := c.gw.admission.Identify(ctx, token, of)
	if refused != nil {
		c.refuse(refused)
	}
	return id, refused == nil
}

// connect takes the first frame. Nothing of it is looked into before the token is good.
func (c *conn) connect(frame []byte) {
	if c.gw.verifier.Asks() {
		c.connectByAsking(bytes.Clone(frame))
		return
	}
	c.endLong()
	c.connectAs(frame)
}

func (c *conn) connectAs(frame []byte) {
	token, found := wire.FindToken(frame)
	if !found {
		c.refuse(admit.RefusedFrame)
		return
	}
	id, ok := c.whoHas(token, admit.Stranger{Client: c.clientAddr(), Query: c.request.query, Device: c.request.get("device"), Transport: c.transport()})
	if !ok {
		return
	}
	f, err := wire.ParseClientFrame(frame)
	if err != nil || f.Type != "connect" || f.Token != token {
		c.refuse(admit.RefusedFrame)
		return
	}
	asked := c.request.wanted(c.gw.cfg.MaxTargets)
	c.request = nil
	if f.Device != "" {
		asked.device = f.Device
	}
	asked.resume = asked.resume || f.Resume.Device
	asked.retained = asked.retained || f.OnGap == wire.OnGapRetained
	asked.wants = append(asked.wants, positions(f.Resume.Positions)...)
	asked.granted(id)
	if refused := c.admit(id, asked); refused != nil {
		c.refuse(refused)
		return
	}
	c.opened = true
	c.sock.Hold()
	c.openInTurn(id, asked)
}

// connectByAsking is connect where a function has to be asked: without the socket's reader, which others need. What the client
// sends meanwhile stays in the kernel.
func (c *conn) connectByAsking(frame []byte) {
	c.sock.After(0, nil)
	c.sock.Hold()
	c.Go(func() {
		c.connectAs(frame)
		if !c.opened {
			c.sock.Release() // it is refused; else who opens it does that
		}
	})
}
