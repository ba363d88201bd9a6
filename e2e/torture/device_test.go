package torture

import (
	"context"
	"fmt"
	"strings"

	"sluice/shared/wire"
)

// cursors draws whether to resume from the device's cursors, and reads them: nil if not.
func (c *recorder) cursors(ctx context.Context) map[string]wire.ID {
	if c.device == "" || c.rng.IntN(3) == 0 {
		return nil
	}
	cursors, err := c.readCursors(ctx)
	_, own := cursors[wire.UserTarget(c.user)]
	_, all := cursors[wire.All]
	if err != nil || !own || !all { // a target without a cursor would begin from now
		return nil
	}
	return cursors
}

// readCursors reads those of the device.
func (c *recorder) readCursors(ctx context.Context) (map[string]wire.ID, error) {
	fields, err := c.system.rdb.HGetAll(ctx, cursorKey(c.user)).Result()
	if err != nil {
		return nil, err
	}
	cursors := map[string]wire.ID{}
	for field, text := range fields {
		_, ended := strings.CutSuffix(text, " ended") // its mark stays for a while
		if device, to, _ := strings.Cut(field, " "); device == c.device && !ended {
			if cursors[to], err = wire.ParseID(text); err != nil {
				return nil, fmt.Errorf("cursor %s: %w", field, err)
			}
		}
	}
	return cursors, nil
}

// acknowledge acknowledges what has come on this connection.
func (c *recorder) acknowledge() {
	if c.device == "" || c.mute {
		return
	}
	var send []map[string]any
	c.mu.Lock()
	for to, w := range c.wants {
		if w.ready && !w.leaving && w.acked.Less(w.got) && !strings.HasPrefix(to, rendezvousPrefix) {
			w.acked, w.cursor = w.got, true
			c.record(Frame{Kind: Ack, To: to, ID: w.got})
			send = append(send, map[string]any{"type": "ack", "to": to, "id": w.got.String()})
		}
	}
	c.mu.Unlock()
	for _, v := range send {
		c.send(v)
	}
}

// acks are what was acknowledged on this connection.
func (c *recorder) acks() map[string]wire.ID {
	c.mu.Lock()
	defer c.mu.Unlock()
	acks := map[string]wire.ID{}
	for to, w := range c.wants {
		if !w.acked.IsZero() {
			acks[to] = w.acked
		}
	}
	return acks
}
