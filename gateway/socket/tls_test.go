package socket

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math/big"
	mathrand "math/rand/v2"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

// testTLS is the TLS of servers, and what a client believes.
var testTLS = sync.OnceValues(func() (*tls.Config, *x509.CertPool) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"test"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		panic(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		panic(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return &tls.Config{
		Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}},
		MinVersion:   tls.VersionTLS12, NextProtos: []string{"http/1.1"},
	}, pool
})

// eachTLS runs a test over TLS with every implementation and version.
func eachTLS(t *testing.T, test func(t *testing.T, o Options, version uint16)) {
	each(t, func(t *testing.T, o Options) {
		for name, version := range map[string]uint16{"1.2": tls.VersionTLS12, "1.3": tls.VersionTLS13} {
			t.Run(name, func(t *testing.T) { test(t, o, version) })
		}
	})
}

func serveTLS(t testing.TB, o Options, onMessage func(*peer, []byte)) *server {
	t.Helper()
	return serveOn(t, o, onMessage, func(l net.Listener) net.Listener {
		config, _ := testTLS()
		return TLSListener(l, config)
	})
}

// tlsClient is a client over TLS.
type tlsClient struct {
	*websocket.Conn
	t  testing.TB
	nc *net.TCPConn // what carries it
}

// connectTLS makes a client with a receive buffer of so many bytes (0: as the system is set), and gives its peer.
func (s *server) connectTLS(version uint16, buffer int) (*tlsClient, *peer) {
	s.t.Helper()
	d := net.Dialer{Timeout: patience}
	if buffer > 0 {
		d.Control = receiveBuffer(buffer)
	}
	nc, err := d.Dial("tcp", s.addr)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = nc.Close() })
	_, pool := testTLS()
	dialer := websocket.Dialer{
		HandshakeTimeout: patience, NetDial: func(string, string) (net.Conn, error) { return nc, nil },
		TLSClientConfig: &tls.Config{RootCAs: pool, ServerName: "test", MinVersion: version, MaxVersion: version},
	}
	ws, answer, err := dialer.Dial("wss://test/", nil)
	if err != nil {
		s.t.Fatal(err)
	}
	_ = answer.Body.Close()
	_ = ws.SetReadDeadline(time.Now().Add(2 * patience))
	select {
	case p := <-s.peers:
		return &tlsClient{ws, s.t, nc.(*net.TCPConn)}, p
	case <-time.After(patience):
		s.t.Fatal("no socket came of the handshake")
		return nil, nil
	}
}

func (c *tlsClient) say(data []byte) {
	c.t.Helper()
	if err := c.WriteMessage(websocket.TextMessage, data); err != nil {
		c.t.Fatal(err)
	}
}

func (c *tlsClient) hear(want []byte) {
	c.t.Helper()
	_, got, err := c.ReadMessage()
	if err != nil || !bytes.Equal(got, want) {
		c.t.Fatalf("got %.60q (%d bytes), %v; want %.60q (%d bytes)", got, len(got), err, want, len(want))
	}
}

// TestTLSEcho: messages of all sizes, several at once, in both ways.
func TestTLSEcho(t *testing.T) {
	eachTLS(t, func(t *testing.T, o Options, version uint16) {
		o.QueueBytes = 8 << 20
		s := serveTLS(t, o, echo)
		c, p := s.connectTLS(version, 0)
		var said [][]byte
		for _, n := range []int{0, 1, 125, 126, 4096, piece - 4, piece, piece + 1, 70_000, 300_000} {
			b := bytes.Repeat([]byte{'a' + byte(n%26)}, n)
			said = append(said, b)
			c.say(b)
			c.hear(b)
		}
		var saying sync.WaitGroup
		saying.Go(func() {
			for _, b := range said {
				_ = c.WriteMessage(websocket.TextMessage, b)
			}
		})
		for _, b := range said {
			c.hear(b)
		}
		saying.Wait()
		_ = c.WriteMessage(websocket.CloseMessage, websocket.FormatCloseMessage(1000, ""))
		if _, _, err := c.ReadMessage(); !websocket.IsCloseError(err, 1000) {
			t.Errorf("the close was answered with %v", err)
		}
		if code := p.ended(); code != 1000 {
			t.Errorf("closed with %d", code)
		}
	})
}

// TestTLSSlow: what a client does not take waits, and comes whole and in order when it reads again.
func TestTLSSlow(t *testing.T) {
	eachTLS(t, func(t *testing.T, o Options, version uint16) {
		o.SendBuffer = 16 << 10
		s := serveTLS(t, o, nil)
		c, p := s.connectTLS(version, smallBuffer)
		r := mathrand.New(mathrand.NewPCG(1, 2)) //nolint:gosec // sizes
		var sent [][]byte
		send := func() bool {
			b := make([]byte, 1+r.IntN(40_000))
			for i := range b {
				b[i] = 'a' + byte((len(sent)+i)%26)
			}
			if !p.Send(serverText(b)) {
				return false
			}
			sent = append(sent, b)
			return true
		}
		for range 3 { // fills it, lets it drain, again
			for end := time.Now().Add(patience); send(); {
				if time.Now().After(end) {
					t.Fatal("everything is taken, and nobody reads")
				}
			}
			for _, b := range sent {
				c.hear(b)
			}
			sent = sent[:0]
			select {
			case <-p.drained:
			case <-time.After(patience):
				t.Fatal("it is not told that there is room again")
			}
		}
		for send() {
		}
		p.Close(4000, "the end of it")
		for _, b := range sent {
			c.hear(b)
		}
		if _, _, err := c.ReadMessage(); !websocket.IsCloseError(err, 4000) {
			t.Errorf("after what was queued comes %v, want the close", err)
		}
	})
}

// TestTLSEnds: the client can tell an end from a cut, and so can we.
func TestTLSEnds(t *testing.T) {
	eachTLS(t, func(t *testing.T, o Options, version uint16) {
		s := serveTLS(t, o, echo)
		t.Run("refused", func(t *testing.T) {
			c, p := s.connectTLS(version, 0)
			if err := c.WriteMessage(websocket.BinaryMessage, make([]byte, 100_000)); err != nil {
				t.Fatal(err)
			}
			if _, _, err := c.ReadMessage(); !websocket.IsCloseError(err, websocket.CloseUnsupportedData) {
				t.Errorf("a binary message: %v", err)
			}
			_ = c.Close()
			p.ended()
		})
		t.Run("in order", func(t *testing.T) {
			c, p := s.connectTLS(version, 0)
			p.Close(1012, "")
			_, _, err := c.ReadMessage() // answers it
			if !websocket.IsCloseError(err, 1012) {
				t.Fatal(err)
			}
			if _, err = c.NetConn().Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
				t.Errorf("the end of the stream is %v", err)
			}
			if code := p.ended(); code != 1012 {
				t.Errorf("closed with %d", code)
			}
		})
		t.Run("the client is cut off", func(t *testing.T) {
			c, p := s.connectTLS(version, 0)
			_ = c.nc.SetLinger(0)
			_ = c.nc.Close()
			if code := p.ended(); code != abnormal {
				t.Errorf("closed with %d", code)
			}
		})
		t.Run("rubbish in place of a record", func(t *testing.T) {
			c, p := s.connectTLS(version, 0)
			_, _ = c.nc.Write(bytes.Repeat([]byte("rubbish "), 1000))
			if code := p.ended(); code != abnormal {
				t.Errorf("closed with %d", code)
			}
		})
		t.Run("killed", func(t *testing.T) {
			c, p := s.connectTLS(version, 0)
			p.Kill()
			if _, _, err := c.ReadMessage(); err == nil || websocket.IsCloseError(err, 1000) {
				t.Errorf("the client sees %v", err)
			}
			p.ended()
		})
	})
}

// TestTLSPieces: records that come byte by byte, and pings.
func TestTLSPieces(t *testing.T) {
	eachTLS(t, func(t *testing.T, o Options, version uint16) {
		s := serveTLS(t, o, echo)
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = l.Close() }()
		var links sync.WaitGroup
		defer links.Wait()
		links.Go(func() {
			down, err := l.Accept()
			if err != nil {
				return
			}
			up, err := net.Dial("tcp", s.addr)
			if err != nil {
				_ = down.Close()
				return
			}
			links.Go(func() { _, _ = io.Copy(down, up); _ = down.Close() })
			b := make([]byte, 1)
			for {
				if _, err := down.Read(b); err != nil {
					break
				}
				if _, err := up.Write(b); err != nil {
					break
				}
			}
			_ = up.Close()
		})
		slow := &server{t: s.t, addr: l.Addr().String(), peers: s.peers}
		c, p := slow.connectTLS(version, 0)
		for _, n := range []int{1, 200, 5000} {
			b := bytes.Repeat([]byte("x"), n)
			c.say(b)
			c.hear(b)
		}
		ponged := ""
		c.SetPongHandler(func(text string) error { ponged = text; return nil })
		_ = c.WriteMessage(websocket.PingMessage, []byte("ping"))
		c.say([]byte("x"))
		c.hear([]byte("x"))
		if ponged != "ping" {
			t.Errorf("the ping is answered by %q", ponged)
		}
		_ = c.nc.Close()
		p.ended()
	})
}

// TestTLSHold: what the client sends stays where it is, and is read after Release, also what crypto/tls has read already.
func TestTLSHold(t *testing.T) {
	eachTLS(t, func(t *testing.T, o Options, version uint16) {
		s := serveTLS(t, o, func(p *peer, data []byte) {
			if string(data) == "hold" {
				p.Hold()
			}
			p.Send(serverText(data))
		})
		c, p := s.connectTLS(version, 0)
		for range 20 {
			c.say([]byte("hold"))
			c.say([]byte("one"))
			c.say([]byte("two"))
			c.hear([]byte("hold"))
			p.Release()
			c.hear([]byte("one"))
			c.hear([]byte("two"))
		}
	})
}

// TestTLSHandshakes that must not end well.
func TestTLSHandshakes(t *testing.T) {
	each(t, func(t *testing.T, o Options) {
		s := serveTLS(t, o, echo)
		_, pool := testTLS()
		for name, change := range map[string]func(*tls.Config){
			"TLS 1.1":       func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS11, tls.VersionTLS11 },
			"HTTP/2 only":   func(c *tls.Config) { c.NextProtos = []string{"h2"} },
			"a large hello": func(c *tls.Config) { c.NextProtos = largeHello() },
		} {
			config := &tls.Config{RootCAs: pool, ServerName: "test", MinVersion: tls.VersionTLS12}
			change(config)
			nc, err := tls.DialWithDialer(&net.Dialer{Timeout: patience}, "tcp", s.addr, config)
			if err == nil {
				_ = nc.Close()
				t.Errorf("%s: let in", name)
			}
		}
		nc, err := net.Dial("tcp", s.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = nc.Close() }()
		_, _ = io.WriteString(nc, "GET / HTTP/1.1\r\nHost: test\r\n\r\n")
		_ = nc.SetReadDeadline(time.Now().Add(patience))
		answer, _ := io.ReadAll(nc)
		if !strings.HasPrefix(string(answer), "HTTP/1.0 400") {
			t.Errorf("a request without TLS is answered with %q", answer)
		}
	})
}

// largeHello is so many protocols that a ClientHello has more than maxHello bytes.
func largeHello() (protocols []string) {
	for range maxHello / 200 {
		protocols = append(protocols, strings.Repeat("x", 250))
	}
	return append(protocols, "http/1.1")
}

// TestTLSIdle: an idle socket has no goroutine over TLS either.
func TestTLSIdle(t *testing.T) {
	eachTLS(t, func(t *testing.T, o Options, version uint16) {
		if o.goroutines {
			t.SkipNow()
		}
		s := serveTLS(t, o, echo)
		before := runtime.NumGoroutine()
		for range 20 {
			c, _ := s.connectTLS(version, 0)
			c.say([]byte("x"))
			c.hear([]byte("x"))
		}
		until(t, "no goroutines", func() bool { return runtime.NumGoroutine() <= before+2 })
	})
}
