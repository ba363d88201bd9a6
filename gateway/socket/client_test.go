package socket

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"time"
)

// Opcodes, RFC 6455, 5.2.
const (
	opContinue = 0x0
	opText     = 0x1
	opBinary   = 0x2

	final = 0x80
)

// patience is how long a test waits for what must come.
const patience = 10 * time.Second

// client writes and reads the bytes of frames by hand.
type client struct {
	t      testing.TB
	nc     *net.TCPConn
	br     *bufio.Reader
	byByte bool // tryWrite writes short frames byte by byte
}

// dial shakes hands. A receive buffer of more than 0 bytes is set before that, so
// that the kernel takes little from a server whose client does not read.
func dial(t testing.TB, addr string, buffer int) *client {
	t.Helper()
	d := net.Dialer{Timeout: patience}
	if buffer > 0 {
		d.Control = receiveBuffer(buffer)
	}
	nc, err := d.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	c := &client{t: t, nc: nc.(*net.TCPConn), br: bufio.NewReaderSize(nc, 512)}
	t.Cleanup(func() { _ = nc.Close() })
	c.write([]byte("GET / HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"))
	_ = nc.SetReadDeadline(time.Now().Add(patience))
	answer, err := http.ReadResponse(c.br, nil)
	if err != nil || answer.StatusCode != http.StatusSwitchingProtocols ||
		answer.Header.Get("Sec-WebSocket-Accept") != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" { // the example of RFC 6455, 1.3
		t.Fatalf("handshake: %v %v", answer, err)
	}
	_ = answer.Body.Close() // there is none
	return c
}

// frame makes a client's frame: first has FIN, the reserved bits and the opcode.
func frame(first byte, payload []byte) []byte {
	b := []byte{first}
	switch n := len(payload); {
	case n < 126:
		b = append(b, 0x80|byte(n))
	case n < 65536:
		b = binary.BigEndian.AppendUint16(append(b, 0x80|126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, 0x80|127), uint64(n))
	}
	mask := [4]byte{0x37, 0xfa, 0x21, 0x3d}
	b = append(b, mask[:]...)
	for i, p := range payload {
		b = append(b, p^mask[i%4])
	}
	return b
}

func text(s string) []byte { return frame(final|opText, []byte(s)) }

func closeText(code int, reason string) []byte {
	return frame(final|opClose, append(binary.BigEndian.AppendUint16(nil, uint16(code)), reason...))
}

// serverText is a frame as the server sends it.
func serverText(s []byte) []byte { return serverFrame(final|opText, s) }

func serverFrame(first byte, s []byte) []byte {
	b := []byte{first}
	switch n := len(s); {
	case n < 126:
		b = append(b, byte(n))
	case n < 65536:
		b = binary.BigEndian.AppendUint16(append(b, 126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, 127), uint64(n))
	}
	return append(b, s...)
}

func (c *client) write(b []byte) {
	c.t.Helper()
	_ = c.nc.SetWriteDeadline(time.Now().Add(patience))
	if _, err := c.nc.Write(b); err != nil {
		c.t.Fatalf("client's write: %v", err)
	}
}

// tryWrite is for what the server may refuse to read to the end.
func (c *client) tryWrite(b []byte) {
	_ = c.nc.SetWriteDeadline(time.Now().Add(patience))
	for c.byByte && len(b) < 1024 && len(b) > 1 {
		_, _ = c.nc.Write(b[:1]) // a segment of its own: Go sets TCP_NODELAY
		b = b[1:]
	}
	_, _ = c.nc.Write(b)
}

// read reads a frame of the server; its first byte must have FIN and no reserved
// bits, and it must not be masked.
func (c *client) read() (op byte, payload []byte, err error) {
	_ = c.nc.SetReadDeadline(time.Now().Add(patience))
	var head [10]byte
	if _, err = io.ReadFull(c.br, head[:2]); err != nil {
		return 0, nil, err
	}
	n := int(head[1])
	switch {
	case head[0]&0xf0 != final || n > 127:
		return 0, nil, fmt.Errorf("frame begins with %x", head[:2])
	case n == 126:
		_, err = io.ReadFull(c.br, head[2:4])
		n = int(binary.BigEndian.Uint16(head[2:]))
	case n == 127:
		_, err = io.ReadFull(c.br, head[2:10])
		n = int(binary.BigEndian.Uint64(head[2:]))
	}
	if err != nil {
		return 0, nil, err
	}
	payload = make([]byte, n)
	_, err = io.ReadFull(c.br, payload)
	return head[0] & 0x0f, payload, err
}

// expect reads one frame.
func (c *client) expect(op byte, payload []byte) {
	c.t.Helper()
	got, p, err := c.read()
	if err != nil || got != op || !bytes.Equal(p, payload) {
		c.t.Fatalf("got frame %x %.60q (%d bytes), %v; want %x %.60q (%d bytes)", got, p, len(p), err, op, payload, len(payload))
	}
}

// expectClose reads one close frame, answers it, and reads the end of the stream.
func (c *client) expectClose(code int) {
	c.t.Helper()
	op, p, err := c.read()
	if err != nil || op != opClose || len(p) < 2 || int(binary.BigEndian.Uint16(p)) != code {
		c.t.Fatalf("got frame %x %.60q, %v; want a close with %d", op, p, err, code)
	}
	c.tryWrite(closeText(code, ""))
	c.expectEnd()
}

// expectEnd wants the stream to end, in order: a reset would have lost a close frame.
func (c *client) expectEnd() {
	c.t.Helper()
	if op, p, err := c.read(); !errors.Is(err, io.EOF) {
		c.t.Fatalf("got frame %x %.60q, %v; want the end of the stream", op, p, err)
	}
}

func (c *Conn) writes() bool    { return c.now(func() bool { return c.out.writer == writing }) }
func (c *Conn) isBlocked() bool { return c.now(func() bool { return c.out.writer == blocked }) }
func (c *Conn) waits() bool     { return c.now(func() bool { return c.in.turn == waiting }) }

func (c *Conn) now(f func() bool) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return f()
}
