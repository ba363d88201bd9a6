package socket

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

// stream is the client of an event stream.
type stream struct {
	t  testing.TB
	nc net.Conn
	br *bufio.Reader
}

// streaming asks for an event stream.
func (s *server) streaming() (*stream, *peer) {
	s.t.Helper()
	nc, err := net.Dial("tcp", s.addr)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = nc.Close() })
	_ = nc.SetDeadline(time.Now().Add(patience))
	if _, err = io.WriteString(nc, "GET /stream HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		s.t.Fatal(err)
	}
	c := &stream{t: s.t, nc: nc, br: bufio.NewReader(nc)}
	res, err := http.ReadResponse(c.br, nil) //nolint:bodyclose // it is the stream
	if err != nil {
		s.t.Fatal(err)
	}
	h := res.Header
	if res.StatusCode != http.StatusOK || h.Get("Content-Type") != "text/event-stream" ||
		h.Get("X-Accel-Buffering") != "no" || h.Get("X-More") != "yes" || !res.Close {
		s.t.Errorf("the answer is %v", res)
	}
	return c, <-s.peers
}

// wants reads exactly this.
func (c *stream) wants(text string) {
	c.t.Helper()
	b := make([]byte, len(text))
	if n, err := io.ReadFull(c.br, b); err != nil || string(b) != text {
		c.t.Fatalf("got %.200q and %v, want %.200q", b[:n], err, text)
	}
}

// wantsEnd reads the end of the stream.
func (c *stream) wantsEnd() {
	c.t.Helper()
	if rest, err := io.ReadAll(c.br); err != nil || len(rest) > 0 {
		c.t.Fatalf("got %.200q and %v, want the end", rest, err)
	}
}

func (c *stream) wantsReset() {
	c.t.Helper()
	if _, err := io.ReadAll(c.br); err != nil && !errors.Is(err, syscall.ECONNRESET) {
		c.t.Fatalf("%v, want the end", err)
	}
}

func TestStream(t *testing.T) {
	each(t, func(t *testing.T, o Options) {
		s := serve(t, o, nil)
		c, p := s.streaming()
		if !p.SendPieces([]byte("id: 1\n"), []byte("data: {}"), []byte("\n\n")) || !p.Send([]byte("data: 2\n\n")) {
			t.Error("refused")
		}
		c.wants("id: 1\ndata: {}\n\ndata: 2\n\n")
		p.Close(4401, `the "token" has expired`)
		if p.Send([]byte("data: 3\n\n")) {
			t.Error("a closing stream takes an event")
		}
		c.wants("event: sluice.close\ndata: {\"type\":\"close\",\"code\":4401,\"reason\":\"the \\\"token\\\" has expired\"}\n\n")
		c.wantsEnd()
		_ = c.nc.Close()
		if code := p.ended(); code != 4401 {
			t.Errorf("code %d", code)
		}
	})
}

// TestStreamThatIsNotClosed: a client that does not hang up after the end is cut off.
func TestStreamThatIsNotClosed(t *testing.T) {
	each(t, func(t *testing.T, o Options) {
		o.CloseTimeout = 100 * time.Millisecond
		s := serve(t, o, nil)
		c, p := s.streaming()
		p.Close(websocket.CloseServiceRestart, "")
		c.wants("event: sluice.close\n")
		if code := p.ended(); code != websocket.CloseServiceRestart {
			t.Errorf("code %d", code)
		}
	})
}

func TestStreamHangsUp(t *testing.T) {
	each(t, func(t *testing.T, o Options) {
		s := serve(t, o, nil)
		c, p := s.streaming()
		_ = c.nc.Close()
		if code := p.ended(); code != abnormal {
			t.Errorf("code %d", code)
		}
	})
}

// TestStreamHears: what a client sends on an event stream ends it.
func TestStreamHears(t *testing.T) {
	each(t, func(t *testing.T, o Options) {
		s := serve(t, o, nil)
		c, p := s.streaming()
		if _, err := io.WriteString(c.nc, "GET /stream HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		if code := p.ended(); code != abnormal {
			t.Errorf("code %d", code)
		}
		c.wantsReset()
	})
}

// TestStreamPings: an idle stream gets comments, and is said to live as long as it takes them; never that it gave no pong.
func TestStreamPings(t *testing.T) {
	each(t, func(t *testing.T, o Options) {
		o.PingInterval, o.StreamPing = time.Hour, 20*time.Millisecond
		s := serve(t, o, nil)
		c, p := s.streaming()
		c.wants(strings.Repeat(":\n\n", 3*maxMissed))
		until(t, "signs of life", func() bool { return p.pongs.Load() >= 2*maxMissed })
		p.Kill()
		p.ended()
	})
}

// TestStreamTooSlow: an event stream that takes nothing is not said to live, and ends like a WebSocket.
func TestStreamTooSlow(t *testing.T) {
	each(t, func(t *testing.T, o Options) {
		o.PingInterval, o.SendBuffer = 50*time.Millisecond, 4096
		s := serve(t, o, nil)
		c, p := s.streaming()
		event := []byte("data: " + strings.Repeat("x", 32<<10) + "\n\n")
		go func() {
			for n := 0; !p.past(closing); n++ {
				if !p.SendPieces(fmt.Appendf(nil, "id: %d\n", n), event) {
					select {
					case <-p.drained:
					case <-p.Done():
					}
				}
			}
		}()
		if code := p.ended(); code != CloseTooSlow {
			t.Errorf("code %d", code)
		}
		c.wantsReset()
	})
}

// TestStreamAnswers: a large event leaves room for answers, though it lies in several pieces.
func TestStreamAnswers(t *testing.T) {
	each(t, func(t *testing.T, o Options) {
		o.SendBuffer = 4096
		s := serve(t, o, nil)
		c, p := s.streaming()
		head, end := []byte("data: "), []byte("\n\n")
		large := bytes.Repeat([]byte("x"), 64*o.QueueBytes)
		if !p.SendPieces(head, large, end) || !p.AnswerPieces(head, []byte("{}"), end) {
			t.Error("refused")
		}
		if p.SendPieces(head, []byte("{}"), end) {
			t.Error("an event took the answers' room")
		}
		answer, taken := bytes.Repeat([]byte("a"), 1000), 0
		for p.AnswerPieces(head, answer, end) {
			taken++
		}
		if taken == 0 || taken > (o.QueueBytes+answerBytes)/len(answer) {
			t.Errorf("%d answers of %d bytes were taken", taken, len(answer))
		}
		c.wants("data: " + string(large) + "\n\ndata: {}\n\n" + strings.Repeat("data: "+string(answer)+"\n\n", taken))
		p.Kill()
		p.ended()
	})
}

// TestStreamDrained: a stream whose queue was full has everything that was taken, in order, once it reads.
func TestStreamDrained(t *testing.T) {
	each(t, func(t *testing.T, o Options) {
		o.SendBuffer = 4096
		s := serve(t, o, nil)
		c, p := s.streaming()
		pad := strings.Repeat("x", 48<<10)
		event := func(n int) []string { return []string{fmt.Sprintf("id: %d\n", n), "data: " + pad, "\n\n"} }
		const events = 200
		go func() {
			for n := range events {
				pieces := event(n)
				for !p.SendPieces([]byte(pieces[0]), []byte(pieces[1]), []byte(pieces[2])) {
					select {
					case <-p.drained:
					case <-p.Done():
						return
					}
				}
			}
			p.Close(1000, "")
		}()
		for n := range events {
			c.wants(strings.Join(event(n), ""))
		}
		c.wants("event: sluice.close\n")
		_ = c.nc.Close()
		p.ended()
	})
}
