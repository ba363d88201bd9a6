package gateway

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"sluice/gateway/auth"
	"sluice/gateway/limits"
	"sluice/gateway/live"
	"sluice/shared/store"
	"sluice/shared/wire"
)

const (
	publishBatch = wire.MaxPosts // a request in one round trip
	publishBytes = 1 << 20       // of a batch
	// What waits to be appended, and how much of it one user may have: then its own surplus
	// is refused, and others go on.
	waitingPublishes, userPublishes = 4096, 1024
	waitingBytes, userBytes         = 32 << 20, 4 << 20
	// besides is what a publish takes besides its data: fields, and their headers.
	besides = 512
	// inFlightFor is how long an event without an answer counts as in flight: the answer may
	// have been lost, and while no worker is there the streams are where events wait.
	inFlightFor = time.Second
)

// publisher appends what clients publish to the partitions' streams, many at once: each
// user's in order, and users in turn, so that who publishes much holds up nobody else. In
// the streams there are no turns: so no more than publishBytes are in flight, appended and
// not yet answered by a worker, and what is more waits here.
type publisher struct {
	store    *store.Store
	headroom *headroom
	metrics  *metrics
	log      *slog.Logger

	wake chan struct{}

	mu    sync.Mutex
	queue *limits.Queue[*publication] // by user; its weights are bytes; what is taken is in flight
	byRef map[flight][]*inFlight      // in order
	sent  []*inFlight                 // since they were taken, in order; some have been answered
	room  chan struct{}               // closed when something was taken; nil: nobody waits for that
}

// publication is an event on its way. Whoever published it hears of it by the address in its field `reply`, which the
// worker sends `published` to.
type publication struct {
	asker asker
	*inFlight
	store.Publication
}

// inFlight is what is kept of an event until it is answered: not its data.
type inFlight struct {
	flight
	user     string
	size     int // in bytes
	sent     time.Time
	answered bool
}

// flight is where an answer goes: the asker's address on this gateway, and its ref, which need not be unique.
type flight struct{ by, ref string }

// asker is who publishes: a connection, or a request over HTTP.
type asker interface {
	published(p wire.Published)
	fail(ref string, err error)
}

func newPublisher(st *store.Store, h *headroom, m *metrics, log *slog.Logger) *publisher {
	return &publisher{
		store: st, headroom: h, metrics: m, log: log, wake: make(chan struct{}, 1), byRef: make(map[flight][]*inFlight),
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
	one, err := c.gw.publication(c, c.id, f.Ref, id, f.Publish())
	if err != nil {
		return err
	}
	return c.gw.publisher.add(one)
}

func (c *conn) published(p wire.Published) { c.Tell(p) }

// publication is the event of a user, unless it may not be published. It is answered to the asker, whose address on this gateway
// is by, with the ref.
func (g *Gateway) publication(a asker, by, ref string, id auth.Identity, e *wire.Publish) (*publication, error) {
	if !id.CanPublish(e.To) {
		return nil, forbidden("this token does not allow to publish to it")
	}
	if len(e.Data) > g.cfg.Store.MaxData {
		return nil, &wire.FrameError{Code: wire.CodeTooLarge, Message: "data is larger than max_data_bytes"}
	}
	if why := g.headroom.refuses(g.store.Partition(e.To)); why != "" {
		return nil, g.publisher.refused(why)
	}
	var room [22]string
	fields := append(room[:0], "to", e.To, "data", e.Data, "from", wire.UserTarget(id.User),
		"reply", wire.Reply{Server: g.id, Conn: by, Ref: ref}.String())
	if e.Event != "" {
		fields = append(fields, "event", e.Event)
	}
	if e.ID != "" {
		fields = append(fields, "id", e.ID, "owner", id.User) // the key is the user's own
	}
	if e.Live {
		fields = append(fields, "retain", "0")
	}
	if e.Except != "" {
		fields = append(fields, "except", e.Except)
	}
	if e.Base64 {
		fields = append(fields, "enc", wire.EncBase64)
	}
	if e.Unread != "" {
		fields = append(fields, "unread", e.Unread)
	}
	return &publication{
		asker: a, inFlight: &inFlight{flight: flight{by, ref}, user: id.User, size: len(e.Data) + besides},
		Publication: store.Publication{To: e.To, Fields: slices.Clone(fields)},
	}, nil
}

// refused counts a publish that is refused for now, and is the answer to it.
func (p *publisher) refused(reason string) *wire.FrameError {
	p.metrics.publishesRefused.WithLabelValues(reason).Inc()
	return &wire.FrameError{Code: wire.CodeUnavailable, Message: unavailable[reason]}
}

// add lets an event wait, if there is room.
func (p *publisher) add(one *publication) error {
	p.mu.Lock()
	ok := p.push(one)
	p.mu.Unlock()
	if !ok {
		return p.refused(refusedQueue)
	}
	return nil
}

// addInTurn lets an event wait, as soon as there is room. It is refused when ctx ends first.
func (p *publisher) addInTurn(ctx context.Context, one *publication) error {
	for {
		p.mu.Lock()
		ok := p.push(one)
		if !ok && p.room == nil {
			p.room = make(chan struct{})
		}
		room := p.room
		p.mu.Unlock()
		if ok {
			return nil
		}
		select {
		case <-room:
		case <-ctx.Done():
			return p.refused(refusedQueue)
		}
	}
}

// push queues an event; p.mu is held. false: there is no room.
func (p *publisher) push(one *publication) bool {
	if _, ok := p.queue.Push(one.user, int64(one.size), one); !ok {
		return false
	}
	p.metrics.publishes.Inc()
	p.signal()
	return true
}

func (p *publisher) signal() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// take is the next batch. wait is when to look again though nothing comes: 0, when something does.
func (p *publisher) take(batch []*publication) (_ []*publication, size int, wait time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	p.expire(now)
	for len(batch) < publishBatch && size < publishBytes {
		one, _, _, ok := p.queue.Pop()
		if !ok {
			break
		}
		batch = append(batch, one)
		size += one.size
		one.sent = now
		p.sent = append(p.sent, one.inFlight)
		p.byRef[one.flight] = append(p.byRef[one.flight], one.inFlight)
	}
	if p.room != nil && len(batch) > 0 {
		close(p.room)
		p.room = nil
	}
	if len(batch) == 0 && p.queue.Waiting() > 0 && len(p.sent) > 0 {
		wait = max(time.Millisecond, p.sent[0].sent.Add(inFlightFor).Sub(now))
	}
	return batch, size, wait
}

// expire forgets those in flight that have had their answer, or were long enough without; p.mu is held.
func (p *publisher) expire(now time.Time) {
	for len(p.sent) > 0 && (p.sent[0].answered || now.Sub(p.sent[0].sent) >= inFlightFor) {
		p.land(p.sent[0])
		p.sent[0] = nil
		p.sent = p.sent[1:]
	}
}

// land gives back the room of one that was in flight; p.mu is held.
func (p *publisher) land(one *inFlight) {
	if one.answered {
		return
	}
	one.answered = true
	p.queue.Done(one.user, int64(one.size))
	of := p.byRef[one.flight]
	if i := slices.Index(of, one); i >= 0 {
		of = slices.Delete(of, i, i+1)
	}
	if len(of) == 0 {
		delete(p.byRef, one.flight)
	} else {
		p.byRef[one.flight] = of
	}
	if p.queue.Ready() {
		p.signal()
	}
}

// answer says that a worker has answered the first one in flight of an address and ref.
func (p *publisher) answer(to flight) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if of := p.byRef[to]; len(of) > 0 {
		p.land(of[0])
	}
}

// run appends until ctx ends.
func (p *publisher) run(ctx context.Context) error {
	batch := make([]*publication, 0, publishBatch)
	again := time.NewTimer(0)
	defer again.Stop()
	for ctx.Err() == nil {
		var size int
		var wait time.Duration
		clear(batch)
		if batch, size, wait = p.take(batch[:0]); len(batch) == 0 {
			if again.Stop(); wait > 0 {
				again.Reset(wait)
			}
			select {
			case <-ctx.Done():
				return nil
			case <-p.wake:
			case <-again.C:
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
			p.fail(one, why)
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
		p.fail(of[i], refusedRedis)
	}
}

// fail answers one that was taken.
func (p *publisher) fail(one *publication, why string) {
	p.mu.Lock()
	p.land(one.inFlight)
	p.mu.Unlock()
	one.asker.fail(one.ref, p.refused(why))
}

// unavailable is what clients are told, by the reason.
var unavailable = map[string]string{
	refusedBacklog: "workers are behind; try again later",
	refusedMemory:  "the memory is nearly full; try again later",
	refusedQueue:   "too many events wait; try again",
	refusedRedis:   live.TryAgain,
}
