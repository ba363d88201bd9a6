package socket

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"
)

func TestCloseSendsWhatIsQueued(t *testing.T) {
	each(t, func(t *testing.T, o Options) {
		s := serve(t, o, nil)
		c, p := s.connect(smallBuffer)
		f := serverText(bytes.Repeat([]byte("x"), 1000))
		n := fill(p, f)
		p.Close(1012, "restart")
		if p.Send(f) {
			t.Error("a closing socket takes a frame")
		}
		p.Close(1000, "again")
		for range n {
			c.expect(opText, f[4:])
		}
		c.expect(opClose, append(binary.BigEndian.AppendUint16(nil, 1012), "restart"...))
		c.write(closeText(1012, ""))
		c.expectEnd()
		_ = c.nc.Close()
		if code := p.ended(); code != 1012 {
			t.Error("code", code)
		}
	})
}

// TestNoMessageAfterClose: who was refused cannot go on talking.
func TestNoMessageAfterClose(t *testing.T) {
	each(t, func(t *testing.T, o Options) {
		s := serve(t, o, func(p *peer, _ []byte) { p.Close(4501, "") })
		c, p := s.connect(0)
		c.write(bytes.Join([][]byte{text("a"), text("b"), frame(opPong|final, nil), text("c"), closeText(4501, "")}, nil))
		c.expectClose(4501)
		_ = c.nc.Close()
		p.ended()
		if p.messages.Load() != 1 || p.pongs.Load() != 0 {
			t.Errorf("%d messages, %d pongs", p.messages.Load(), p.pongs.Load())
		}
	})
}

func TestCloseEndsInTime(t *testing.T) {
	for name, client := range map[string]struct {
		full bool // the server has more to write than the client takes
		then func(c *client)
	}{
		"against a client that does not read": {true, func(*client) {}},
		"against a client that does not answer": {false, func(c *client) {
			op, _, err := c.read()
			if op != opClose || err != nil {
				c.t.Errorf("got %x, %v", op, err)
			}
		}},
		"against a client that talks on": {false, func(c *client) {
			many := repeat(5000, text("bla"))
			for end := time.Now().Add(patience); time.Now().Before(end); {
				if _, err := c.nc.Write(many); err != nil {
					return
				}
			}
		}},
		"against a client in the middle of a message": {false, func(c *client) { c.write(text("xxx")[:5]) }},
	} {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, o Options) {
				o.CloseTimeout = 300 * time.Millisecond
				s := serve(t, o, nil)
				c, p := s.connect(smallBuffer)
				if client.full {
					fill(p, serverText(bytes.Repeat([]byte("x"), 1000)))
				}
				begin := time.Now()
				p.Close(4003, "")
				client.then(c)
				if code := p.ended(); code != 4003 {
					t.Error("code", code)
				}
				if took := time.Since(begin); took > o.CloseTimeout+2*time.Second {
					t.Error("took", took)
				}
			})
		})
	}
}

func TestClientCloses(t *testing.T) {
	each(t, func(t *testing.T, o Options) {
		s := serve(t, o, nil)
		c, p := s.connect(smallBuffer)
		f := serverText(bytes.Repeat([]byte("x"), 1000))
		n := fill(p, f)
		c.write(closeText(3001, "bye"))
		_ = c.nc.CloseWrite() // it still wants what it was promised
		for range n {
			c.expect(opText, f[4:])
		}
		c.expectClose(3001)
		if code := p.ended(); code != 3001 {
			t.Error("code", code)
		}
	})
}

func TestEndsWithoutCloseFrame(t *testing.T) {
	for name, leave := range map[string]func(c *client){
		"the client is gone":            func(c *client) { _ = c.nc.Close() },
		"half-closed":                   func(c *client) { _ = c.nc.CloseWrite() },
		"half-closed behind a message":  func(c *client) { c.write(text("x")); _ = c.nc.CloseWrite() },
		"half-closed within a header":   func(c *client) { c.write(text("x")[:1]); _ = c.nc.CloseWrite() },
		"half-closed within a message":  func(c *client) { c.write(text("xxx")[:7]); _ = c.nc.CloseWrite() },
		"half-closed within a ping":     func(c *client) { c.write(frame(opPing|final, []byte("xxx"))[:7]); _ = c.nc.CloseWrite() },
		"half-closed between fragments": func(c *client) { c.write(frame(opText, []byte("x"))); _ = c.nc.CloseWrite() },
		"reset":                         func(c *client) { _ = c.nc.SetLinger(0); _ = c.nc.Close() },
		"reset within a message":        func(c *client) { c.write(text("xxx")[:7]); _ = c.nc.SetLinger(0); _ = c.nc.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, o Options) {
				s := serve(t, o, nil)
				c, p := s.connect(0)
				leave(c)
				if code := p.ended(); code != 1006 {
					t.Error("code", code)
				}
				if want := strings.Count(name, "behind"); int(p.messages.Load()) != want {
					t.Error("messages:", p.messages.Load())
				}
			})
		})
	}
}

// TestGoneWhileWriting: the writer is the first who hears of it.
func TestGoneWhileWriting(t *testing.T) {
	each(t, func(t *testing.T, o Options) {
		s := serve(t, o, nil)
		c, p := s.connect(smallBuffer)
		f := serverText(bytes.Repeat([]byte("x"), 1000))
		fill(p, f)
		_ = c.nc.Close() // with unread bytes: a reset
		if code := p.ended(); code != 1006 {
			t.Error("code", code)
		}
		if p.Send(f) {
			t.Error("a dead socket takes a frame")
		}
	})
}

func TestKill(t *testing.T) {
	each(t, func(t *testing.T, o Options) {
		s := serve(t, o, nil)
		for _, full := range []bool{false, true} {
			c, p := s.connect(smallBuffer)
			if full {
				fill(p, serverText(bytes.Repeat([]byte("x"), 1000)))
			}
			p.Kill()
			p.Kill()
			if code := p.ended(); code != 1006 {
				t.Error("code", code)
			}
			var err error
			for err == nil {
				_, _, err = c.read()
			}
			if full && !errors.Is(err, syscall.ECONNRESET) {
				t.Error("the kernel goes on to send to a client that is given up:", err)
			}
			p.Close(1000, "") // of no effect
			p.Kill()
		}
	})
}

// TestKillDuringMessage: Closed comes after Message.
func TestKillDuringMessage(t *testing.T) {
	each(t, func(t *testing.T, o Options) {
		begun, proceed := make(chan struct{}), make(chan struct{})
		s := serve(t, o, func(*peer, []byte) { close(begun); <-proceed })
		c, p := s.connect(0)
		c.write(text("x"))
		<-begun
		p.Kill()
		select {
		case <-p.Done():
			t.Error("ended while the handler works")
		case <-time.After(20 * time.Millisecond):
		}
		close(proceed)
		p.ended()
	})
}

// TestKillDuringDrained: Closed comes after Drained, too, and until then nobody else
// has the descriptor.
func TestKillDuringDrained(t *testing.T) {
	each(t, func(t *testing.T, o Options) {
		begun, proceed := make(chan struct{}), make(chan struct{})
		s := serve(t, o, nil)
		s.before = func(p *peer) { p.onDrained = sync.OnceFunc(func() { close(begun); <-proceed }) }
		c, p := s.connect(smallBuffer)
		go func() { _, _ = io.Copy(io.Discard, c.nc) }()
		for f := serverText(make([]byte, 10_000)); ; p.Send(f) {
			select {
			case <-begun:
			default:
				continue
			}
			break
		}
		p.Kill()
		select {
		case <-p.Done():
			t.Error("ended while the handler works")
		case <-time.After(20 * time.Millisecond):
		}
		close(proceed)
		p.ended()
	})
}

func TestAbandon(t *testing.T) {
	each(t, func(t *testing.T, o Options) {
		s := serve(t, o, nil)
		var p *peer
		ended := make(chan struct{})
		s.abandon = true
		s.before = func(q *peer) { p = q; q.Abandon(4501, "no", func() { close(ended) }) }
		c := dial(t, s.addr, 0)
		c.expectClose(4501)
		_ = c.nc.Close()
		select {
		case <-(<-s.peers).Done():
		case <-time.After(patience):
			t.Fatal("the socket does not end")
		}
		if p.closed.Load() {
			t.Error("an abandoned socket has told somebody")
		}
		select {
		case <-ended:
		default:
			t.Error("it is gone, and who abandoned it does not know")
		}
	})
}

func TestClosedBeforeStart(t *testing.T) {
	each(t, func(t *testing.T, o Options) {
		o.CloseTimeout = 200 * time.Millisecond
		s := serve(t, o, nil)
		s.before = func(p *peer) { p.Close(1013, "") }
		c, p := s.connect(0)
		if op, _, err := c.read(); op != opClose || err != nil {
			t.Error(op, err)
		}
		if code := p.ended(); code != 1013 { // the client does not answer
			t.Error("code", code)
		}
	})
}

// TestRunEnds: who is left is killed, who comes later is dead at once.
func TestRunEnds(t *testing.T) {
	each(t, func(t *testing.T, o Options) {
		s := serve(t, o, nil)
		c, p := s.connect(0)
		half, q := s.connect(0)
		half.write(text("xxx")[:7])
		until(t, "half a message", func() bool { return q.group.partials.count() == 1 })
		proceed, begun := make(chan struct{}), make(chan struct{})
		s.before = func(*peer) { close(begun); <-proceed }
		late := make(chan *client)
		go func() { late <- dial(t, s.addr, 0) }()
		<-begun
		s.cancel()
		if code := p.ended(); code != 1006 {
			t.Error("code", code)
		}
		q.ended()
		c.expectEnd()
		close(proceed)
		(<-late).expectEnd()
		if code := (<-s.peers).ended(); code != 1006 {
			t.Error("code", code)
		}
	})
}

func TestTooLarge(t *testing.T) {
	long := strings.Repeat("x", 100_000)
	for name, frames := range map[string][][]byte{
		"one byte too much":                      {text(long[:1001])},
		"much":                                   {text(long)},
		"in fragments":                           fragments(long[:1100], 100),
		"more than 2^63, and nothing behind it":  {{final | opText, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4}},
		"2^63-1, and nothing behind it":          {{final | opText, 0xff, 0x7f, 255, 255, 255, 255, 255, 255, 255, 1, 2, 3, 4}},
		"a first fragment, then 2^63-1":          {frame(opText, []byte("x")), {opContinue, 0xff, 0x7f, 255, 255, 255, 255, 255, 255, 255, 1, 2, 3, 4}},
		"the header of a large one, and no more": {text(long)[:14]},
	} {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, o Options) {
				o.MaxMessage = 1000
				s := serve(t, o, echo)
				c, p := s.connect(0)
				c.write(text(long[:1000]))
				c.expect(opText, []byte(long[:1000]))
				c.write(bytes.Join(frames, nil))
				c.expectClose(1009)
				_ = c.nc.Close()
				if code := p.ended(); code != 1009 {
					t.Error("code", code)
				}
			})
		})
	}
}

// TestTooLargeWhileSending: the client is told 1009 though it goes on writing for
// some time, as clients do.
func TestTooLargeWhileSending(t *testing.T) {
	each(t, func(t *testing.T, o Options) {
		o.MaxMessage, o.CloseTimeout = 1000, patience
		s := serve(t, o, nil)
		c, _ := s.connect(0)
		c.write(text(strings.Repeat("x", 1<<20)))
		c.expectClose(1009)
	})
}

func TestCloseFrame(t *testing.T) {
	for _, test := range []struct {
		code   int
		reason string
		want   string
	}{
		{1000, "", "\x88\x02\x03\xe8"},
		{1000, "bye", "\x88\x05\x03\xe8bye"},
		{1005, "never sent", "\x88\x00"},
		{1006, "never sent", "\x88\x00"},
		{1000, strings.Repeat("x", 124), "\x88\x7d\x03\xe8" + strings.Repeat("x", 123)},
		{1000, strings.Repeat("x", 122) + "é", "\x88\x7c\x03\xe8" + strings.Repeat("x", 122)},
		{1000, strings.Repeat("x", 121) + "éa", "\x88\x7d\x03\xe8" + strings.Repeat("x", 121) + "é"},
	} {
		got := closeFrame(test.code, test.reason)
		if string(got) != test.want || !utf8.Valid(got[min(4, len(got)):]) {
			t.Errorf("%d %q: got %q, want %q", test.code, test.reason, got, test.want)
		}
	}
}
