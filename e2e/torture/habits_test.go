package torture

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/gorilla/websocket"

	"sluice/shared/wire"
)

// act does what a client does, at random times, until the connection ends.
func (c *recorder) act(ctx context.Context, ws *websocket.Conn) {
	opened := time.Now()
	leave := time.Now().Add(time.Duration(float64(c.plan.stay) * (0.2 + c.rng.ExpFloat64())))
	for pause(ctx, time.Duration(50+c.rng.IntN(200))*time.Millisecond) {
		c.mu.Lock()
		connected := c.conn != ""
		c.mu.Unlock()
		if !connected {
			continue
		}
		c.giveUpTargets(time.Since(opened) > justThen)
		c.subscribeMissing()
		if c.calm.Err() != nil || c.rng.IntN(4) == 0 {
			c.acknowledge()
		}
		if c.calm.Err() != nil {
			continue
		}
		select {
		case a := <-c.asks:
			c.subscribe(a)
		default:
		}
		switch c.rng.IntN(20) {
		case 0:
			c.unsubscribe()
		case 1:
			if c.plan.on("doze") {
				c.mu.Lock()
				c.asleep = time.Now().Add(time.Duration(c.rng.IntN(1500)) * time.Millisecond)
				c.mu.Unlock()
			}
		}
		if c.publisher {
			c.publishSome()
		}
		if time.Now().After(leave) {
			if c.rng.IntN(2) == 0 {
				_ = ws.UnderlyingConn().Close()
				return
			}
			bye := websocket.FormatCloseMessage(websocket.CloseNormalClosure, "")
			_ = ws.WriteControl(websocket.CloseMessage, bye, time.Now().Add(time.Second))
			pause(ctx, time.Second) // the answer ends the reader
			_ = ws.Close()
			return
		}
	}
}

// giveUpTargets unsubscribes once more where that was refused, and, if so said, no longer waits for targets whose cursor
// may have gone since it was read: so the answer does not come after all when it asks once more. What every connection
// has is always answered.
func (c *recorder) giveUpTargets(byCursor bool) {
	var send []map[string]any
	c.mu.Lock()
	for to, w := range c.wants {
		if w.refused || (byCursor && w.byCursor && to != wire.All && to != wire.UserTarget(c.user)) {
			w.asked, w.byCursor, w.leaving, w.refused = false, false, true, false
			send = append(send, map[string]any{"type": "unsubscribe", "ref": "unsubscribe " + to, "to": to})
		}
	}
	c.mu.Unlock()
	for _, v := range send {
		c.send(v)
	}
}

// doze keeps the client from reading for a while: its gateway's queue fills.
func (c *recorder) doze(ctx context.Context) {
	c.mu.Lock()
	d := time.Until(c.asleep)
	c.mu.Unlock()
	if d > 0 && c.calm.Err() == nil {
		pause(ctx, d)
	}
}

// subscribeMissing asks for what is wanted and neither there nor asked for.
func (c *recorder) subscribeMissing() {
	var send []map[string]any
	c.mu.Lock()
	for to, w := range c.wants {
		if w.on && !w.ready && !w.asked && !w.leaving {
			from := now
			if w.has && c.rng.IntN(4) > 0 {
				from = position
			}
			send = append(send, c.asking(to, w, from))
		}
	}
	c.mu.Unlock()
	for _, v := range send {
		c.send(v)
	}
}

// asking notes what is asked for and returns the frame. c.mu is held.
func (c *recorder) asking(to string, w *want, from origin) map[string]any {
	v := map[string]any{"type": "subscribe", "ref": "subscribe " + to, "to": to}
	f := Frame{Kind: Asked, To: to}
	w.asked, w.now = true, false
	switch from {
	case earliest:
		v["after"], f.Earliest = wire.Earliest, true
		w.has, w.pos, w.all = true, wire.ID{}, true
	case position:
		v["after"], f.After, f.ID = w.pos.String(), true, w.pos
		w.has = true
	default:
		w.now = true
	}
	c.record(f)
	return v
}

// subscribe asks for a target that is not wanted now, and gives up one of the kind if there are many.
func (c *recorder) subscribe(a ask) {
	c.mu.Lock()
	w := c.wants[a.to]
	if w != nil && (w.on || w.leaving) {
		c.mu.Unlock()
		return
	}
	if w != nil && a.from == earliest {
		a.from = position // what it has already may not come again
	}
	kind, most := rendezvousPrefix, mostTopics
	if strings.HasPrefix(a.to, quietPrefix) {
		kind, most = quietPrefix, mostQuiet
	}
	old := c.giveUpOne(kind, most)
	v := c.asking(a.to, c.want(a.to), a.from)
	c.mu.Unlock()
	c.send(v)
	if old != "" {
		c.send(map[string]any{"type": "unsubscribe", "ref": "unsubscribe " + old, "to": old})
	}
}

// giveUpOne chooses a target of a kind that is wanted no more if there are as many as may be. c.mu is held.
func (c *recorder) giveUpOne(prefix string, most int) (old string) {
	n := 0
	for to, w := range c.wants {
		if !w.on || !strings.HasPrefix(to, prefix) {
			continue
		}
		n++
		if w.ready && !w.leaving {
			old = to
		}
	}
	if n < most || old == "" {
		return ""
	}
	c.wants[old].on, c.wants[old].leaving = false, true
	return old
}

// unsubscribe gives a topic up; the next subscribeMissing asks for it again, for what it missed or from now on.
func (c *recorder) unsubscribe() {
	c.mu.Lock()
	var ready []string
	for _, to := range slices.Sorted(maps.Keys(c.wants)) {
		if w := c.wants[to]; w.on && w.ready && !w.leaving && strings.HasPrefix(to, "topic:t") {
			ready = append(ready, to)
		}
	}
	if len(ready) == 0 {
		c.mu.Unlock()
		return
	}
	to := ready[c.rng.IntN(len(ready))]
	c.wants[to].leaving = true
	c.mu.Unlock()
	c.send(map[string]any{"type": "unsubscribe", "ref": "unsubscribe " + to, "to": to})
}
