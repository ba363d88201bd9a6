package listen

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"time"
)

// Conn is one connection, from the listener on. A WebSocket takes the connection in it
// over (Detach), and what is left counts it until Gone. A nil Conn, of a request that did
// not come by a Listener, counts nothing.
type Conn struct {
	net.Conn            // nil once it was given away; the goroutine that reads sets it, and addr, under the listener's lock
	addr     netip.Addr // of the peer, or what PROXY protocol says
	listener *Listener
	since    time.Time

	// Owned by the goroutine that reads.
	gated   bool   // a header is to come
	proxied bool   // PROXY protocol was looked for
	buf     []byte // read, and not handed on

	// Guarded by the listener's lock.
	waits      bool // in the list of strangers
	evicted    bool
	gone       bool
	end        func() // instead of closing the connection
	prev, next *Conn
}

// Close ends the connection.
func (c *Conn) Close() error {
	nc := c.present()
	if nc == nil {
		return net.ErrClosed
	}
	err := nc.Close()
	c.listener.leave(c)
	return err
}

// present is the connection, nil if it was given away.
func (c *Conn) present() net.Conn {
	c.listener.mu.Lock()
	defer c.listener.mu.Unlock()
	return c.Conn
}

// CloseWrite is what net/http does before it closes a connection of which not everything
// was read.
func (c *Conn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return errors.ErrUnsupported
}

// Detach gives the connection itself away. ok is false if the client has sent something
// that is not read; then the connection is closed. Gone must follow.
func (c *Conn) Detach() (nc net.Conn, ok bool) {
	c.listener.mu.Lock()
	nc, c.Conn = c.Conn, nil
	c.listener.mu.Unlock()
	ok = len(c.buf) == 0
	if c.buf = nil; !ok {
		_ = nc.Close()
	}
	return nc, ok
}

// Gone says that a connection has ended which was detached; of others the server says so.
func (c *Conn) Gone() {
	if c != nil && c.present() == nil {
		c.listener.leave(c)
	}
}

// Known says that the client has shown a valid token. over: it was detached, and is not
// needed any more; Listener.Gone must follow in place of Gone.
func (c *Conn) Known() (over bool) {
	if c == nil {
		return false
	}
	l := c.listener
	l.mu.Lock()
	l.pending.remove(c)
	c.end = nil
	over = c.Conn == nil && !c.gone
	c.gone = c.gone || over // here it counts no more
	l.mu.Unlock()
	l.signal()
	return over
}

// OnEvict sets what happens instead of a mere close when strangers become too many. false:
// that was already, and the caller has to end it.
func (c *Conn) OnEvict(f func()) bool {
	if c == nil {
		return true
	}
	c.listener.mu.Lock()
	defer c.listener.mu.Unlock()
	c.end = f
	return !c.evicted
}

type key struct{}

// Context is for http.Server.ConnContext.
func Context(ctx context.Context, nc net.Conn) context.Context {
	if c, ok := nc.(*Conn); ok {
		return context.WithValue(ctx, key{}, c)
	}
	return ctx
}

// Of is the connection on which a request came, nil if no Listener accepted it.
func Of(r *http.Request) *Conn {
	c, _ := r.Context().Value(key{}).(*Conn)
	return c
}

// State is for http.Server.ConnState: after a request another header may come.
func State(nc net.Conn, state http.ConnState) {
	if c, ok := nc.(*Conn); ok && state == http.StateIdle {
		c.gated = true
	}
}

// Handler is around that of a http.Server: what follows the header of a request is its body. The header of one that a client
// sent behind another, without waiting for the answer, may be read already when State says that one is to come.
func Handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if c := Of(r); c != nil && r.Body != http.NoBody { // else net/http may be reading on by now
			c.gated = false
		}
		next.ServeHTTP(w, r)
	})
}
