package gateway

import (
	"net"
	"net/http"
	"runtime"
	"strings"

	"sluice/gateway/auth"
	"sluice/gateway/live"
	"sluice/gateway/socket"
	"sluice/shared/wire"
)

func (g *Gateway) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/ws", g.accept)
	mux.HandleFunc("POST /v1/tickets", g.door(g.giveTicket))
	mux.HandleFunc("/v1/", g.door(nil)) // preflights, too
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
func lastInLine(_ net.Conn, state http.ConnState) {
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
	sock, err := g.sockets.Upgrade(w, r, auth.Subprotocol(r))
	if err != nil {
		g.metrics.refused.WithLabelValues("handshake").Inc()
		return
	}
	if !g.verifier.OriginAllowed(r) {
		g.refuse(sock, refusedPage)
		return
	}
	c, asked := newConn(g, sock), wanted(r)
	var id auth.Identity
	var refused *refusal
	if token, found := auth.FromRequest(r); found {
		id, refused = g.identify(g.ctx, token)
	} else if ticket, found := auth.TicketOf(r); found {
		id, refused = g.redeem(g.ctx, ticket)
	} else {
		c.awaitConnect(asked)
		return
	}
	if refused != nil {
		g.refuse(sock, refused)
		return
	}
	c.opened = true
	c.start()
	sock.Hold()
	sock.Start()
	g.openers.add(opening{c, id, asked})
}

// refuse closes a WebSocket that was not started.
func (g *Gateway) refuse(sock *socket.Conn, r *refusal) {
	g.refused(r)
	g.metrics.closed(r.code)
	sock.Abandon(r.code, r.text)
}

// wanted is what a request asks for: `topics`, positions by `last_event_id` or
// Last-Event-ID, and `device`.
func wanted(r *http.Request) *asked {
	o := &asked{}
	q := r.URL.Query()
	last := q.Get("last_event_id")
	if last == "" {
		last = r.Header.Get("Last-Event-ID")
	}
	var from wire.LastEventID
	if last != "" {
		var err error
		if from, err = wire.ParseLastEventID(last); err != nil {
			o.refuse(wire.CodeBadRequest, err.Error())
		}
	}
	var bare live.Start
	if from.IsBare {
		bare = live.Since(from.Bare)
		o.wants = append(o.wants, want{target: "", start: bare}) // for user and all
	}
	topics := q.Get("topics")
	o.byTime = from.IsBare
	switch onGap := q.Get("on_gap"); onGap {
	case "", wire.OnGapLive, wire.OnGapRetained:
		o.retained = onGap == wire.OnGapRetained
	default:
		o.refuse(wire.CodeBadRequest, wire.ErrOnGap)
	}
	if topics != "" {
		for name := range strings.SplitSeq(topics, ",") {
			o.wants = append(o.wants, want{target: wire.TopicTarget(name), start: bare})
		}
	}
	o.wants = append(o.wants, positions(from.Positions)...)
	o.ofDevice(r)
	return o
}
