package gateway

import (
	"context"

	"sluice/shared/store"
	"sluice/shared/wire"
)

const (
	publishQueue = 4096
	publishBatch = 256
)

// publisher appends what clients publish to the partitions' streams, in order, many
// at once.
type publisher struct {
	gw    *Gateway
	queue chan publication
}

type publication struct {
	conn *conn
	ref  string
	store.Publication
}

func newPublisher(gw *Gateway) *publisher {
	return &publisher{gw: gw, queue: make(chan publication, publishQueue)}
}

// publish sends a client's event on its way. `published` comes from the worker, after
// the append to the history.
func (c *conn) publish(f *wire.ClientFrame) error {
	c.mu.Lock()
	id := c.identity
	c.mu.Unlock()
	if !id.CanPublish(f.To) {
		return forbidden("this token does not allow to publish to it")
	}
	if len(f.Data) > c.gw.cfg.Store.MaxData {
		return &wire.FrameError{Code: wire.CodeTooLarge, Message: "data is larger than max_data_bytes"}
	}
	if c.gw.behind.Load() {
		return &wire.FrameError{Code: wire.CodeUnavailable, Message: backlogUnavailable}
	}
	fields := make([]string, 0, 14)
	fields = append(fields, "to", f.To, "data", string(f.Data), "from", wire.UserTarget(id.User),
		"reply", wire.Reply{Server: c.gw.id, Conn: c.id, Ref: f.Ref}.String())
	if f.Event != "" {
		fields = append(fields, "event", f.Event)
	}
	if f.ID != "" {
		fields = append(fields, "id", f.ID)
	}
	if f.Retain.Off {
		fields = append(fields, "retain", "0")
	}
	select {
	case c.gw.publisher.queue <- publication{c, f.Ref, store.Publication{To: f.To, Fields: fields}}:
		c.gw.metrics.publishes.Inc()
		return nil
	default:
		return &wire.FrameError{Code: wire.CodeUnavailable, Message: "too many events wait; try again"}
	}
}

// run appends until ctx ends.
func (p *publisher) run(ctx context.Context) error {
	batch := make([]publication, 0, publishBatch)
	events := make([]store.Publication, 0, publishBatch)
	for {
		batch, events = batch[:0], events[:0]
		select {
		case <-ctx.Done():
			return nil
		case one := <-p.queue:
			batch = append(batch, one)
		}
	more:
		for len(batch) < publishBatch {
			select {
			case one := <-p.queue:
				batch = append(batch, one)
			default:
				break more
			}
		}
		for _, one := range batch {
			events = append(events, one.Publication)
		}
		failed := 0
		for i, err := range p.gw.store.Publish(ctx, events) {
			if err == nil {
				continue
			}
			if failed++; failed == 1 {
				p.gw.log.Error("cannot append what clients publish; they are told to try again", "err", err)
			}
			// The outcome may be open: the client repeats with its idempotency key.
			batch[i].conn.fail(batch[i].ref, &wire.FrameError{Code: wire.CodeUnavailable, Message: "not possible now; try again"})
		}
	}
}
