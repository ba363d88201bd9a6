package gateway

import (
	"fmt"
	"math/rand/v2"
	"net/http"

	"sluice/gateway/admit"
	"sluice/gateway/api"
	"sluice/gateway/auth"
	"sluice/gateway/lock"
	"sluice/gateway/socket"
	"sluice/shared/wire"
)

// stream is the sink of an event stream: it makes events of text/event-stream of the frames that WebSockets get, whose
// JSON it shares with them. The id of each event is the cursor, all positions of the connection: a browser sends it back
// as Last-Event-ID.
type stream struct {
	sock *socket.Conn

	mu    lock.Mutex[lock.Stream]
	stand []standing // in the order in which the targets came
}

// standing is up to where the stream has a target.
type standing struct {
	target string
	at     wire.ID
}

// begin sets the positions that the client brings: a stream that breaks before it has said anything of a target leaves
// the client with what it had.
func (s *stream) begin(wants []want) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, w := range wants {
		if at, ok := w.start.Position(); ok {
			s.set(w.target, at)
		}
	}
}

// Send queues an event.
func (s *stream) Send(frame []byte) bool { return s.queue(frame, s.sock.SendPieces) }

// Answer queues an answer.
func (s *stream) Answer(frame []byte) bool { return s.queue(frame, s.sock.AnswerPieces) }

// Room reports whether a Send would be taken.
func (s *stream) Room() bool { return s.sock.Room() }

var endOfEvent = []byte("\n\n")

func (s *stream) queue(frame []byte, push func(pieces ...[]byte) bool) bool {
	h, data := wire.ReadStreamHead(frame)
	s.mu.Lock()
	defer s.mu.Unlock()
	was, known := s.at(h.To)
	switch {
	case h.Moves:
		s.set(h.To, h.At)
	case h.Ends:
		s.drop(h.To)
	}
	if push(s.render(&h), data, endOfEvent) {
		return true
	}
	if h.Moves && !known {
		s.drop(h.To)
	} else if h.Moves || h.Ends && known {
		s.set(h.To, was)
	}
	return false
}

// render is what stands before the data; s.mu is held.
func (s *stream) render(h *wire.StreamHead) []byte {
	b := make([]byte, 0, 64+len(s.stand)*48)
	if h.Type == "goaway" {
		b = fmt.Appendf(b, "retry: %d\n", h.AfterMs)
	}
	if h.Moves || h.Ends {
		b = append(b, "id: "...)
		for i, p := range s.stand {
			b = wire.AppendCursor(b, p.target, p.at, i == 0)
		}
		b = append(b, '\n')
	}
	b = append(append(b, "event: "...), h.Name...)
	return append(b, "\ndata: "...)
}

func (s *stream) at(target string) (at wire.ID, known bool) {
	for _, p := range s.stand {
		if p.target == target {
			return p.at, true
		}
	}
	return at, false
}

func (s *stream) set(target string, at wire.ID) {
	for i := range s.stand {
		if s.stand[i].target == target {
			s.stand[i].at = at
			return
		}
	}
	s.stand = append(s.stand, standing{target, at})
}

func (s *stream) drop(target string) {
	for i := range s.stand {
		if s.stand[i].target == target {
			s.stand = append(s.stand[:i], s.stand[i+1:]...)
			return
		}
	}
}

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
