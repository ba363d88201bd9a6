package socket

import (
	"bytes"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

var halves = map[string][]byte{
	"a byte":             text("message")[:1],
	"a header":           text("message")[:6],
	"part of a message":  text("message")[:9],
	"part of a ping":     frame(opPing|final, []byte("ping"))[:8],
	"a fragment":         frame(opText, []byte("fragment")),
	"a fragment, a pong": bytes.Join([][]byte{frame(opText, []byte("fragment")), frame(opPong|final, nil)}, nil),
	"much":               text(string(make([]byte, 60_000)))[:50_000],
}

// partial waits until the server has begun to read a client's message.
func (p *peer) partial() {
	p.t.Helper()
	until(p.t, "the beginning of a message", func() bool {
		list := &p.group.partials
		list.mu.Lock()
		defer list.mu.Unlock()
		for r := list.first; r != nil; r = r.next {
			if r.c == p.Conn {
				return true
			}
		}
		return false
	})
}

func (p *peer) given(code int) {
	p.t.Helper()
	if got := p.ended(); got != code {
		p.t.Errorf("code %d, want %d", got, code)
	}
}

func TestPartialsAreBounded(t *testing.T) {
	for name, half := range halves {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, o Options) {
				o.partials, o.turns = 3, 4
				s := serve(t, o, echo)
				clients := make([]*client, 5)
				peers := make([]*peer, 5)
				for i := range clients {
					clients[i], peers[i] = s.connect(0)
					clients[i].write(half)
					peers[i].partial()
				}
				for range 3 {
					c, _ := s.connect(0)
					c.write(text("whole"))
					c.expect(opText, []byte("whole"))
				}
				for i, c := range clients {
					if i < 2 { // the oldest ones made room for the last
						c.expectClose(CloseTooSlow)
						_ = c.nc.Close()
						peers[i].given(CloseTooSlow)
					} else {
						_ = c.nc.Close()
						peers[i].given(abnormal)
					}
				}
				if n := s.group.partials.count(); n != 0 {
					t.Error(n, "are counted")
				}
			})
		})
	}
}

func TestPartialsEndInTime(t *testing.T) {
	for name, half := range halves {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, o Options) {
				o.partialTimeout, o.PingInterval = 50*time.Millisecond, time.Second
				s := serve(t, o, echo)
				c, p := s.connect(0)
				c.write(half)
				c.expectClose(CloseTooSlow)
				_ = c.nc.Close()
				p.given(CloseTooSlow)
			})
		})
	}
}

// TestWholeMessagesAreNotPartial: the time of the handler does not count, nor that of
// an idle socket.
func TestWholeMessagesAreNotPartial(t *testing.T) {
	each(t, func(t *testing.T, o Options) {
		o.partialTimeout = 300 * time.Millisecond
		proceed := make(chan struct{})
		s := serve(t, o, func(p *peer, data []byte) { <-proceed; echo(p, data) })
		c, p := s.connect(0)
		long := bytes.Repeat([]byte("x"), 10_000)
		c.write(slices.Concat(text(string(long)), text("a"), frame(opText, []byte("b")), frame(opContinue|final, nil)))
		until(t, "a message", func() bool { return p.messages.Load() == 1 })
		time.Sleep(600 * time.Millisecond) // more than the time for a message
		close(proceed)
		c.expect(opText, long)
		c.expect(opText, []byte("a"))
		c.expect(opText, []byte("b"))
		time.Sleep(600 * time.Millisecond)
		c.write(text("c"))
		c.expect(opText, []byte("c"))
	})
}

// TestEndlessFragments: a message of empty fragments would never be too long.
func TestEndlessFragments(t *testing.T) {
	each(t, func(t *testing.T, o Options) {
		o.MaxMessage = 1000
		s := serve(t, o, echo)
		c, p := s.connect(0)
		long := bytes.Repeat([]byte("x"), o.MaxMessage)
		c.write(frame(opText, nil))
		for i := range o.MaxMessage / 10 { // what an ordinary client may do
			c.write(frame(opContinue, long[10*i:10*i+10]))
		}
		c.write(frame(opContinue|final, nil))
		c.expect(opText, long)

		c.write(frame(opText, nil))
		c.tryWrite(repeat(5000, frame(opContinue, nil)))
		c.expectClose(CloseRateLimited)
		_ = c.nc.Close()
		p.given(CloseRateLimited)
	})
}

// TestPingsMayBeRefused: the handler decides whether a ping is answered.
func TestPingsMayBeRefused(t *testing.T) {
	each(t, func(t *testing.T, o Options) {
		s := serve(t, o, echo)
		c, p := s.connect(0)
		p.noPongs.Store(true)
		c.write(frame(opPing|final, []byte("x")))
		c.write(text("after"))
		c.expect(opText, []byte("after"))
		p.noPongs.Store(false)
		c.write(frame(opPing|final, []byte("y")))
		c.expect(opPong, []byte("y"))
	})
}

// TestPartialsByOwner: sockets that are nobody's yet give way to each other only, and of the
// others the owner who has the most.
func TestPartialsByOwner(t *testing.T) {
	each(t, func(t *testing.T, o Options) {
		o.partials = 3
		s := serve(t, o, echo)
		var key atomic.Value
		s.before = func(p *peer) { p.ServeAs(key.Load().(string)) }
		whole := text("message")
		begin := func(of string) (*client, *peer) {
			key.Store(of)
			s.strangers.Store(strings.HasPrefix(of, " "))
			c, p := s.connect(0)
			c.write(whole[:9])
			p.partial()
			return c, p
		}
		stays := func(c *client) {
			t.Helper()
			c.write(whole[9:])
			c.expect(opText, []byte("message"))
		}
		bob, _ := begin("bob")
		first, _ := begin("alice")
		second, _ := begin("alice")
		var strangers []*client
		for i := range 5 { // of two addresses
			c, _ := begin([]string{" 1", " 1", " 2", " 1", " 1"}[i])
			strangers = append(strangers, c)
		}
		strangers[0].expectClose(CloseTooSlow)
		strangers[1].expectClose(CloseTooSlow) // and not that of the other address
		carol, _ := begin("carol")
		first.expectClose(CloseTooSlow)
		for _, c := range append(strangers[2:], bob, second, carol) {
			stays(c)
		}
		if n := s.group.partials.count(); n != 0 {
			t.Error(n, "are counted")
		}
	})
}

// TestMessagesOfNobody: until it is known whose a socket is, its messages are not long, except where the begin says it.
func TestMessagesOfNobody(t *testing.T) {
	each(t, func(t *testing.T, o Options) {
		o.MaxMessage = 128 << 10
		s := serve(t, o, echo)
		s.strangers.Store(true)
		long, longer := bytes.Repeat([]byte("x"), maxUnknown), bytes.Repeat([]byte("x"), maxUnknown+1)
		c, p := s.connect(0)
		c.write(text(string(long)))
		c.expect(opText, long)
		p.Known()
		c.write(text(string(longer)))
		c.expect(opText, longer)
		c, _ = s.connect(0)
		c.write(text(string(longer)))
		c.expectClose(1009)
		for n, taken := range map[int]bool{maxStranger: true, maxStranger + 1: false} {
			c, _ = s.connect(0)
			later := append([]byte("later"), bytes.Repeat([]byte("x"), n-5)...)
			c.write(text(string(later)))
			if taken {
				c.expect(opText, later)
			} else {
				c.expectClose(1009)
			}
		}
		c, _ = s.connect(0)
		mine := append([]byte("mine"), bytes.Repeat([]byte("x"), 100<<10)...)
		c.write(text(string(mine)))
		c.expect(opText, mine)
		c.write(text(string(longer)))
		c.expect(opText, longer)
	})
}
