package socket

import (
	"encoding/binary"
	"encoding/json"
	"net"
	"net/http"
	"time"
	"unicode/utf8"

	"github.com/gorilla/websocket"
)

// framing is what a transport adds to what is sent. Queue, poller, writers, deadlines and the end are the same for all.
type framing struct {
	hears bool   // the client sends messages and answers pings; if not, anything that comes ends the socket
	ping  []byte // what is sent to an idle client
	close func(code int, reason string) []byte
}

var (
	webSocket   = &framing{hears: true, ping: []byte{0x89, 0}, close: closeFrame}
	eventStream = &framing{ping: comment, close: closeEvent}
)

var comment = []byte(":\n\n") // of text/event-stream

func closeFrame(code int, reason string) []byte {
	if code == websocket.CloseNoStatusReceived || code == abnormal {
		return []byte{0x88, 0}
	}
	if len(reason) > 123 { // RFC 6455, 5.5: control frames have at most 125 bytes
		n := 123
		for !utf8.RuneStart(reason[n]) { // and 5.5.1: the reason is UTF-8
			n--
		}
		reason = reason[:n]
	}
	b := append(make([]byte, 0, 4+len(reason)), 0x88, byte(2+len(reason)))
	b = binary.BigEndian.AppendUint16(b, uint16(code))
	return append(b, reason...)
}

// closeEvent is the event `sluice.close`.
func closeEvent(code int, reason string) []byte {
	if code == websocket.CloseNoStatusReceived || code == abnormal {
		return comment
	}
	data, _ := json.Marshal(struct { // cannot fail
		Type   string `json:"type"`
		Code   int    `json:"code"`
		Reason string `json:"reason"`
	}{"close", code, reason})
	return append(append([]byte("event: sluice.close\ndata: "), data...), "\n\n"...)
}

// streamHead is the answer to a request for an event stream. It ends with the connection, so it needs no chunks.
const streamHead = "HTTP/1.1 200 OK\r\n" +
	"Content-Type: text/event-stream\r\n" +
	"X-Accel-Buffering: no\r\n" + // nginx
	"Connection: close\r\n"

// Stream makes an event stream of a request: what is sent are ready pieces of text/event-stream, pings are comments, and
// Pong is called by a timer while the client takes what is sent. The headers that w has are those of the answer, with some
// more. On an error the answer has been written. The socket must be attached, and then started or abandoned.
func (g *Group) Stream(w http.ResponseWriter) (*Conn, error) {
	head := w.Header()
	nc, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		http.Error(w, "a stream is not possible here", http.StatusInternalServerError)
		return nil, err
	}
	_ = nc.SetDeadline(time.Now().Add(handshakeTimeout))
	if _, err = rw.WriteString(streamHead); err == nil {
		err = head.Write(rw)
	}
	if err == nil {
		_, _ = rw.WriteString("\r\n")
		err = rw.Flush()
	}
	if err != nil {
		_ = nc.Close()
		return nil, err
	}
	if nc, err = detached(nc); err != nil { // not before: what was written goes through it
		return nil, err
	}
	_ = nc.SetDeadline(time.Time{})
	boundSilence(nc, 2*(maxMissed+1)*g.opts.PingInterval) // one that is only slow is closed with a reason before
	c := g.newConn(nc, eventStream)
	c.in.deaf = true
	if c.link == nil {
		c.link = &netLink{c: c, nc: nc}
	}
	return c, nil
}

// handshakeTimeout is how long a client may take for the head of an answer.
const handshakeTimeout = 5 * time.Second

// newConn makes a socket of a connection; link is nil where it cannot be polled.
func (g *Group) newConn(nc net.Conn, f *framing) *Conn {
	c := &Conn{group: g, framing: f}
	c.link = g.poller.link(nc, c)
	return c
}

// Bound bounds what the kernel keeps for a client that does not read. It is called when a connection was accepted: answers
// to requests wait there, too.
func (g *Group) Bound(nc net.Conn) {
	if tcp := tcpOf(nc); tcp != nil && g.opts.SendBuffer > 0 {
		_ = tcp.SetWriteBuffer(g.opts.SendBuffer)
	}
	boundUnsent(nc, g.opts.QueueBytes)
}
