package listen

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/pires/go-proxyproto"
)

const (
	// MaxHeader is how long the header of a request may be, in bytes.
	MaxHeader = 16 << 10
	// maxLines bounds its lines: each becomes an entry of a map, which is many times as
	// large as a short line.
	maxLines    = 128
	firstBuffer = 1 << 10
)

var errHeader = errors.New("listen: the header of the request is too large")

// Read hands on what has come. The header of a request is handed on once all of it is
// there: net/http keeps what it has read of one in maps and strings, and a header of 16 KiB
// that never ends would cost twenty times as much.
func (c *Conn) Read(p []byte) (int, error) {
	if c.gated {
		if err := c.gather(); err != nil {
			return 0, err
		}
		c.gated = false
		c.listener.line.Stand()
	}
	if len(c.buf) > 0 {
		n := copy(p, c.buf)
		if c.buf = c.buf[n:]; len(c.buf) == 0 {
			c.buf = nil
		}
		return n, nil
	}
	return c.Conn.Read(p)
}

// gather reads until the header is whole. What cannot be read any more is handed on first.
func (c *Conn) gather() error {
	if !c.proxied {
		c.proxied = true
		if err := c.proxyProtocol(); err != nil {
			return err
		}
	}
	seen, lines := 0, 0
	for {
		whole := false
		for ; !whole; lines++ {
			n := bytes.IndexByte(c.buf[seen:], '\n')
			if n < 0 {
				break
			}
			whole = len(bytes.TrimRight(c.buf[seen:seen+n], "\r")) == 0
			seen += n + 1
		}
		switch {
		case whole:
			return nil
		case len(c.buf) >= MaxHeader || lines >= maxLines:
			c.listener.o.Refused(ReasonHeader, c.addr)
			answer(c.Conn, "431 Request Header Fields Too Large", "the header of the request is too large")
			return errHeader
		}
		if err := c.more(); err != nil {
			if len(c.buf) > 0 { // it is for net/http to say what is wrong
				return nil
			}
			return err
		}
	}
}

// more reads once.
func (c *Conn) more() error {
	if len(c.buf) == 0 && c.buf == nil {
		c.buf = make([]byte, 0, firstBuffer)
	}
	if len(c.buf) == cap(c.buf) {
		larger := make([]byte, len(c.buf), min(2*cap(c.buf), MaxHeader))
		copy(larger, c.buf)
		c.buf = larger
	}
	n, err := c.Conn.Read(c.buf[len(c.buf):cap(c.buf)])
	if limit := c.listener.o.RequestTimeout; n > 0 && len(c.buf) == 0 && limit > 0 { // an idle connection has more time than a header
		_ = c.SetReadDeadline(time.Now().Add(limit))
	}
	c.buf = c.buf[:len(c.buf)+n]
	if n > 0 {
		return nil
	}
	return err
}

func isNet(err error) bool {
	_, ok := errors.AsType[net.Error](err)
	return ok || errors.Is(err, io.EOF)
}

// proxyProtocol reads what a trusted proxy may say before the first request.
func (c *Conn) proxyProtocol() error {
	l := c.listener
	if l.o.ProxyHeader != ProxyProtocol || !l.o.trusts(c.addr) {
		return nil
	}
	br := bufio.NewReaderSize(c.Conn, firstBuffer)
	header, err := proxyproto.Read(br)
	switch {
	case errors.Is(err, proxyproto.ErrNoProxyProtocol): // a health check
	case isNet(err):
		return err // the connection has ended
	case err != nil:
		l.o.Refused(ReasonProxy, c.addr)
		return fmt.Errorf("listen: the PROXY header of %v cannot be read: %w", c.addr, err)
	case !header.Command.IsLocal() && header.SourceAddr != nil:
		l.mu.Lock()
		c.addr = addrOf(header.SourceAddr)
		l.mu.Unlock()
	}
	if n := br.Buffered(); n > 0 {
		c.buf = make([]byte, n, max(n, firstBuffer))
		_, err = br.Read(c.buf)
		return err
	}
	return nil
}
