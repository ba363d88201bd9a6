package socket

import (
	"bytes"
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/gorilla/websocket"
)

// Options are the same for all sockets of a Group.
type Options struct {
	MaxMessage   int           // longest message of a client, in bytes
	QueueBytes   int           // bytes that may wait for one socket
	PingInterval time.Duration // between two pings
	CloseTimeout time.Duration // how long a close may take, from the close frame to the end
}

// Handler is told what happens on a socket. Message, Pong and Closed are called by
// one goroutine, one after the other; Drained by another one. The data of Message is
// only valid during the call.
type Handler interface {
	Message(data []byte) // a whole text message, valid UTF-8
	Pong()               // the client lives
	Drained()            // there is room again after a Send was refused
	Closed(code int)     // the socket is gone; the last call
}

// maxMissed is how many rounds of pings may stay without a pong, or without any
// progress of the writer.
const maxMissed = 2

// Group are the sockets of a process.
type Group struct {
	opts     Options
	upgrader websocket.Upgrader
	wg       sync.WaitGroup

	mu    sync.Mutex
	slots [wheelSlots]map[*Conn]struct{} // timing wheel: each slot is pinged once a round
	next  int                            // slot of the next socket
}

const wheelSlots = 50

// NewGroup makes a group. Run must be called for pings.
func NewGroup(o Options) *Group {
	g := &Group{opts: o, upgrader: websocket.Upgrader{
		ReadBufferSize:  512,
		WriteBufferSize: 512,
		WriteBufferPool: &sync.Pool{},
		CheckOrigin:     func(*http.Request) bool { return true }, // the caller decides, with a close code
	}}
	for i := range g.slots {
		g.slots[i] = make(map[*Conn]struct{})
	}
	return g
}

// Upgrade makes a WebSocket of a request; protocol is the subprotocol to be echoed,
// or "". On an error the answer has been written. The socket does nothing until
// Start.
func (g *Group) Upgrade(w http.ResponseWriter, r *http.Request, protocol string) (*Conn, error) {
	var header http.Header
	if protocol != "" {
		header = http.Header{"Sec-Websocket-Protocol": {protocol}}
	}
	ws, err := g.upgrader.Upgrade(w, r, header)
	if err != nil {
		return nil, err
	}
	c := &Conn{group: g, ws: ws, nc: ws.NetConn(), ended: make(chan struct{}), flushed: make(chan struct{})}
	g.mu.Lock()
	c.slot = g.next
	g.next = (g.next + 1) % wheelSlots
	g.mu.Unlock()
	return c, nil
}

// Run pings sockets until ctx ends: each one once in PingInterval, spread evenly.
func (g *Group) Run(ctx context.Context) error {
	tick := time.NewTicker(g.opts.PingInterval / wheelSlots)
	defer tick.Stop()
	var due []*Conn
	for slot := 0; ; slot = (slot + 1) % wheelSlots {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		g.mu.Lock()
		due = due[:0]
		for c := range g.slots[slot] {
			due = append(due, c)
		}
		g.mu.Unlock()
		for _, c := range due {
			c.ping()
		}
	}
}

// Wait waits until all sockets are gone.
func (g *Group) Wait() { g.wg.Wait() }

func (g *Group) add(c *Conn) {
	g.mu.Lock()
	g.slots[c.slot][c] = struct{}{}
	g.mu.Unlock()
}

func (g *Group) remove(c *Conn) {
	g.mu.Lock()
	delete(g.slots[c.slot], c)
	g.mu.Unlock()
}

var buffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}
