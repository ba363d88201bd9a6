package socket

import (
	"bufio"
	"net"
	"net/http"
	"time"
)

// handshakeTimeout is how long a client may take for the head of an answer.
const handshakeTimeout = 5 * time.Second

// Upgrade makes a WebSocket of a request; protocol is the subprotocol to be echoed,
// or "". On an error the answer has been written. The socket must be attached, and
// then started or abandoned.
func (g *Group) Upgrade(w http.ResponseWriter, r *http.Request, protocol string) (*Conn, error) {
	var header http.Header
	if protocol != "" {
		header = http.Header{"Sec-Websocket-Protocol": {protocol}}
	}
	h := &handshake{ResponseWriter: w, reader: &reader{group: g}}
	ws, err := g.upgrader.Upgrade(h, r, header)
	if err != nil {
		return nil, err
	}
	nc := h.reader.nc
	c := g.newConn(nc, webSocket)
	if c.link == nil {
		h.reader.use(ws)
		c.link = &netLink{c: c, nc: nc, reader: h.reader}
	}
	return c, nil
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

// handshake gives gorilla a reader instead of the connection.
type handshake struct {
	http.ResponseWriter
	reader *reader
}

func (h *handshake) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	nc, rw, err := http.NewResponseController(h.ResponseWriter).Hijack()
	if err == nil {
		if nc, err = detached(nc); err != nil {
			return nil, nil, err
		}
	}
	if err != nil || rw.Reader.Buffered() > 0 { // gorilla refuses who sends too early
		return nc, rw, err
	}
	h.reader.nc = nc
	h.reader.br = bufio.NewReaderSize(h.reader, ownBuffer)
	rw.Reader = h.reader.br
	return h.reader, rw, nil
}

// detached is the connection in one that a listener counts: what is polled must be plain TCP.
func detached(nc net.Conn) (net.Conn, error) {
	counted, ok := nc.(interface{ Detach() (net.Conn, bool) })
	if !ok {
		return nc, nil
	}
	if nc, ok = counted.Detach(); !ok {
		return nil, errEarly
	}
	return nc, nil
}
