package gateway

import (
	"context"
	"log/slog"
	"time"

	"sluice/gateway/history"
	"sluice/gateway/live"
	"sluice/shared/ops"
	"sluice/shared/store"
	"sluice/shared/wire"
)

// mostCursorReads bounds the reads of cursors under way: each is of up to 4,096 of them.
const mostCursorReads = 32

// BeginCursors writes where a device begins with its targets, before it is told: what
// comes from then on it has not acknowledged. Nothing is begun for what may have lain here for long: the device may be back by
// another gateway, and have unsubscribed there.
func (c *conn) BeginCursors(ctx context.Context, asked time.Time, at map[string]wire.ID) error {
	if c.gw.sockets.StoodStill(asked) {
		return live.ErrStoodStill
	}
	if err := c.writeCursors(ctx, c.gw.store.BeginCursors, at); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for to, id := range at {
		put(c.gw, c.ackState().begun, to, id)
	}
	return nil
}

// cursorWriter is Store.BeginCursors or RestoreCursors.
type cursorWriter func(ctx context.Context, user, device string, at map[string]wire.ID, ttl time.Duration) (full int, err error)

func (c *conn) writeCursors(ctx context.Context, write cursorWriter, at map[string]wire.ID) error {
	ctx, cancel := context.WithTimeout(ctx, live.RedisTimeout)
	defer cancel()
	full, err := write(ctx, c.user(), c.device, at, c.gw.cfg.CursorTTL)
	if err == nil {
		c.gw.metrics.ackDrops.WithLabelValues(ackDropNoCursor).Add(float64(full))
	}
	return err
}

// endCursor ends the device's cursor of a target whose subscription has ended, also
// earlier.
func (c *conn) endCursor(target string) error {
	c.mu.Lock()
	k := c.ackState()
	delete(k.begun, target)
	sent, left := k.high[target], k.left[target]
	c.mu.Unlock()
	if left != nil {
		sent = wire.Later(sent, left.Sent())
	}
	ctx, done := c.Work()
	defer done()
	return c.gw.endCursor(ctx, c.user(), c.device, target, sent)
}

// endCursor ends a device's cursor: it shall not come back with the target, nor with acks that may be on their way, up to what was
// sent. After a failure the client may ask again. Nothing is done for what may have lain here for long: the device may be
// back by another gateway, with this target.
func (g *Gateway) endCursor(ctx context.Context, user, device, target string, sent wire.ID) error {
	if g.sockets.StoodStill(time.Now()) {
		return live.ErrStoodStill
	}
	ctx, cancel := context.WithTimeout(ctx, live.RedisTimeout)
	defer cancel()
	return g.store.EndCursor(ctx, user, device, target, sent, g.cfg.CursorTTL)
}

// postUnsubscribe is POST /v1/unsubscribe: the frame `unsubscribe` of a device that has an event stream, on which it can say nothing.
func (g *Gateway) postUnsubscribe(ctx context.Context, in *incoming) (any, error) {
	device, to, wrong := wire.ParseUnsubscribe(in.body)
	if wrong != nil {
		return nil, wrong
	}
	if hasAlways(in.id.User, to) {
		return nil, errHasAlways
	}
	ctx, cancel := context.WithTimeout(ctx, live.RedisTimeout)
	defer cancel()
	newest := &history.Reading{Query: store.Query{Target: to, After: wire.MaxID, Edges: true}} // what may have been sent
	if err := g.history.Read(ctx, in.id.User, newest); err != nil {
		return nil, err
	}
	if err := g.endCursor(ctx, in.id.User, device, to, newest.Got.Newest); err != nil {
		return nil, err
	}
	return map[string]string{"type": "unsubscribed", "to": to}, nil
}

// cursors writes the cursors of devices that are connected once more when Redis may have
// lost them. One goroutine does this, device by device.
type cursors struct {
	conns func() []*conn
	log   *slog.Logger
	wake  chan struct{}
}

func newCursors(conns func() []*conn, log *slog.Logger) *cursors {
	return &cursors{conns: conns, log: log, wake: make(chan struct{}, 1)}
}

// again says that Redis may have lost cursors.
func (x *cursors) again() {
	select {
	case x.wake <- struct{}{}:
	default:
	}
}

// run works until ctx ends.
func (x *cursors) run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-x.wake:
		}
		for _, c := range x.conns() {
			at := c.cursorsKnown()
			for wait := 10 * time.Millisecond; len(at) > 0 && !c.isOver() && ctx.Err() == nil; wait = min(2*wait, time.Second) {
				err := c.writeCursors(ctx, c.gw.store.RestoreCursors, at)
				if err == nil {
					break
				}
				x.log.Debug("cannot write a device's cursors again; retrying", "conn", c.id, "err", err)
				ops.Pause(ctx, wait)
			}
		}
	}
}

// cursorsKnown is where the device's cursors are, as far as this connection knows.
func (c *conn) cursorsKnown() map[string]wire.ID {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.acking == nil {
		return nil
	}
	at := make(map[string]wire.ID)
	for to, begun := range c.acking.begun {
		at[to] = wire.Later(begun, c.acking.acked[to])
	}
	return at
}
