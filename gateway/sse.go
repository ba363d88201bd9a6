package gateway

import (
	"fmt"
	"math/rand/v2"
	"net/http"

	"sluice/gateway/admit"
	"sluice/gateway/api"
	"sluice/gateway/auth"
	"sluice/shared/wire"
)

// EventSource comes back by itself after a time that the server says; by chance, so that those do not come together
// whose link broke together.
const leastRetry, mostRetry = 500, 2000 // ms

// serveStream answers GET /v1/sse. EventSource gives up for good on any status but 200, so what may be otherwise later is
// said on the stream; a token or a page that is refused stays so.
func (g *Gateway) serveStream(w http.ResponseWriter, r *http.Request) {
	g.wg.Add(1)
	defer g.wg.Done()
	v, ok := g.admission.Knock(w, r)
	if !ok {
		return
	}
	request := requestOf(r)
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Add("Vary", "Origin")
	id, refused := g.mayStream(w, r)
	if refused != nil && refused.Code != wire.CloseOverloaded {
		g.admission.CountRequest(r, refused)
		g.api.AnswerError(w, refused.FrameError())
		g.admission.Leave(v)
		return
	}
	sock, err := g.sockets.Stream(w)
	if err != nil {
		g.admission.Count("handshake", http.StatusInternalServerError, v.Client)
		g.admission.Leave(v)
		return
	}
	if refused != nil {
		g.refuse(sock, v, refused)
		return
	}
	s := &stream{sock: sock}
	c := newConn(g, sock, s)
	c.visit, c.stream = v, s
	// A browser sends the header when it comes back, and the query as at first.
	asked := request.wantedFrom(c.maxTargets(), request.get("last_event_id"), request.lastEventID)
	asked.granted(id)
	if !c.enter(id, asked) {
		return
	}
	_ = sock.Answer(fmt.Appendf(nil, "retry: %d\n\n", leastRetry+rand.N(mostRetry-leastRetry)))
	if g.draining.Load() {
		c.goaway(farewell{"this gateway restarts", leastReturn})
		sock.Release()
		return
	}
	c.openInTurn(id, asked)
}

// mayStream says whose stream it is, or why there is none.
func (g *Gateway) mayStream(w http.ResponseWriter, r *http.Request) (id auth.Identity, refused *admit.Refusal) {
	if !g.verifier.OriginAllowed(r) {
		return id, admit.RefusedPage
	}
	api.AllowOrigin(w, r)
	id, found, refused := g.admission.Bearer(g.ctx, r, wire.TransportSSE)
	if !found {
		refused = admit.RefusedNone
	}
	return id, refused
}
