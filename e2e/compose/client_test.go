package compose_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"

	"sluice/e2e/torture"
	"sluice/shared/wire"
)

const (
	answerTime  = 10 * time.Second // for a handshake, and for `subscribed` after it
	silence     = 60 * time.Second // more than two pings of a gateway
	firstWait   = time.Second      // at most, before a client comes back; it doubles
	longestWait = 5 * time.Second
)

const everybody = "all"

// client is one user with three targets. It comes back whenever its connection ends, with its positions, and writes
// down what it sees.
type client struct {
	fleet    *fleet
	through  string // the balancer
	addr     string
	user     string
	views    [3]view // of user, topic and all
	in       atomic.Bool
	server   atomic.Value // string, the gateway's name
	ws       atomic.Pointer[websocket.Conn]
	recorded *torture.Client // of the client's goroutine
	leftAt   time.Time
}

// view is what a client has of a target.
type view struct {
	to  string
	has bool // a position
	pos wire.ID
	got atomic.Int64 // events, without repeats
}

// frame is what a client reads of a frame.
type frame struct {
	Type      string  `json:"type"`
	Conn      string  `json:"conn"`
	Server    string  `json:"server"`
	To        string  `json:"to"`
	ID        wire.ID `json:"id"`
	Prev      wire.ID `json:"prev"`
	After     wire.ID `json:"after"`
	Position  wire.ID `json:"position"`
	Recovered bool    `json:"recovered"`
	AfterMs   int     `json:"after_ms"`
	Reason    string  `json:"reason"`
	Code      string  `json:"code"`
	Data      struct {
		N int `json:"n"`
	} `json:"data"`
}

func newClient(f *fleet, through, addr, user, topic string) *client {
	c := &client{fleet: f, through: through, addr: addr, user: user, recorded: &torture.Client{Name: user, At: map[string]bool{}}}
	for i, to := range []string{wire.UserTarget(user), wire.TopicTarget(topic), everybody} {
		c.views[i].to = to
	}
	return c
}

// run connects again and again until ctx ends.
func (c *client) run(ctx context.Context) {
	for wait := firstWait; ; wait = min(2*wait, longestWait) {
		after, err := c.connection(ctx)
		if ctx.Err() != nil {
			return
		}
		c.record(torture.Frame{Kind: torture.Closed, Text: err.Error()})
		if c.in.Swap(false) {
			c.leftAt, wait = time.Now(), firstWait
		}
		c.fleet.closed(reason(err)) // last: whoever sees the count sees that the client is not in
		if after == 0 {
			after = time.Duration(rand.Int64N(int64(wait)))
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(after):
		}
	}
}

// reason is the close code, or what kept a connection from being made.
func reason(err error) string {
	var closed *websocket.CloseError
	var system *net.OpError
	var network net.Error
	switch {
	case errors.As(err, &closed):
		return fmt.Sprint(closed.Code)
	case errors.As(err, &system):
		return system.Op + " error"
	case errors.As(err, &network) && network.Timeout():
		return "timeout"
	}
	return err.Error()
}

// connection makes one connection and reads until it ends. after says how long to stay away, 0 that nobody said it.
func (c *client) connection(ctx context.Context) (after time.Duration, err error) {
	dialer := websocket.Dialer{HandshakeTimeout: answerTime, Subprotocols: []string{"sluice.v1.json"}}
	ws, answer, err := dialer.DialContext(ctx, "ws://"+c.addr+"/v1/ws", nil)
	if err != nil {
		if answer != nil {
			err = fmt.Errorf("%s at the handshake", answer.Status)
		}
		return 0, err
	}
	defer func() { _ = ws.Close() }()
	c.ws.Store(ws)
	defer context.AfterFunc(ctx, func() { _ = ws.Close() })()

	resume := map[string]string{}
	for i := range c.views {
		if v := &c.views[i]; v.has {
			resume[v.to] = v.pos.String()
			c.record(torture.Frame{Kind: torture.Asked, To: v.to, After: true, ID: v.pos})
		}
	}
	if err := ws.WriteJSON(map[string]any{"type": "connect", "token": "dev:" + c.user, "resume": resume}); err != nil {
		return 0, err
	}
	if topic := &c.views[1]; !topic.has {
		c.record(torture.Frame{Kind: torture.Asked, To: topic.to})
		if err := ws.WriteJSON(map[string]any{"type": "subscribe", "to": topic.to}); err != nil {
			return 0, err
		}
	}
	ponged := ws.PingHandler()
	ws.SetPingHandler(func(text string) error {
		_ = ws.SetReadDeadline(time.Now().Add(silence))
		return ponged(text)
	})
	_ = ws.SetReadDeadline(time.Now().Add(answerTime))
	subscribed := 0
	for {
		_, message, err := ws.ReadMessage()
		if err != nil {
			return after, err
		}
		var f frame
		if err := json.Unmarshal(message, &f); err != nil {
			return 0, fmt.Errorf("a frame that is no JSON: %q", message)
		}
		switch f.Type {
		case "welcome":
			c.server.Store(f.Server)
			c.record(torture.Frame{Kind: torture.Connected, Text: f.Conn})
		case "subscribed":
			c.subscribed(&f)
			if subscribed++; subscribed == len(c.views) {
				_ = ws.SetReadDeadline(time.Now().Add(silence))
				c.in.Store(true)
				if !c.leftAt.IsZero() {
					c.fleet.returned(time.Since(c.leftAt), c.through)
					c.leftAt = time.Time{}
				}
			}
		case "event":
			c.event(&f)
		case "gap":
			c.record(torture.Frame{Kind: torture.Gap, To: f.To, ID: f.Position, Prev: f.After, Text: f.Reason})
			c.view(f.To).pos = f.Position
		case "goaway":
			after = time.Duration(f.AfterMs) * time.Millisecond
		case "error":
			return 0, fmt.Errorf("error %s", f.Code)
		}
	}
}

// leave ends the client's connection without a word. It comes back soon.
func (c *client) leave() { _ = c.ws.Load().Close() }

func (c *client) view(to string) *view {
	for i := range c.views {
		if c.views[i].to == to {
			return &c.views[i]
		}
	}
	return &view{} // the checker says that it came without a subscription
}

func (c *client) subscribed(f *frame) {
	c.record(torture.Frame{Kind: torture.Subscribed, To: f.To, ID: f.Position, OK: f.Recovered})
	if v := c.view(f.To); !v.has {
		v.has, v.pos = true, f.Position
	}
}

func (c *client) event(f *frame) {
	c.record(torture.Frame{Kind: torture.Event, To: f.To, ID: f.ID, Prev: f.Prev, N: f.Data.N})
	v := c.view(f.To)
	repeated := !v.pos.Less(f.ID)
	c.fleet.delivered(time.Since(c.fleet.appendedAt(f.Data.N)), repeated, !repeated && f.Prev != v.pos)
	if !repeated {
		v.pos = f.ID
		v.got.Add(1)
	}
}

func (c *client) record(f torture.Frame) {
	f.At = time.Now()
	c.recorded.Frames = append(c.recorded.Frames, f)
}
