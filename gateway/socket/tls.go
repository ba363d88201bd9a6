package socket

import (
	"crypto/tls"
	"fmt"
	"net"
)

// maxHello bounds what a client sends before it knows who we are: crypto/tls takes 64 KiB, and keeps the memory for as
// long as the connection lives. Those of browsers have 2 KiB.
const maxHello = 16 << 10

// TLSListener makes TLS connections of what l accepts, of which sockets can be made that are polled.
func TLSListener(l net.Listener, config *tls.Config) net.Listener {
	config = config.Clone()
	// Each message of ours is to leave as one record, in one write. A record is at most 16 KiB in any case.
	config.DynamicRecordSizingDisabled = true
	config.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		if u, ok := hello.Conn.(*under); ok && u.hello > maxHello {
			return nil, fmt.Errorf("a ClientHello of more than %d bytes", maxHello)
		}
		return nil, nil // as it is
	}
	return tls.NewListener(underListener{l}, config)
}

type underListener struct{ net.Listener }

func (l underListener) Accept() (net.Conn, error) {
	nc, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &under{Conn: nc}, nil
}

// under is what is below a TLS connection: at first the connection itself, for the handshakes and for requests over HTTP;
// then, if it becomes a socket that is polled, the socket's link.
type under struct {
	net.Conn
	hello  int // bytes read until the ClientHello was there, or a few more
	polled cipherLink
}

// cipherLink carries the bytes of a TLS connection. Both never wait for the client's.
type cipherLink interface {
	readCipher(b []byte) (int, error)
	writeCipher(b []byte) (int, error)
}

func (u *under) Read(b []byte) (int, error) {
	if u.polled != nil {
		return u.polled.readCipher(b)
	}
	n, err := u.Conn.Read(b)
	if u.hello <= maxHello {
		u.hello += n
	}
	return n, err
}

func (u *under) Write(b []byte) (int, error) {
	if u.polled != nil {
		return u.polled.writeCipher(b)
	}
	return u.Conn.Write(b)
}

// NetConn is the connection below.
func (u *under) NetConn() net.Conn { return u.Conn }

// tcpOf is the TCP connection that carries a connection, or nil.
func tcpOf(nc net.Conn) *net.TCPConn {
	for {
		switch c := nc.(type) {
		case *net.TCPConn:
			return c
		case interface{ NetConn() net.Conn }:
			nc = c.NetConn()
		default:
			return nil
		}
	}
}
