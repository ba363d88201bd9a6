package gateway

import (
	"context"
	"log/slog"
	"sync/atomic"

	"sluice/gateway/live"
	"sluice/shared/store"
	"sluice/shared/wire"
)

const (
	publishQueue = 4096
	publishBatch = 256
	publishBytes = 4 << 20  // of a batch
	waitingBytes = 32 << 20 // of all that wait
)

// publisher appends what clients publish to the partitions' streams, in order, many
// at once.
type publisher struct {
	store   *store.Store
	metrics *metrics
	log     *slog.Logger

	queue chan publication
	bytes atomic.Int64 // that wait in queue, data only
}

type publication struct {
	conn *conn
	ref  string
	size int // of its data, in bytes
	store.Publication
}

func newPublisher(st *store.Store, m *metrics, log *slog.Logger) *publisher {
	return &publisher{store: st, metrics: m, log: log, queue: make(chan publication, publishQueue)}
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
	fields := make([]string, 0, 16)
	fields = append(fields, "to", f.To, "data", string(f.Data), "from", wire.UserTarget(id.User),
		"reply", wire.Reply{Server: c.gw.id, Conn: c.id, Ref: f.Ref}.String())
	if f.Event != "" {
		fields = append(fields, "event", f.Event)
	}
	if f.ID != "" {
		fields = append(fields, "id", f.ID, "owner", id.User) // the key is the user's own
	}
	if f.Retain.Off {
		fields = append(fields, "retain", "0")
	}
	return c.gw.publisher.add(publication{c, f.Ref, len(f.Data), store.Publication{To: f.To, Fields: fields}})
}

// add lets an event wait, if there is room.
func (p *publisher) add(one publication) error {
	if p.bytes.Add(int64(one.size)) <= waitingBytes {
		select {
		case p.queue <- one:
			p.metrics.publishes.Inc()
			return nil
		default:
		}
	}
	p.bytes.Add(-int64(one.size))
	return &wire.FrameError{Code: wire.CodeUnavailable, Message: "too many events wait; try again"}
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
		size := batch[0].size
	more:
		for len(batch) < publishBatch && size < publishBytes {
			select {
			case one := <-p.queue:
				batch = append(batch, one)
				size += one.size
			default:
				break more
			}
		}
		for _, one := range batch {
			events = append(events, one.Publication)
		}
		p.bytes.Add(-int64(size))
		failed := 0
		for i, err := range p.store.Publish(ctx, events) {
			if err == nil {
				continue
			}
			if failed++; failed == 1 {
				p.log.Error("cannot append what clients publish; they get an error and can try again", "err", err)
			}
			// The outcome may be open: the client repeats with its idempotency key.
			batch[i].conn.fail(batch[i].ref, &wire.FrameError{Code: wire.CodeUnavailable, Message: live.TryAgain})
		}
	}
}
