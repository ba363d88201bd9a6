package gateway

import (
	"fmt"

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
