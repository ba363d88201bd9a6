//go:build linux && !sluice_goroutines

package socket

import (
	"crypto/tls"
	"errors"
	"net"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"sluice/gateway/lock"
)

// maxCipher bounds the encrypted bytes that wait for room in the kernel: a record, and what crypto/tls answers by itself.
const maxCipher = 2 * piece

var errTooMuchCipher = errors.New("the client asks for more answers than it takes")

// tlsLink is a link of a TLS connection that the poller watches. Between two messages it has no goroutine either, and no
// buffers but those that crypto/tls keeps.
//
// crypto/tls may be told that nothing has come yet: it keeps what it has of a record, and goes on with the next read. A
// write that fails is the end for it. So it is never told that there is no room: what the kernel does not take waits here,
// and the frames that it is made of stay in the socket's queue until it has all of it.
type tlsLink struct {
	pollLink
	tls   *tls.Conn
	waits bool // whether the read under way may wait
	plain int  // bytes of frames that have been encrypted and are not yet all in the kernel

	mu     lock.Mutex[lock.Cipher] // the reader writes, too: when the client wants new keys
	cipher []byte                  // for which the kernel had no room
}

// tlsLink takes the descriptor of a connection over, as link does.
func (p *poller) tlsLink(nc *tls.Conn, c *Conn) link {
	u, ok := nc.NetConn().(*under)
	if !ok {
		return nil
	}
	tcp, ok := u.Conn.(*net.TCPConn)
	if !ok {
		return nil
	}
	fd := takeOver(tcp)
	if fd < 0 {
		return nil
	}
	l := &tlsLink{pollLink: pollLink{c: c, poller: p, fd: fd}, tls: nc}
	u.Conn, u.polled = closed{}, l
	return l
}

// closed is the connection that is not there any more. crypto/tls sets deadlines when it ends.
type closed struct{ net.Conn }

func (closed) SetDeadline(time.Time) error      { return nil }
func (closed) SetReadDeadline(time.Time) error  { return nil }
func (closed) SetWriteDeadline(time.Time) error { return nil }

// start lets a turn look: crypto/tls may have read something already, of which no event tells.
func (l *tlsLink) start() error {
	if err := l.pollLink.start(); err != nil {
		return err
	}
	l.c.read()
	return nil
}

// later is errAgain or errInterrupted in a form after which crypto/tls goes on.
type later struct{ error }

func (later) Timeout() bool   { return true }
func (later) Temporary() bool { return true }

func (l *tlsLink) readCipher(b []byte) (int, error) {
	n, err := l.pollLink.read(b, l.waits)
	if err == errAgain || err == errInterrupted { //nolint:errorlint // as they are
		err = later{err}
	}
	return n, err
}

func (l *tlsLink) read(b []byte, wait bool) (int, error) {
	l.waits = wait
	n, err := l.tls.Read(b)
	if n > 0 { // an error comes again
		return n, nil
	}
	if reason := (later{}); errors.As(err, &reason) {
		err = reason.error
	}
	return 0, err
}

var records = sync.Pool{New: func() any { return new([piece]byte) }}

// write encrypts as many frames as fit into one record, and says that they are written when the kernel has it.
func (l *tlsLink) write(frames [][]byte, _ *vector) (int, error) {
	if l.plain == 0 {
		b := records.Get().(*[piece]byte)
		n := 0
		for _, f := range frames {
			n += copy(b[n:], f)
		}
		_, err := l.tls.Write(b[:n])
		records.Put(b)
		if err != nil {
			return 0, err
		}
		l.plain = n
	}
	l.mu.Lock()
	err := l.flush()
	l.mu.Unlock()
	if err != nil {
		return 0, err
	}
	n := l.plain
	l.plain = 0
	return n, nil
}

func (l *tlsLink) writeCipher(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	err := l.flush()
	sent := 0
	if err == nil {
		sent, err = l.send(b)
	}
	if err != nil && !errors.Is(err, errAgain) {
		return 0, err
	}
	if len(l.cipher)+len(b)-sent > maxCipher {
		return 0, errTooMuchCipher
	}
	l.cipher = append(l.cipher, b[sent:]...)
	return len(b), nil
}

// flush sends what waits; errAgain: the kernel has no room for the rest. l.mu is held.
func (l *tlsLink) flush() error {
	if len(l.cipher) == 0 {
		return nil
	}
	n, err := l.send(l.cipher)
	if l.cipher = l.cipher[n:]; len(l.cipher) == 0 {
		l.cipher = nil
	}
	return err
}

func (l *tlsLink) send(b []byte) (sent int, err error) {
	for sent < len(b) {
		n, err := unix.Write(l.fd, b[sent:])
		switch {
		case err == nil:
			sent += n
		case errors.Is(err, unix.EAGAIN):
			return sent, errAgain
		case !errors.Is(err, unix.EINTR):
			return sent, err
		}
	}
	return sent, nil
}

// halfClose says by a record, too, that this was the end: without it the client could not tell it from a cut.
func (l *tlsLink) halfClose() bool {
	_ = l.tls.CloseWrite()
	return l.pollLink.halfClose()
}

func (l *tlsLink) close(unsent bool) {
	if !unsent {
		_ = l.tls.CloseWrite() // once
	}
	l.pollLink.close(unsent)
}

// link takes the descriptor of a connection over, out of the hands of Go's poller,
// which would be woken for each message, too, and keeps some hundred bytes for each
// socket. nil: this connection cannot be polled, or there are no descriptors.
func (p *poller) link(nc net.Conn, c *Conn) link {
	if p == nil {
		return nil
	}
	switch nc := nc.(type) {
	case *net.TCPConn:
		if fd := takeOver(nc); fd >= 0 {
			return &pollLink{c: c, poller: p, fd: fd}
		}
	case *tls.Conn:
		return p.tlsLink(nc, c)
	}
	return nil
}
