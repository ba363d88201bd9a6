package socket

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/gorilla/websocket"
)

// NewGroup makes a group; Run must be called.
func NewGroup(o Options) *Group {
	g := &Group{opts: o, upgrader: websocket.Upgrader{
		WriteBufferPool: &sync.Pool{},                             // gorilla writes nothing but the handshake
		CheckOrigin:     func(*http.Request) bool { return true }, // the caller decides, with a close code
	}}
	g.wheel.init(o)
	g.partials.init(o, g.wheel.tick)
	if !o.goroutines {
		g.poller, g.failed = newPoller(g)
	}
	return g
}

// Together calls f, which is to send little to each socket: it is written when f has
// ended, several frames to one socket in one write. For a few sockets the caller
// writes: to start a goroutine costs more than the write.
func (g *Group) Together(f func()) { g.poller.together(f) }

// Run reads, pings and keeps deadlines until ctx ends. Then it kills the sockets that
// are left; those that are started later are dead at once.
func (g *Group) Run(ctx context.Context) error {
	if g.failed != nil {
		return fmt.Errorf("sockets cannot be polled: %w; is the limit of open files too low?", g.failed)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var polling sync.WaitGroup
	var err error
	polling.Go(func() {
		defer cancel()
		err = g.poller.run(ctx)
	})
	g.wheel.run(ctx, g.partials.expire)
	for _, c := range g.wheel.end() {
		c.Kill()
	}
	g.poller.close()
	polling.Wait()
	return err
}

// StoodStill reports whether the process did not run for a while after a time, or until shortly before it: what a client had sent when
// it was met then may be old, and the client may have come back elsewhere since.
func (g *Group) StoodStill(since time.Time) bool { return g.wheel.stoodStill(since) }

// Wait waits until all started sockets are gone, and their goroutines.
func (g *Group) Wait() { g.tally.wait() }
