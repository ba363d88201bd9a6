//go:build linux && !sluice_goroutines

package socket

import (
	"errors"
	"fmt"
	"net"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func init() { ways["poll"] = false }

// polled runs a test with epoll only.
func polled(t *testing.T, test func(t *testing.T, o Options)) {
	each(t, func(t *testing.T, o Options) {
		if o.goroutines {
			t.SkipNow()
		}
		test(t, o)
	})
}

// TestIdleSocketsHaveNoGoroutine also after messages, pings and full queues.
func TestIdleSocketsHaveNoGoroutine(t *testing.T) {
	polled(t, func(t *testing.T, o Options) {
		s := serve(t, o, echo)
		before := runtime.NumGoroutine()
		for range 20 {
			c, p := s.connect(smallBuffer)
			c.write(text("x"))
			c.expect(opText, []byte("x"))
			c.write(frame(opPing|final, nil))
			c.expect(opPong, nil)
			fill(p, serverText(make([]byte, 30_000)))
		}
		poller := s.group.poller
		until(t, "no writers and no turns", func() bool {
			poller.writers.mu.Lock()
			running := poller.writers.running
			poller.writers.mu.Unlock()
			poller.turns.mu.Lock()
			defer poller.turns.mu.Unlock()
			return running == 0 && poller.turns.queue.Taken() == 0
		})
		// net/http still has some for connections that it gave away a moment ago.
		until(t, "no goroutines", func() bool { return runtime.NumGoroutine() <= before+2 })
	})
}

// TestTurnsAreBounded: sockets wait for their turn, are not closed for the pongs that
// they could not read, and all get their turn.
func TestTurnsAreBounded(t *testing.T) {
	polled(t, func(t *testing.T, o Options) {
		o.turns, o.PingInterval = 2, 100*time.Millisecond
		proceed := make(chan struct{})
		s := serve(t, o, func(p *peer, data []byte) { <-proceed; p.Send(serverText(data)) })
		const n = 6
		var clients [n]*client
		var peers [n]*peer
		for i := range clients {
			clients[i], peers[i] = s.connect(0)
			clients[i].write(text("x"))
			until(t, "a turn or a place", func() bool { return peers[i].messages.Load() == 1 || peers[i].waits() })
		}
		for round := range 5 {
			for _, c := range clients[o.turns:] {
				if round < 4 {
					c.expect(opPing, nil)
					c.write(frame(opPong|final, nil))
				}
			}
		}
		for i, p := range peers {
			if got, want := p.messages.Load() == 1, i < o.turns; got != want {
				t.Errorf("%d has a turn: %v", i, got)
			}
		}
		// One of those who wait goes. It must not stop the others.
		peers[n-2].Kill()
		close(proceed)
		for _, c := range clients[o.turns : n-2] {
			for op := byte(0); op != opText; {
				var err error
				if op, _, err = c.read(); err != nil || op == opClose {
					t.Fatal(op, err)
				}
			}
		}
		peers[n-2].ended()
	})
}

// TestTurnsAreShared: sockets of one key, however many, whose handlers wait, leave the
// others their turns, and go on when they can.
func TestTurnsAreShared(t *testing.T) {
	polled(t, func(t *testing.T, o Options) {
		o.turns = 8
		proceed := make(chan struct{})
		s := serve(t, o, func(p *peer, data []byte) {
			if string(data) == "wait" {
				<-proceed
			}
			p.Send(serverText(data))
		})
		s.before = func(p *peer) { p.ServeAs("greedy") }
		var clients []*client
		for i := range 3 * o.turns {
			c, p := s.connect(0)
			c.write(text("wait"))
			until(t, "a turn or a place", func() bool { return p.messages.Load() == 1 || p.waits() })
			if got, want := p.messages.Load() == 1, i < leastTurns; got != want {
				t.Errorf("socket %d has a turn: %v", i, got)
			}
			clients = append(clients, c)
		}
		for i := range 3 {
			s.before = func(p *peer) { p.ServeAs(fmt.Sprint("modest", i)) }
			c, _ := s.connect(0)
			for range 20 {
				c.write(text("x"))
				c.expect(opText, []byte("x"))
			}
		}
		close(proceed)
		for _, c := range clients {
			c.expect(opText, []byte("wait"))
		}
	})
}

// TestTalkersShareTheTurns: who never stops to talk does not keep the others waiting.
func TestTalkersShareTheTurns(t *testing.T) {
	polled(t, func(t *testing.T, o Options) {
		o.turns = 1
		// There is always more to read than has been handled.
		s := serve(t, o, func(*peer, []byte) { time.Sleep(100 * time.Microsecond) })
		talker, p := s.connect(0)
		done := make(chan struct{})
		go func() {
			defer close(done)
			for many := repeat(100, text("bla")); ; {
				if _, err := talker.nc.Write(many); err != nil {
					return
				}
			}
		}()
		until(t, "the talker", func() bool { return p.messages.Load() > 0 })
		c, _ := s.connect(0)
		c.write(frame(opPing|final, nil))
		c.expect(opPong, nil)
		_ = talker.nc.Close()
		<-done
	})
}

// busy is a link on which something comes while its turn ends.
type busy struct {
	tape
	serves int
}

func (l *busy) serve(bool) bool {
	if l.serves++; l.serves == 1 {
		l.c.ready(unix.EPOLLIN)
	}
	return false
}

// TestWhatComesAtTheEndOfATurn: what comes when all has been read, but the turn has not ended,
// has no event of its own.
func TestWhatComesAtTheEndOfATurn(t *testing.T) {
	l := &busy{}
	l.c = &Conn{group: NewGroup(Options{PingInterval: time.Hour, CloseTimeout: time.Hour, goroutines: true}), framing: webSocket, link: l}
	l.c.ready(unix.EPOLLIN)
	l.c.turn()
	if l.serves != 2 || l.c.in.turn != unread {
		t.Errorf("%d serves, turn %v", l.serves, l.c.in.turn)
	}
}

// TestTheDeadReadNothing: a client that never stops to talk does not keep a dead
// socket's turn.
func TestTheDeadReadNothing(t *testing.T) {
	polled(t, func(t *testing.T, o Options) {
		s := serve(t, o, func(p *peer, _ []byte) {
			p.Kill()
			if _, err := p.link.read(make([]byte, 1), false); !errors.Is(err, errInterrupted) {
				t.Error("read:", err)
			}
		})
		c, p := s.connect(0)
		c.tryWrite(text("x"))
		p.ended()
	})
}

// TestReusedDescriptor: an event of a socket that is gone is not the next one's, which
// has its descriptor.
func TestReusedDescriptor(t *testing.T) {
	polled(t, func(t *testing.T, o Options) {
		s := serve(t, o, nil)
		find := func(e unix.EpollEvent) *pollLink {
			var found [1]*pollLink
			s.group.poller.find([]unix.EpollEvent{e}, found[:])
			return found[0]
		}
		old := map[int]unix.EpollEvent{}
		var peers []*peer
		for range 5 {
			_, p := s.connect(0)
			peers = append(peers, p)
		}
		for _, p := range peers {
			l := p.link.(*pollLink)
			e := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(l.fd), Pad: l.generation}
			if find(e) != l {
				t.Fatal("the event of a living socket is not found")
			}
			p.Kill()
			p.ended()
			if find(e) != nil {
				t.Error("a socket that is gone is found")
			}
			old[l.fd] = e
		}
		for range 100 { // clients take some of them
			_, p := s.connect(0)
			if e, ok := old[p.link.(*pollLink).fd]; ok {
				if find(e) != nil {
					t.Error("the next socket is found")
				}
				return
			}
		}
		t.Error("no descriptor was used again")
	})
}

// counted is a connection that a listener counts until it is taken over.
type counted struct{ net.Conn }

func (c *counted) Detach() (net.Conn, bool) {
	nc := c.Conn
	c.Conn = nil
	return nc, true
}

// TestCountedConnections are taken over and polled, by either door.
func TestCountedConnections(t *testing.T) {
	polled(t, func(t *testing.T, o Options) {
		wrap = func(nc net.Conn) net.Conn { return &counted{nc} }
		defer func() { wrap = nil }()
		s := serve(t, o, echo)
		c, p := s.connect(0)
		_, q := s.streaming()
		for _, one := range []*peer{p, q} {
			if _, ok := one.link.(*pollLink); !ok {
				t.Errorf("%T", one.link)
			}
		}
		c.write(text("x"))
		c.expect(opText, []byte("x"))
	})
}
