package gateway

import (
	"context"
	"log/slog"
	"sync"

	"sluice/gateway/limits"
	"sluice/gateway/live"
	"sluice/shared/store"
	"sluice/shared/wire"
)

const (
	publishBatch = 256
	publishBytes = 1 << 20 // of a batch
	// What waits to be appended, and how much of it one user may have: then its own surplus
	// is refused, and others go on.
	waitingPublishes, userPublishes = 4096, 1024
	waitingBytes, userBytes         = 32 << 20, 4 << 20
	// besides is what a publish takes besides its data: fields, and their headers.
	besides = 512
)

// publisher appends what clients publish to the partitions' streams, many at once: each
// user's in order, and users in turn, so that who publishes much holds up nobody else.
type publisher struct {
	store    *store.Store
	headroom *headroom
	metrics  *metrics
	log      *slog.Logger

	wake chan struct{}

	mu    sync.Mutex
	queue *limits.Queue[*publication] // by user; its weights are bytes
}

type publication struct {
	conn *conn
	ref  string
	user string
	size int // in bytes
	store.Publication
}

func newPublisher(st *store.Store, h *headroom, m *metrics, log *slog.Logger) *publisher {
	return &publisher{
		store: st, headroom: h, metrics: m, log: log, wake: make(chan struct{}, 1),
		queue: limits.NewQueue[*publication](limits.Bounds{
			Size: int64(max(publishBytes, st.Config().MaxData+besides)), Waiting: waitingPublishes, KeyWaiting: userPublishes,
			WaitingWeight: waitingBytes, KeyWaitingWeight: userBytes,
		}),
	}
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
	if why := c.gw.headroom.refuses(c.gw.store.Partition(f.To)); why != "" {
		return c.gw.publisher.refused(why)
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
	return c.gw.publisher.add(&publication{
		c, f.Ref, id.User, len(f.Data) + besides, store.Publication{To: f.To, Fields: fields},
	})
}

// refused counts a publish that is refused for now, and is the answer to it.
func (p *publisher) refused(reason string) *wire.FrameError {
	p.metrics.publishesRefused.WithLabelValues(reason).Inc()
	return &wire.FrameError{Code: wire.CodeUnavailable, Message: unavailable[reason]}
}

// add lets an event wait, if there is room.
func (p *publisher) add(one *publication) error {
	p.mu.Lock()
	_, ok := p.queue.Push(one.user, int64(one.size), one)
	p.mu.Unlock()
	if !ok {
		return p.refused(refusedQueue)
	}
	p.metrics.publishes.Inc()
	select {
	case p.wake <- struct{}{}:
	default:
	}
	return nil
}

// take is the next batch.
func (p *publisher) take(batch []*publication) (_ []*publication, size int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(batch) < publishBatch {
		one, _, _, ok := p.queue.Pop()
		if !ok {
			break
		}
		batch = append(batch, one)
		size += one.size
	}
	for _, one := range batch { // a batch is the room that there is
		p.queue.Done(one.user, int64(one.size))
	}
	return batch, size
}

// run appends until ctx ends.
func (p *publisher) run(ctx context.Context) error {
	batch := make([]*publication, 0, publishBatch)
	for ctx.Err() == nil {
		var size int
		clear(batch)
		if batch, size = p.take(batch[:0]); len(batch) == 0 {
			select {
			case <-ctx.Done():
				return nil
			case <-p.wake:
			}
			continue
		}
		p.headroom.spend(ctx, size)
		p.append(ctx, batch)
	}
	return nil
}

// append appends a batch, but for what there is no room for by now.
func (p *publisher) append(ctx context.Context, batch []*publication) {
	events := make([]store.Publication, 0, len(batch))
	of := make([]*publication, 0, len(batch))
	for _, one := range batch {
		if why := p.headroom.refuses(p.store.Partition(one.To)); why != "" {
			one.conn.fail(one.ref, p.refused(why))
			continue
		}
		events, of = append(events, one.Publication), append(of, one)
	}
	if len(events) == 0 {
		return
	}
	failed := 0
	for i, err := range p.store.Publish(ctx, events) {
		if err == nil {
			continue
		}
		if failed++; failed == 1 {
			p.log.Error("cannot append what clients publish; they get an error and can try again", "err", err)
		}
		// The outcome may be open: the client repeats with its idempotency key.
		of[i].conn.fail(of[i].ref, p.refused(refusedRedis))
	}
}

// unavailable is what clients are told, by the reason.
var unavailable = map[string]string{
	refusedBacklog: "workers are behind; try again later",
	refusedMemory:  "the memory is nearly full; try again later",
	refusedQueue:   "too many events wait; try again",
	refusedRedis:   live.TryAgain,
}
