package socket

import (
	"bytes"
	"errors"
	"io"
	"net"
	"time"
	"unicode/utf8"

	"github.com/gorilla/websocket"
)

// keepBuffer is the largest message buffer that is kept for the next message.
const keepBuffer = 16 << 10

// read hands messages to the handler until the socket ends.
func (c *Conn) read() {
	c.ws.SetReadLimit(int64(c.group.opts.MaxMessage))
	c.ws.SetPingHandler(func(data string) error {
		c.control(append([]byte{0x8a, byte(len(data))}, data...))
		return nil
	})
	c.ws.SetPongHandler(func(string) error {
		c.mu.Lock()
		c.missed = 0
		c.mu.Unlock()
		c.handler.Pong()
		return nil
	})
	c.ws.SetCloseHandler(func(code int, _ string) error {
		if code == websocket.CloseNoStatusReceived {
			code = websocket.CloseNormalClosure
		}
		c.Close(code, "") // the echo, behind what is queued
		return nil
	})

	code := c.messages()

	c.mu.Lock()
	if c.code != 0 {
		code = c.code
	}
	c.closing = true
	c.queue = nil
	c.mu.Unlock()
	c.group.remove(c)
	_ = c.nc.Close()
	c.handler.Closed(code)
	close(c.ended)
}

// messages reads until there is no more, and returns the code by which it ended.
func (c *Conn) messages() int {
	for {
		kind, r, err := c.ws.NextReader()
		if err != nil {
			return c.readError(err)
		}
		if kind != websocket.TextMessage {
			return c.refuse(websocket.CloseUnsupportedData, "binary frames are not spoken here")
		}
		buf := buffers.Get().(*bytes.Buffer)
		buf.Reset()
		if _, err = buf.ReadFrom(r); err != nil {
			return c.readError(err)
		}
		if !utf8.Valid(buf.Bytes()) { // gorilla does not look
			return c.refuse(websocket.CloseInvalidFramePayloadData, "text must be UTF-8")
		}
		c.handler.Message(buf.Bytes())
		if buf.Cap() <= keepBuffer {
			buffers.Put(buf)
		}
	}
}

func (c *Conn) readError(err error) int {
	if errors.Is(err, websocket.ErrReadLimit) {
		return c.refuse(websocket.CloseMessageTooBig, "message too large")
	}
	var ce *websocket.CloseError
	if errors.As(err, &ce) {
		c.flush() // the echo of the close
		return ce.Code
	}
	var ne net.Error
	if errors.As(err, &ne) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		return websocket.CloseAbnormalClosure
	}
	// What is left are violations of the framing: gorilla has sent the close frame.
	return websocket.CloseProtocolError
}

// refuse closes, and reads on for a moment without looking: a socket that is closed
// with unread bytes resets the connection, and the close frame would be lost.
func (c *Conn) refuse(code int, reason string) int {
	c.Close(code, reason)
	c.flush()
	if tcp, ok := c.nc.(*net.TCPConn); ok {
		_ = tcp.CloseWrite()
	}
	_, _ = io.Copy(io.Discard, io.LimitReader(c.nc, 64<<20)) // ends with the deadline of Close
	return code
}

// flush waits until the close frame has been written, or cannot be.
func (c *Conn) flush() {
	t := time.NewTimer(c.group.opts.CloseTimeout)
	defer t.Stop()
	select {
	case <-c.flushed:
	case <-t.C:
	}
}

// control queues a control frame, if there is room: a client that sends pings and
// reads nothing gets no more answers.
func (c *Conn) control(frame []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.closing && c.bytes < c.group.opts.QueueBytes {
		c.push(frame)
	}
}
