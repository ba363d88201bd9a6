package gateway

import (
	"net"
	"net/http"
	"runtime"

	"sluice/gateway/admit"
	"sluice/gateway/auth"
	"sluice/gateway/listen"
	"sluice/gateway/socket"
	"sluice/shared/client/js"
	"sluice/shared/wire"
)

func (g *Gateway) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/ws", g.accept)
	mux.HandleFunc("GET /v1/sse", g.serveStream)
	g.api.Register(mux)
	for path, text := range js.Files {
		mux.HandleFunc("GET "+path, g.admission.PerAddress(script(text)))
	}
	for path, text := range documents {
		mux.HandleFunc("GET "+path, g.admission.PerAddress(static("application/json", text)))
	}
	if g.page != nil {
		mux.Handle("/", g.page)
	}
	return mux
}

// lastInLine lets the goroutine that accepts go on only after those that can run
// already. Else thousands of clients that come at once all become goroutines that can
// run, and an event for the others waits behind every one of them; the system's
// backlog is the better place to wait. Measured: with 10,000 connects at once the
// others' latency is a half, and so is that of the median connect.
func lastInLine(nc net.Conn, state http.ConnState) {
	listen.State(nc, state)
	if state == http.StateNew {
		runtime.Gosched()
	}
}

// accept upgrades a request. A refusal comes as a close code after the upgrade:
// browsers show nothing of a refused handshake.
func (g *Gateway) accept(w http.ResponseWriter, r *http.Request) {
	g.wg.Add(1)
	defer g.wg.Done()
	if g.draining.Load() {
		w.Header().Set("Retry-After", "1")
		http.Error(w, "this gateway is stopping; connect again", http.StatusServiceUnavailable)
		return
	}
	v, ok := g.admission.Knock(w, r)
	if !ok {
		return
	}
	sock, err := g.sockets.Upgrade(w, r, auth.Subprotocol(r))
	if err != nil {
		g.admission.Count("handshake", http.StatusBadRequest, v.Client)
		g.admission.Leave(v)
		return
	}
	sock.ServeAs(" " + v.Address.Key) // until there is a user, whose name has no spaces
	if !g.verifier.OriginAllowed(r) {
		g.refuse(sock, v, admit.RefusedPage)
		return
	}
	c, request := newConn(g, sock, sock), requestOf(r)
	c.visit = v
	id, found, refused := g.admission.Bearer(g.ctx, r, wire.TransportWS)
	if !found {
		c.awaitConnect(request.clone())
		return
	}
	if refused != nil {
		g.refuse(sock, v, refused)
		return
	}
	asked := request.wanted(g.cfg.MaxTargets)
	asked.granted(id)
	if c.enter(id, asked) {
		c.openInTurn(id, asked)
	}
}

// enter starts a connection whose client is known, and holds it until it is opened. false:
// it has too much, and was refused.
func (c *conn) enter(id auth.Identity, asked *asked) bool {
	if refused := c.admit(id, asked); refused != nil {
		c.gw.refuse(c.sock, c.visit, refused)
		return false
	}
	c.opened = true
	c.start()
	c.sock.Hold()
	c.sock.Start()
	return true
}

// refuse closes a connection that was not started.
func (g *Gateway) refuse(sock *socket.Conn, v *admit.Visit, r *admit.Refusal) {
	g.admission.Count(r.Reason, r.Code, v.Client)
	g.metrics.closed(r.Code)
	sock.Abandon(r.Code, r.Text, func() { g.admission.Leave(v) })
}
