package socket

import (
	"bytes"
	"testing"
	"time"
)

// Answers have room of their own behind a queue that is full of events, and not more.
func TestAnswersBesideEvents(t *testing.T) {
	each(t, func(t *testing.T, o Options) {
		s := serve(t, o, nil)
		c, p := s.connect(smallBuffer)
		f, answer := serverText(bytes.Repeat([]byte("x"), 1000)), serverText(bytes.Repeat([]byte("a"), 1000))
		n := fill(p, f)
		answers := 0
		for p.Answer(answer) {
			answers++
		}
		if least, most := answerBytes/len(answer), answerBytes/len(answer)+2; answers < least || answers > most {
			t.Errorf("%d answers of %d bytes were taken, want %d to %d", answers, len(answer), least, most)
		}
		if p.Send(f) {
			t.Error("an event took the answers' room")
		}
		for range n {
			c.expect(opText, f[4:])
		}
		for range answers {
			c.expect(opText, answer[4:])
		}
		// A large event leaves as much.
		large := serverText(bytes.Repeat([]byte("x"), 8*o.QueueBytes))
		if !p.Send(large) || !p.Answer(answer) {
			t.Error("no room for an answer behind one large event")
		}
		c.expect(opText, large[len(large)-8*o.QueueBytes:])
		c.expect(opText, answer[4:])
	})
}

// Who asks for room and is refused hears when there is some.
func TestRoom(t *testing.T) {
	each(t, func(t *testing.T, o Options) {
		s := serve(t, o, nil)
		c, p := s.connect(smallBuffer)
		f := serverText(bytes.Repeat([]byte("x"), 1000))
		if !p.Room() {
			t.Fatal("an empty queue has no room")
		}
		n := fill(p, f)
		for len(p.drained) > 0 { // of the filling
			<-p.drained
		}
		if p.Room() {
			t.Fatal("a full queue has room")
		}
		before := p.Taken()
		for range n {
			c.expect(opText, f[4:])
		}
		select {
		case <-p.drained:
		case <-time.After(patience):
			t.Fatal("there is room, and nobody says so")
		}
		until(t, "everything is taken", func() bool { return p.Taken() >= uint64(n*len(f)) })
		if before >= p.Taken() || !p.Room() {
			t.Errorf("%d bytes were taken before, %d now; room: %v", before, p.Taken(), p.Room())
		}
	})
}

// TestSendBuffer: the kernel keeps no more for a client that does not read, even if the
// system would let it.
func TestSendBuffer(t *testing.T) {
	each(t, func(t *testing.T, o Options) {
		o.QueueBytes = 4 << 20 // the kernel may have that much unsent
		taken := func(buffer int) uint64 {
			o.SendBuffer = buffer
			s := serve(t, o, nil)
			_, p := s.connect(smallBuffer)
			fill(p, serverText(bytes.Repeat([]byte("x"), 1000)))
			return p.Taken()
		}
		if n := taken(16 << 10); n > 128<<10 {
			t.Errorf("%d KiB went to the kernel for a client that does not read", n>>10)
		}
	})
}
