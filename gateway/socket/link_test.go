package socket

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"
)

// TestOtherConnections: what is not plain TCP, as TLS, has a goroutine in any case.
func TestOtherConnections(t *testing.T) {
	each(t, func(t *testing.T, o Options) {
		wrap = func(nc net.Conn) net.Conn { return struct{ net.Conn }{nc} }
		defer func() { wrap = nil }()
		s := serve(t, o, echo)
		c, p := s.connect(0)
		if _, ok := p.link.(*netLink); !ok {
			t.Errorf("%T", p.link)
		}
		c.write(text("x"))
		c.expect(opText, []byte("x"))
		p.Close(1000, "")
		c.expectClose(1000)
		p.ended()
	})
}

// TestChurn opens and closes sockets in all ways while others come in: descriptors
// are used again at once, and nobody gets another one's messages.
func TestChurn(t *testing.T) {
	const clients, rounds = 8, 60
	each(t, func(t *testing.T, o Options) {
		o.turns, o.PingInterval, o.CloseTimeout = 4, 50*time.Millisecond, 100*time.Millisecond
		s := serve(t, o, func(p *peer, data []byte) {
			p.Send(serverText(data))
			switch rand.IntN(20) {
			case 0:
				p.Close(1012, "")
			case 1:
				p.Kill()
			case 2:
				go p.Close(1012, "")
			case 3:
				go p.Kill()
			}
		})
		peers := make(chan *peer, clients*rounds)
		var taking, all sync.WaitGroup
		taking.Go(func() {
			for p := range s.peers {
				peers <- p
			}
			close(peers)
		})
		for i := range clients {
			all.Go(func() {
				for round := range rounds {
					c := dial(t, s.addr, 0)
					for n := range rand.IntN(10) {
						mine := fmt.Sprintf("%d %d %d", i, round, n)
						c.tryWrite(text(mine))
						op, data, err := c.read()
						for err == nil && op == opPing {
							op, data, err = c.read()
						}
						if err != nil || op == opClose {
							break
						}
						if string(data) != mine {
							t.Errorf("got %q, want %q", data, mine)
						}
					}
					switch rand.IntN(4) {
					case 0:
						c.tryWrite(closeText(1000, ""))
					case 1:
						c.tryWrite(text("xxx")[:4])
					case 2:
						_ = c.nc.SetLinger(0)
					}
					_ = c.nc.Close()
				}
			})
		}
		all.Wait()
		s.stop()
		close(s.peers)
		taking.Wait()
		for p := range peers {
			p.ended()
		}
	})
}

// TestNothingIsMissed: a message is heard also if it comes just when the turn of the
// one before ends.
func TestNothingIsMissed(t *testing.T) {
	const clients, rounds = 8, 500
	each(t, func(t *testing.T, o Options) {
		s := serve(t, o, echo)
		var all sync.WaitGroup
		for range clients {
			c, _ := s.connect(0)
			all.Go(func() {
				for range rounds {
					c.tryWrite(text("x"))
					if _, _, err := c.read(); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		all.Wait()
	})
}

// wrap changes what the server accepts, if it is set.
var wrap func(net.Conn) net.Conn

type wrapping struct{ net.Listener }

func (l wrapping) Accept() (net.Conn, error) {
	nc, err := l.Listener.Accept()
	if err == nil && wrap != nil {
		nc = wrap(nc)
	}
	return nc, err
}

// TestNotAHandshake: the answer is HTTP, and no socket remains.
func TestNotAHandshake(t *testing.T) {
	each(t, func(t *testing.T, o Options) {
		s := serve(t, o, nil)
		answer, err := http.Get("http://" + s.addr)
		if err != nil {
			t.Fatal(err)
		}
		_ = answer.Body.Close()
		http.DefaultClient.CloseIdleConnections()
		if answer.StatusCode != http.StatusBadRequest {
			t.Error(answer.Status)
		}
	})
}
