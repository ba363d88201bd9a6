package socket

import (
	"bytes"
	"io"
	"testing"
	"time"
)

func TestNoPong(t *testing.T) {
	each(t, func(t *testing.T, o Options) {
		o.PingInterval = 200 * time.Millisecond
		s := serve(t, o, nil)
		c, p := s.connect(0)
		// It answers two pings, then no more.
		for range 2 {
			c.expect(opPing, nil)
			c.write(frame(opPong|final, nil))
		}
		until(t, "two pongs", func() bool { return p.pongs.Load() == 2 })
		c.expect(opPing, nil)
		c.expect(opPing, nil)
		c.expectClose(CloseNoPong)
		_ = c.nc.Close()
		if code := p.ended(); code != CloseNoPong {
			t.Error("code", code)
		}
	})
}

func TestPongsKeepASocket(t *testing.T) {
	each(t, func(t *testing.T, o Options) {
		o.PingInterval = 200 * time.Millisecond
		s := serve(t, o, nil)
		c, p := s.connect(0)
		for range 5 {
			c.expect(opPing, nil)
			c.write(frame(opPong|final, []byte("whatever")))
		}
		until(t, "five pongs", func() bool { return p.pongs.Load() == 5 })
	})
}

// TestPongsBehindMessages: a client is not closed for pongs that wait behind its messages, while these wait for
// something slow.
func TestPongsBehindMessages(t *testing.T) {
	each(t, func(t *testing.T, o Options) {
		o.PingInterval = 200 * time.Millisecond
		slow := make(chan struct{}, 1)
		s := serve(t, o, func(*peer, []byte) { <-slow })
		c, p := s.connect(0)
		message := frame(opText|final, []byte("x"))
		c.write(append(message, message...))
		for i := range 8 {
			c.expect(opPing, nil)
			c.write(frame(opPong|final, nil))
			if i == 3 {
				slow <- struct{}{}
			}
		}
		slow <- struct{}{}
		until(t, "eight pongs", func() bool { return p.pongs.Load() >= 8 })
	})
}

func TestStuckWriter(t *testing.T) {
	each(t, func(t *testing.T, o Options) {
		o.PingInterval, o.CloseTimeout = 100*time.Millisecond, 100*time.Millisecond
		s := serve(t, o, nil)
		_, p := s.connect(smallBuffer)
		fill(p, serverText(bytes.Repeat([]byte("x"), 1000)))
		if code := p.ended(); code != CloseTooSlow {
			t.Error("code", code)
		}
	})
}

// TestSlowButAlive: a client that reads a little in each round is not closed, though
// its pongs come late.
func TestSlowButAlive(t *testing.T) {
	each(t, func(t *testing.T, o Options) {
		o.PingInterval = 200 * time.Millisecond
		s := serve(t, o, nil)
		c, p := s.connect(smallBuffer)
		f := serverText(bytes.Repeat([]byte("x"), 1000))
		for end := time.Now().Add(time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
			for p.Send(f) {
			}
			for range 10 {
				op, _, err := c.read()
				if err != nil {
					t.Fatal(err, p.ended())
				}
				if op == opPing {
					c.write(frame(opPong|final, nil))
				}
			}
		}
	})
}

// TestSlowWithALargeFrame: the same, within one frame, for several rounds of pings.
func TestSlowWithALargeFrame(t *testing.T) {
	each(t, func(t *testing.T, o Options) {
		o.PingInterval = 500 * time.Millisecond
		frame := serverText(make([]byte, 16<<20)) // more than is read, and than the kernel takes, in this time
		s := serve(t, o, nil)
		c, p := s.connect(64 << 10)
		p.Send(frame)
		for end := time.Now().Add(4 * o.PingInterval); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
			if _, err := io.CopyN(io.Discard, c.br, 20<<10); err != nil {
				t.Fatal(err, p.ended())
			}
		}
		if p.past(closing) {
			t.Error("closed with", p.code)
		}
	})
}
