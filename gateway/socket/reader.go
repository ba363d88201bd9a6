package socket

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/gorilla/websocket"
)

const (
	// A reader that is lent has a larger buffer than one that a socket keeps for life:
	// few of them are needed. Below 257 gorilla would make a buffer of its own.
	lentBuffer = 4096
	ownBuffer  = 512

	// keepBuffer is the largest message buffer that is kept for the next message.
	keepBuffer = 16 << 10
)

// errFragments: most of what comes of a message are headers of frames. A message of empty
// fragments would never end.
var errFragments = errors.New("too many fragments")

var errEarly = errors.New("the client sent data before the handshake was complete")

var buffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// reader reads one socket with gorilla. Between two messages a gorilla connection
// knows nothing of its socket, so readers are lent to sockets that have something to
// read, and an idle socket has none.
//
// It is the net.Conn that gorilla uses: the handshake goes through to the real one,
// then reads come from the socket's link. gorilla wants to write only close frames
// that answer violations of the protocol; they go the way of all frames (failed), or
// else they would overtake or cut what is queued.
type reader struct {
	net.Conn // nil; the methods that gorilla calls are below

	group  *Group
	nc     net.Conn // of a handshake
	ws     *websocket.Conn
	br     *bufio.Reader // gorilla's; here one may look ahead
	c      *Conn         // whose turn it is
	look   bool          // reads do not wait
	err    error         // of the link
	raw    int           // bytes read in this step
	broken bool          // gorilla must not be used any more

	// In the list of partials, whose lock guards this.
	began      int64  // 0: not in it
	key        string // of the socket, and whether it was known, when it began
	known      bool
	prev, next *reader
}

func (r *reader) Read(b []byte) (int, error) {
	if r.err != nil {
		return 0, r.err
	}
	n, err := r.c.link.read(b, !r.look)
	r.c.received += uint64(n)
	if r.raw += n; err == nil && r.raw > 2*(r.group.opts.MaxMessage+lentBuffer) {
		err = errFragments
	}
	if err != nil && !errors.Is(err, errAgain) {
		r.err = err
	}
	return n, err
}

func (r *reader) Write(b []byte) (int, error) {
	if r.nc != nil {
		return r.nc.Write(b)
	}
	return len(b), nil
}

func (r *reader) Close() error {
	if r.nc != nil {
		return r.nc.Close()
	}
	return nil
}

func (r *reader) SetDeadline(t time.Time) error {
	if r.nc != nil {
		return r.nc.SetDeadline(t)
	}
	return nil
}

func (r *reader) SetWriteDeadline(time.Time) error { return nil }

// use makes a gorilla connection the reader's.
func (r *reader) use(ws *websocket.Conn) {
	r.nc, r.ws = nil, ws
	// These are called for control frames between fragments, others are seen before.
	ws.SetPingHandler(func(data string) error { r.c.pinged([]byte(data)); return nil })
	ws.SetPongHandler(func(string) error { r.c.ponged(); return nil })
	ws.SetCloseHandler(func(int, string) error { return nil }) // it comes as an error, too
}

// itself is the handshake of newReader.
type itself struct {
	http.ResponseWriter // nil: gorilla answers nothing but errors here
	reader              *reader
}

func (i itself) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return i.reader, bufio.NewReadWriter(i.reader.br, bufio.NewWriterSize(i.reader, 16)), nil
}

// newReader makes a reader that belongs to no socket. gorilla has no other way to a
// server's connection than a handshake, so it gets one.
func (g *Group) newReader() *reader {
	r := &reader{group: g}
	r.br = bufio.NewReaderSize(r, lentBuffer)
	ws, err := g.upgrader.Upgrade(itself{reader: r}, &http.Request{Method: http.MethodGet, Header: http.Header{
		"Connection": {"Upgrade"}, "Upgrade": {"websocket"},
		"Sec-Websocket-Version": {"13"}, "Sec-Websocket-Key": {"dGhlIHNhbXBsZSBub25jZQ=="}, // of RFC 6455, 1.3
	}}, nil)
	if err != nil {
		panic("socket: gorilla refuses the example of RFC 6455: " + err.Error())
	}
	r.use(ws)
	return r
}

// step handles one frame or one message. It reports false when nothing has come, or
// when nothing more is heard.
func (r *reader) step() bool {
	r.look, r.raw = true, 0
	_, _ = r.br.Peek(2)
	switch {
	case r.br.Buffered() == 0 && r.err != nil:
		return r.failed(r.err)
	case r.br.Buffered() == 0:
		return false
	case !r.whole():
		r.group.partials.begin(r)
		defer r.group.partials.end(r)
	}
	r.look, r.err = false, nil // what is there comes before the end that was seen
	b, err := r.br.Peek(2)
	if err != nil {
		return r.failed(err)
	}
	h, _ := parseHeader(b)
	if h.control() && (h.first&bitsOp != opClose || h.length == 1) {
		return r.control(h)
	}
	if b, err = r.br.Peek(h.size); err == nil {
		h, _ = parseHeader(b) // with the length of a long one
	}
	return r.message(int(min(h.length, mostAhead)))
}

// whole reports whether there is a whole message in the buffer.
func (r *reader) whole() bool {
	b, err := r.br.Peek(2)
	h, ok := parseHeader(b)
	for !ok && err == nil {
		b, err = r.br.Peek(h.size)
		h, ok = parseHeader(b)
	}
	if !ok || !h.final() || !h.within(r.br.Size()) {
		return false
	}
	_, err = r.br.Peek(h.size + int(h.length))
	return err == nil
}

// control handles a ping or a pong, or refuses a close frame of one byte: gorilla
// would take it.
func (r *reader) control(h header) bool {
	size := h.size + int(h.length)
	b, err := r.br.Peek(size)
	if err != nil {
		return r.failed(err)
	}
	switch h.first & bitsOp {
	case opPing:
		r.c.pinged(h.unmask(b))
	case opPong:
		r.c.ponged()
	default:
		return r.refuse(websocket.CloseProtocolError, "a close frame of one byte")
	}
	_, _ = r.br.Discard(size)
	return true
}

// mostAhead bounds what is made ready for a message whose header says that it is so long, in bytes.
const mostAhead = 64 << 10

// makeRoom lets a buffer take so many bytes more without being copied as it grows.
func makeRoom(buf *bytes.Buffer, n int) { buf.Grow(max(0, n) + bytes.MinRead) }

// message lets gorilla read a message, or refuse what comes instead. ahead is about how long it may be.
func (r *reader) message(ahead int) bool {
	r.ws.SetReadLimit(int64(r.group.opts.MaxMessage))
	kind, body, err := r.ws.NextReader()
	if err != nil {
		return r.failed(err)
	}
	if kind != websocket.TextMessage {
		return r.refuse(websocket.CloseUnsupportedData, "binary frames are not supported")
	}
	buf := buffers.Get().(*bytes.Buffer)
	buf.Reset()
	if _, known := r.c.whose(); !known {
		err = r.unknown(buf, body, ahead)
	}
	if err == nil {
		makeRoom(buf, ahead-buf.Len())
		_, err = buf.ReadFrom(body)
	}
	if err != nil {
		return r.failed(err)
	}
	if !utf8.Valid(buf.Bytes()) { // gorilla does not look
		return r.refuse(websocket.CloseInvalidFramePayloadData, "text must be UTF-8")
	}
	r.group.partials.end(r)
	r.c.message(buf.Bytes())
	if buf.Cap() <= keepBuffer {
		buffers.Put(buf)
	}
	return true
}

// unknown reads a message of a socket that is nobody's yet: all of it if it is short, and of a longer one as much as
// shows whose it is.
func (r *reader) unknown(buf *bytes.Buffer, body io.Reader, ahead int) error {
	makeRoom(buf, min(ahead, maxUnknown+1))
	n, err := buf.ReadFrom(io.LimitReader(body, maxUnknown+1))
	if err != nil || n <= maxUnknown {
		return err
	}
	if !r.c.early(buf.Bytes()[:maxUnknown]) {
		return websocket.ErrReadLimit
	}
	if _, known := r.c.whose(); known {
		return nil
	}
	makeRoom(buf, min(ahead, maxStranger)-buf.Len())
	n, err = buf.ReadFrom(io.LimitReader(body, maxStranger-n+1))
	if err == nil && n > maxStranger-maxUnknown-1 {
		err = websocket.ErrReadLimit
	}
	return err
}

// failed ends the reading after an error of gorilla or of the link.
func (r *reader) failed(err error) bool {
	r.broken = true
	var ce *websocket.CloseError
	switch {
	case errors.Is(r.err, errInterrupted): // who did it knows why
	case errors.Is(r.err, errFragments):
		return r.refuse(CloseRateLimited, "a message in too many fragments")
	case r.err != nil:
		r.c.over(r.err)
	case errors.As(err, &ce):
		code := ce.Code
		if code == websocket.CloseNoStatusReceived {
			code = websocket.CloseNormalClosure
		}
		r.c.refuse(code, "") // the echo, behind what is queued
	case errors.Is(err, websocket.ErrReadLimit):
		return r.refuse(websocket.CloseMessageTooBig, "message too large")
	default:
		return r.refuse(websocket.CloseProtocolError, strings.TrimPrefix(err.Error(), "websocket: "))
	}
	return false
}

func (r *reader) refuse(code int, reason string) bool {
	r.broken = true
	r.c.refuse(code, reason)
	return false
}
