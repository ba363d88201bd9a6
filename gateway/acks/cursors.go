package acks

import (
	"context"
	"time"

	"sluice/gateway/live"
	"sluice/shared/ops"
	"sluice/shared/wire"
)

// mostReads bounds the reads of cursors under way: each is of up to 4,096 of them.
const mostReads = 32

// Cursors are those of a device, by target. full: the user has as many as are kept, and some may be missing.
func (a *Acks) Cursors(ctx context.Context, user, device string) (at map[string]string, full bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, live.RedisTimeout)
	defer cancel()
	select {
	case a.reads <- struct{}{}:
		defer func() { <-a.reads }()
	case <-ctx.Done():
		return nil, false, ctx.Err()
	}
	return a.o.Store.Cursors(ctx, user, device)
}

// EndCursor ends a device's cursor: it shall not come back with the target, nor with acks that may be on their way, up to what was
// sent. After a failure the client may ask again. Nothing is done for what may have lain here for long: the device may be
// back by another gateway, with this target.
func (a *Acks) EndCursor(ctx context.Context, user, device, target string, sent wire.ID) error {
	if a.o.StoodStill(time.Now()) {
		return live.ErrStoodStill
	}
	ctx, cancel := context.WithTimeout(ctx, live.RedisTimeout)
	defer cancel()
	return a.o.Store.EndCursor(ctx, user, device, target, sent, a.o.CursorTTL)
}

// CursorsAgain says that Redis may have lost cursors: those of devices that are connected are written once more.
func (a *Acks) CursorsAgain() {
	select {
	case a.lost <- struct{}{}:
	default:
	}
}

// restore writes cursors again, device by device, until ctx ends.
func (a *Acks) restore(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-a.lost:
		}
		for _, k := range a.o.Clients() {
			at := k.known()
			for wait := 10 * time.Millisecond; len(at) > 0 && !k.Over() && ctx.Err() == nil; wait = min(2*wait, time.Second) {
				err := k.write(ctx, a.o.Store.RestoreCursors, at)
				if err == nil {
					break
				}
				a.o.Log.Debug("cannot write a device's cursors again; retrying", "conn", k.Conn, "err", err)
				ops.Pause(ctx, wait)
			}
		}
	}
}
