package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"

	"sluice/shared/wire"
)

const (
	connectFor = 15 * time.Second // for the token, and again for the connection, and for `welcome`
	pongFor    = 10 * time.Second // for the answer to a ping
	writeFor   = 10 * time.Second // for a message
	goodbyeFor = time.Second      // for the server's answer to a close
	stableFor  = 10 * time.Second // a connection that lived for so long begins the backoff again
)

// keep keeps one connection, and comes back after every break, until life ends or there is no use in it.
func (c *Client) keep(life context.Context) error {
	for attempts, expired := 0, false; ; {
		end := c.connect(life, expired)
		select {
		case <-life.Done():
			return nil
		default:
		}
		if end.final {
			return end.err
		}
		if end.lived > stableFor {
			attempts = 0
		}
		expired = end.expired
		wait := end.goaway
		if wait < 0 {
			wait = c.backoff(attempts)
			attempts++
		}
		c.o.OnState(State{Phase: Waiting, Err: end.err, RetryIn: wait})
		select {
		case <-time.After(wait):
		case <-life.Done():
			return nil
		}
	}
}

// backoff has full jitter, so that a crowd that lost its server does not come back at once; and it is never below the floor.
func (c *Client) backoff(attempts int) time.Duration {
	span := min(c.o.MaxBackoff-c.o.MinBackoff, c.o.MinBackoff<<min(attempts, 16))
	return c.o.MinBackoff + time.Duration(rand.Float64()*float64(span)) //nolint:gosec // jitter is no secret
}

// ending is how a connection ended, or the attempt at one.
type ending struct {
	err     error
	final   bool          // there is no use in coming back
	expired bool          // the token had
	goaway  time.Duration // to wait, as the server said; below 0: it did not
	lived   time.Duration // after it was welcomed
}

// connect is one connection, from the token to the end.
func (c *Client) connect(life context.Context, expired bool) ending {
	c.o.OnState(State{Phase: Connecting})
	token, err := c.token(life, expired)
	if err != nil {
		if life.Err() == nil && !errors.Is(err, ErrTerminal) {
			c.o.OnError(err)
		}
		return ending{err: err, final: errors.Is(err, ErrTerminal), expired: expired, goaway: -1}
	}
	dialing, cancel := context.WithTimeout(life, connectFor)
	defer cancel()
	ws, resp, err := c.o.Dialer.DialContext(dialing, c.url, http.Header{"Sec-WebSocket-Protocol": {"sluice.v1.json"}})
	if err != nil {
		e := ending{err: fmt.Errorf("client: cannot connect to %s: %w", c.o.URL, err), expired: expired, goaway: -1}
		if resp != nil {
			e.err = fmt.Errorf("%w: %s", e.err, resp.Status)
			if s, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil && s >= 0 {
				e.goaway = min(time.Duration(s)*time.Second, maxGoaway) + c.backoff(0)
			}
		}
		return e
	}
	hello, err := c.hello(token)
	if err != nil {
		_ = ws.Close()
		return ending{err: err, final: true}
	}
	l := &link{c: c, ws: ws, over: make(chan struct{})}
	l.heard.Store(time.Now().UnixNano())
	written := make(chan struct{})
	go func() {
		defer close(written)
		l.write(life, hello)
	}()
	e := l.read(time.Now().Add(connectFor))
	if !l.welcomed.IsZero() {
		e.lived = time.Since(l.welcomed)
	} else if e.err != nil && !e.expired {
		e.expired = expired
	}
	close(l.over)
	_ = ws.Close()
	<-written
	c.locked(c.lost)
	return e
}

// token asks for a token.
func (c *Client) token(life context.Context, expired bool) (string, error) {
	ctx, cancel := context.WithTimeout(life, connectFor)
	defer cancel()
	token, err := c.o.Token(ctx, expired)
	if err != nil {
		return "", fmt.Errorf("client: no token: %w", err)
	}
	return token, nil
}

// link is one connection.
type link struct {
	c     *Client
	ws    *websocket.Conn
	over  chan struct{} // closed when the reader has ended
	heard atomic.Int64  // when something came last, Unix ns
	ping  atomic.Int64  // how long the link may be silent before it is asked, ns; 0: it was not welcomed yet

	// Owned by the reader.
	welcomed time.Time
	goaway   time.Duration
}

// read takes what comes until the connection ends, and says why it did. welcomeBy is when it must have been welcomed.
func (l *link) read(welcomeBy time.Time) ending {
	l.goaway = -1
	l.ws.SetReadLimit(l.c.o.MaxMessage)
	l.ws.SetReadDeadline(welcomeBy)
	answer := l.ws.PingHandler()
	l.ws.SetPingHandler(func(data string) error {
		l.alive()
		return answer(data)
	})
	var buf bytes.Buffer
	for {
		kind, r, err := l.ws.NextReader()
		if err == nil {
			buf.Reset()
			_, err = buf.ReadFrom(r)
		}
		if err != nil {
			return l.ended(err)
		}
		if kind != websocket.TextMessage {
			return l.bad(errors.New("a binary frame"))
		}
		if err := l.take(buf.Bytes()); err != nil {
			return l.bad(err)
		}
		l.alive()
	}
}

func (l *link) take(msg []byte) error {
	f, err := decode(msg)
	if err != nil {
		return err
	}
	switch f.Type {
	case "welcome":
		l.welcomed = time.Now()
		l.ping.Store(int64(time.Duration(f.PingMs) * time.Millisecond * 5 / 4)) // the server pings in this distance
	case "goaway":
		l.goaway = min(time.Duration(min(max(f.AfterMs, 0), maxGoaway.Milliseconds()))*time.Millisecond, maxGoaway)
	}
	return l.c.take(f, len(msg))
}

// alive: something came.
func (l *link) alive() {
	ping := time.Duration(l.ping.Load())
	if ping == 0 {
		return
	}
	now := time.Now()
	l.heard.Store(now.UnixNano())
	l.ws.SetReadDeadline(now.Add(ping + min(pongFor, ping)))
}

// bad: what came cannot be read, or is for another user.
func (l *link) bad(err error) ending {
	if errors.Is(err, ErrUserChanged) {
		l.c.o.OnError(err)
		return ending{err: err, goaway: -1}
	}
	err = fmt.Errorf("client: the server sent what cannot be read: %w", err)
	l.c.o.OnError(err)
	return ending{err: err, goaway: l.goaway}
}

func (l *link) ended(err error) ending {
	e := ending{goaway: l.goaway}
	var closed *websocket.CloseError
	var slow net.Error
	switch {
	case errors.As(err, &closed):
		why := &CloseError{Code: closed.Code, Reason: closed.Text}
		e.err, e.final, e.expired = why, why.final(), why.Code == wire.CloseExpired
	case errors.Is(err, websocket.ErrReadLimit):
		e.err, e.final = fmt.Errorf("client: a message is larger than MaxMessage, %d bytes: %w", l.c.o.MaxMessage, err), true
	case errors.As(err, &slow) && slow.Timeout():
		e.err = &CloseError{Code: websocket.CloseAbnormalClosure, Reason: "the link is dead"}
		if l.welcomed.IsZero() {
			e.err = &CloseError{Code: websocket.CloseAbnormalClosure, Reason: "no answer"}
		}
	default:
		e.err = &CloseError{Code: websocket.CloseAbnormalClosure, Reason: err.Error()}
	}
	return e
}

// write sends hello, and then what is due, until the reader ends. When life ends it says goodbye.
func (l *link) write(life context.Context, hello []byte) {
	if !l.send(hello) {
		return
	}
	var pinged int64 // what was heard last when the link was asked
	for {
		asking, askAt := l.silent(time.Now(), &pinged)
		frames, next := l.c.due(time.Now(), asking)
		for _, f := range frames {
			if !l.send(f) {
				return
			}
		}
		again := time.NewTimer(max(time.Until(earlier(next, askAt)), time.Millisecond))
		select {
		case <-l.c.writer:
		case <-again.C:
		case <-l.over:
			again.Stop()
			return
		case <-life.Done():
			again.Stop()
			l.goodbye()
			return
		}
		again.Stop()
	}
}

// silent reports whether the server is to be asked now whether it is there, and when to look again.
func (l *link) silent(now time.Time, pinged *int64) (asking bool, next time.Time) {
	ping, heard := time.Duration(l.ping.Load()), l.heard.Load()
	if ping == 0 {
		return false, now.Add(time.Second)
	}
	if next = time.Unix(0, heard).Add(ping); now.Before(next) {
		return false, next
	}
	asking = *pinged != heard // once for each silence: the reader's deadline does the rest
	*pinged = heard
	return asking, now.Add(ping)
}

func (l *link) send(text []byte) bool {
	l.ws.SetWriteDeadline(time.Now().Add(writeFor))
	if err := l.ws.WriteMessage(websocket.TextMessage, text); err != nil {
		_ = l.ws.Close() // the reader says why
		return false
	}
	return true
}

// goodbye sends what was handled and closes; the reader ends with the server's answer, or without one.
func (l *link) goodbye() {
	frames, _ := l.c.due(time.Now(), false)
	for _, f := range frames {
		if !l.send(f) {
			return
		}
	}
	text := websocket.FormatCloseMessage(websocket.CloseNormalClosure, "")
	if err := l.ws.WriteControl(websocket.CloseMessage, text, time.Now().Add(goodbyeFor)); err != nil {
		_ = l.ws.Close()
		return
	}
	patience := time.NewTimer(goodbyeFor)
	defer patience.Stop()
	select {
	case <-l.over:
	case <-patience.C:
		_ = l.ws.Close()
	}
}
