package gateway

import (
	"strings"
	"time"

	"sluice/gateway/admit"
	"sluice/gateway/auth"
	"sluice/shared/wire"
)

// maxBadTokens is how many tokens in frames `auth` may be refused in a row.
const maxBadTokens = 3

// reauthorize replaces the token of the living connection by a fresh one.
func (c *conn) reauthorize(f *wire.ClientFrame) error {
	if !c.gw.verifier.Asks() {
		return c.reauthorizeBy(f)
	}
	c.sock.Hold() // the reader is for others, too, and a function may take long
	c.Go(func() {
		if err := c.reauthorizeBy(f); err != nil {
			c.Fail(f.Ref, err)
		}
		c.sock.Release()
	})
	return nil
}

func (c *conn) reauthorizeBy(f *wire.ClientFrame) error {
	ctx, done := c.Work()
	defer done()
	id, refused := c.gw.admission.Identify(ctx, f.Token, admit.Stranger{Client: c.clientAddr(), Device: c.device, Transport: c.transport()})
	switch {
	case refused != nil && refused.Code == wire.CloseOverloaded:
		return &wire.FrameError{Code: wire.CodeUnavailable, Message: refused.Text}
	case refused != nil || id.User != c.user():
		err := &wire.FrameError{Code: wire.CodeUnauthorized, Message: "the token was refused; the connection continues with the old one"}
		if c.badAuths++; c.badAuths < maxBadTokens {
			return err
		}
		c.Fail(f.Ref, err)
		c.sock.Close(wire.CloseUnauthorized, "too many tokens in a row were refused")
		return nil
	}
	c.badAuths = 0
	c.authorize(id)
	exp := int64(0)
	if !id.Expires.IsZero() {
		exp = id.Expires.Unix()
	}
	c.Tell(wire.Authorized{Exp: exp})
	// What the fresh token does not allow ends here.
	for _, target := range c.Targets() {
		if !c.allowed(target) && c.End(target) != nil {
			c.Tell(wire.Unsubscribed{To: target})
		}
	}
	return nil
}

// authorize sets who the client is, and the end of that.
func (c *conn) authorize(id auth.Identity) {
	id.User = strings.Clone(id.User) // it may be a part of the whole request
	c.mu.Lock()
	defer c.mu.Unlock()
	c.identity = id
	end, f := c.retireAt, c.retire
	if exp := c.gw.local(id.Expires); !exp.IsZero() && (end.IsZero() || exp.Before(end)) {
		end, f = exp, func() { c.sock.Close(wire.CloseExpired, "the token has expired") }
		if time.Until(end) <= 0 { // it was accepted within the leeway
			end = end.Add(auth.Leeway)
		}
	}
	if end.IsZero() {
		c.sock.After(0, nil)
		return
	}
	c.sock.After(time.Until(end), f)
}
