package socket

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"
)

// smallBuffer makes the kernel take little from a server whose client does not read.
const smallBuffer = 4096

// fill sends frames until one is refused and no writer is on its way, and returns how
// many were taken.
func fill(p *peer, f []byte) (n int) {
	p.t.Helper()
	for last := time.Now(); time.Since(last) < 50*time.Millisecond; {
		if p.Send(f) {
			n++
			last = time.Now()
		} else {
			time.Sleep(time.Millisecond)
		}
	}
	return n
}

func TestQueueIsBoundedAndSaysWhenThereIsRoom(t *testing.T) {
	each(t, func(t *testing.T, o Options) {
		s := serve(t, o, nil)
		c, p := s.connect(smallBuffer)
		f := serverText(bytes.Repeat([]byte("x"), 1000))
		n := 0
		until(t, "a full queue that refuses", func() bool { // the kernel may still take something
			n += fill(p, f)
			for len(p.drained) > 0 { // of the filling
				<-p.drained
			}
			if p.Send(f) {
				n++
				return false
			}
			p.mu.Lock()
			defer p.mu.Unlock()
			if p.out.bytes > o.QueueBytes {
				t.Errorf("%d bytes wait, of %d", p.out.bytes, o.QueueBytes)
			}
			return p.out.bytes > o.QueueBytes-len(f)
		})
		for range n {
			c.expect(opText, f[4:])
		}
		select {
		case <-p.drained:
		case <-time.After(patience):
			t.Fatal("there is room, and nobody says so")
		}
		if len(p.drained) > 0 {
			t.Error("said so twice")
		}
		// Who was not refused is told nothing.
		if !p.Send(f) {
			t.Fatal("an empty queue refuses a frame")
		}
		c.expect(opText, f[4:])
		if len(p.drained) > 0 {
			t.Error("said that there is room to who was not refused")
		}
	})
}

func TestQueueTakesOneFrameOfAnySize(t *testing.T) {
	each(t, func(t *testing.T, o Options) {
		s := serve(t, o, nil)
		c, p := s.connect(0)
		large := bytes.Repeat([]byte("x"), 8*o.QueueBytes)
		if !p.Send(serverText(large)) {
			t.Fatal("refused")
		}
		c.expect(opText, large)
	})
}

func TestQueueBoundsTheNumberOfFrames(t *testing.T) {
	each(t, func(t *testing.T, o Options) {
		o.QueueBytes = 16 << 20
		s := serve(t, o, nil)
		c, p := s.connect(smallBuffer)
		if !p.Send(serverText(bytes.Repeat([]byte("x"), 8<<20))) {
			t.Fatal("refused")
		}
		n := fill(p, serverText(nil))
		p.mu.Lock()
		waiting := p.out.queue.len()
		p.mu.Unlock()
		if waiting != maxQueued {
			t.Errorf("%d frames wait", waiting)
		}
		_, _, _ = c.read()
		for range n {
			c.expect(opText, nil)
		}
	})
}

// TestOrder lets three goroutines send frames of many sizes while the client pings:
// each one's frames come in order, whole, and the pongs between them.
func TestOrder(t *testing.T) {
	const senders, count, pings = 3, 2000, 200
	each(t, func(t *testing.T, o Options) {
		for _, buffer := range []int{0, smallBuffer} {
			t.Run(fmt.Sprint("receive buffer ", buffer), func(t *testing.T) {
				s := serve(t, o, nil)
				c, p := s.connect(buffer)
				var all sync.WaitGroup
				for sender := range senders {
					all.Go(func() {
						for i := range count {
							data := bytes.Repeat([]byte{byte('a' + i%26)}, 6+(i*37)%3000)
							data[0] = byte(sender)
							binary.BigEndian.PutUint32(data[1:], uint32(i))
							for f := serverText(data); !p.Send(f); {
								time.Sleep(100 * time.Microsecond)
							}
						}
					})
				}
				all.Go(func() {
					for i := range pings {
						c.tryWrite(frame(opPing|final, fmt.Append(nil, i)))
					}
				})
				var next [senders]uint32
				pong := 0
				for texts := 0; texts < senders*count; {
					op, data, err := c.read()
					switch {
					case err != nil:
						t.Fatal(err)
					case op == opPong:
						// A full queue leaves pongs out.
						var n int
						if _, err := fmt.Sscan(string(data), &n); err != nil || n < pong {
							t.Fatalf("pong %q after %d", data, pong)
						}
						pong = n + 1
					case op == opText && len(data) > 5:
						i := binary.BigEndian.Uint32(data[1:])
						if i != next[data[0]] || strings.Trim(string(data[5:]), string(rune('a'+i%26))) != "" {
							t.Fatalf("frame %d of %d came, or its parts of another; want %d", i, data[0], next[data[0]])
						}
						next[data[0]]++
						texts++
					default:
						t.Fatalf("frame %x %q", op, data)
					}
				}
				all.Wait()
			})
		}
	})
}

// TestSendBeforeStart is the way of what is said before the client is listened to.
func TestSendBeforeStart(t *testing.T) {
	each(t, func(t *testing.T, o Options) {
		s := serve(t, o, echo)
		large := bytes.Repeat([]byte("x"), 1<<20)
		s.before = func(p *peer) {
			p.Send(serverText(large)) // more than the kernel takes
			until(t, "the writer", func() bool { return p.isBlocked() || o.goroutines })
		}
		c, p := s.connect(smallBuffer)
		c.expect(opText, large)
		c.write(text("x"))
		c.expect(opText, []byte("x"))
		if p.messages.Load() != 1 {
			t.Error("messages:", p.messages.Load())
		}
	})
}

// TestTogether: what is sent together arrives, to few and to many sockets, also while
// others send; and to few without a goroutine.
func TestTogether(t *testing.T) {
	const sockets, rounds = 150, 20
	each(t, func(t *testing.T, o Options) {
		s := serve(t, o, nil)
		clients := make([]*client, sockets)
		peers := make([]*peer, sockets)
		for i := range peers {
			clients[i], peers[i] = s.connect(0)
		}
		f := serverText([]byte("together"))
		for round := range rounds {
			few := peers[:3]
			if round%2 == 1 {
				few = peers
			}
			until(t, "nobody writes any more", func() bool {
				s.group.tally.mu.Lock()
				defer s.group.tally.mu.Unlock()
				return s.group.tally.n <= sockets || s.group.poller == nil
			})
			s.group.Together(func() {
				for range 2 {
					for _, p := range few {
						if !p.Send(f) {
							t.Error("refused")
						}
					}
				}
			})
			for i, p := range few {
				if len(few) == 3 && s.group.poller != nil && p.writes() {
					t.Error("another goroutine writes for a few sockets")
				}
				clients[i].expect(opText, []byte("together"))
				clients[i].expect(opText, []byte("together"))
			}
		}
	})
}
