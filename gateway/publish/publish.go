// Package publish appends what clients publish to the partitions' streams, and says whether they may: it watches what waits for
// workers, and Redis's memory.
//
//	publish.go   events on their way to the partitions
//	backlog.go   what waits for workers
//	headroom.go  whether Redis has room for what clients publish
package publish

import (
	"context"
	"log/slog"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

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

// Asker is who publishes: a connection, or a request over HTTP. It is called when no lock is held, and does not wait.
type Asker interface {
	Published(p wire.Published)
	Fail(ref string, err error)
}

// Address is where an answer goes: the asker's address on this gateway, and its ref, which need not be unique.
type Address struct{ By, Ref string }

// Options are what a Publisher is made of.
type Options struct {
	Server     string // this gateway's name
	Store      *store.Store
	MaxEntries int64 // that wait for workers, above which clients' events are refused; 0: no bound
	MaxBytes   int64 // the same of their bytes
	Metrics    *Metrics
	Log        *slog.Logger
}

// Metrics are counted by a Publisher.
type Metrics struct {
	Backlog, BacklogBytes prometheus.Gauge // of all streams, in entries and bytes
	Memory                prometheus.Gauge // of the fullest node of Redis, as a share
	Publishes             prometheus.Counter
	Refused               *prometheus.CounterVec // by reason
}

// Reasons why what a client published was refused for now.
const (
	refusedBacklog = "backlog" // too much waits for workers
	refusedMemory  = "memory"  // Redis is nearly full
	refusedQueue   = "queue"   // too much waits to be appended, of this user or of all
	refusedRedis   = "redis"   // Redis did not take it, or did not say so
)

// Publisher appends what clients publish to the partitions' streams, many at once: each
// user's in order, and users in turn, so that who publishes much holds up nobody else. In
// the streams there are no turns: so no more than publishBytes are in flight, appended and
// not yet answered by a worker, and what is more waits here.
type Publisher struct {
	server   string
	store    *store.Store
	headroom *headroom
	metrics  *Metrics
	log      *slog.Logger

	wake chan struct{}

	mu    sync.Mutex
	queue *limits.Queue[*publication] // by user; its weights are bytes; what is taken is in flight
	byRef map[Address]*inFlight       // the first one; others of the address follow it
	sent  []*inFlight                 // since they were taken, in order; some have been answered
	room  chan struct{}               // closed when something was taken; nil: nobody waits for that
}

// publication is an event on its way. Whoever published it hears of it by the address in its field `reply`, which the
// worker sends `published` to.
type publication struct {
	asker Asker
	*inFlight
	store.Publication
}

// inFlight is what is kept of an event until it is answered: not its data.
type inFlight struct {
	Address
	user     string
	size     int // in bytes
	sent     time.Time
	answered bool
	next     *inFlight // of the same address
}

// New makes a Publisher; Run must be called.
func New(o Options) *Publisher {
	return &Publisher{
		server: o.Server, store: o.Store, metrics: o.Metrics, log: o.Log, wake: make(chan struct{}, 1), byRef: make(map[Address]*inFlight),
		headroom: &headroom{store: o.Store, maxEntries: o.MaxEntries, maxBytes: o.MaxBytes, memoryShare: o.Metrics.Memory, log: o.Log},
		queue: limits.NewQueue[*publication](limits.Bounds{
			Size: int64(max(publishBytes, o.Store.Config().MaxData+besides)), Waiting: waitingPublishes, KeyWaiting: userPublishes,
			WaitingWeight: waitingBytes, KeyWaitingWeight: userBytes,
		}),
	}
}

// Add sends a client's event on its way, if there is room. `published` comes from the worker, after the append to the
// history: Answered must be called then. An error is for the client.
func (p *Publisher) Add(a Asker, at Address, id auth.Identity, e *wire.Publish) error {
	one, err := p.publication(a, at, id, e)
	if err != nil {
		return err
	}
	return p.add(one)
}

// AddInTurn sends the events of a request on their way, in order and as soon as there is room, so that they are appended by as few
// round trips as may be. The ref of an event is its number. Fail is called with what is no event or may not be published, and
// with what had no room until ctx ended.
func (p *Publisher) AddInTurn(ctx context.Context, a Asker, by string, id auth.Identity, posts []wire.Post) {
	all := make([]*publication, 0, len(posts))
	for i := range posts {
		at := Address{By: by, Ref: strconv.Itoa(i)}
		var one *publication
		var err error
		if wrong := posts[i].Err; wrong != nil {
			err = wrong
		} else {
			one, err = p.publication(a, at, id, &posts[i].Publish)
		}
		if err != nil {
			a.Fail(at.Ref, err)
			continue
		}
		all = append(all, one)
	}
	for _, one := range p.addInTurn(ctx, all) {
		a.Fail(one.Ref, p.refused(refusedQueue))
	}
}

// publication is the event of a user, unless it may not be published.
func (p *Publisher) publication(a Asker, at Address, id auth.Identity, e *wire.Publish) (*publication, error) {
	if !id.CanPublish(e.To) {
		return nil, &wire.FrameError{Code: wire.CodeForbidden, Message: "this token does not allow to publish to it"}
	}
	if len(e.Data) > p.store.Config().MaxData {
		return nil, &wire.FrameError{Code: wire.CodeTooLarge, Message: "data is larger than max_data_bytes"}
	}
	if why := p.headroom.refuses(p.store.Partition(e.To)); why != "" {
		return nil, p.refused(why)
	}
	var room [22]string
	fields := append(room[:0], "to", e.To, "data", e.Data, "from", wire.UserTarget(id.User),
		"reply", wire.Reply{Server: p.server, Conn: at.By, Ref: at.Ref}.String())
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
		asker: a, inFlight: &inFlight{Address: at, user: id.User, size: len(e.Data) + besides},
		Publication: store.Publication{To: e.To, Fields: slices.Clone(fields)},
	}, nil
}

// refused counts a publish that is refused for now, and is the answer to it.
func (p *Publisher) refused(reason string) *wire.FrameError {
	p.metrics.Refused.WithLabelValues(reason).Inc()
	return &wire.FrameError{Code: wire.CodeUnavailable, Message: unavailable[reason]}
}

// add lets an event wait, if there is room.
func (p *Publisher) add(one *publication) error {
	p.mu.Lock()
	ok := p.push(one)
	p.mu.Unlock()
	if !ok {
		return p.refused(refusedQueue)
	}
	return nil
}

// addInTurn lets events wait, as soon as there is room, and returns those for which there was none until ctx ended.
func (p *Publisher) addInTurn(ctx context.Context, all []*publication) []*publication {
	for {
		p.mu.Lock()
		for len(all) > 0 && p.push(all[0]) {
			all = all[1:]
		}
		if len(all) == 0 {
			p.mu.Unlock()
			return nil
		}
		if p.room == nil {
			p.room = make(chan struct{})
		}
		room := p.room
		p.mu.Unlock()
		select {
		case <-room:
		case <-ctx.Done():
			return all
		}
	}
}

// push queues an event; p.mu is held. false: there is no room.
func (p *Publisher) push(one *publication) bool {
	if _, ok := p.queue.Push(one.user, int64(one.size), one); !ok {
		return false
	}
	p.metrics.Publishes.Inc()
	p.signal()
	return true
}

func (p *Publisher) signal() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// take is the next batch. wait is when to look again though nothing comes: 0, when something does.
func (p *Publisher) take(batch []*publication) (_ []*publication, size int, wait time.Duration) {
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
		p.follow(one.inFlight)
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

// follow notes one that is in flight by its address; p.mu is held.
func (p *Publisher) follow(one *inFlight) {
	last := p.byRef[one.Address]
	if last == nil {
		p.byRef[one.Address] = one
		return
	}
	for last.next != nil {
		last = last.next
	}
	last.next = one
}

// expire forgets those in flight that have had their answer, or were long enough without; p.mu is held.
func (p *Publisher) expire(now time.Time) {
	for len(p.sent) > 0 && (p.sent[0].answered || now.Sub(p.sent[0].sent) >= inFlightFor) {
		p.land(p.sent[0])
		p.sent[0] = nil
		p.sent = p.sent[1:]
	}
}

// land gives back the room of one that was in flight; p.mu is held.
func (p *Publisher) land(one *inFlight) {
	if one.answered {
		return
	}
	one.answered = true
	p.queue.Done(one.user, int64(one.size))
	first := p.byRef[one.Address]
	switch {
	case first != one:
		for first.next != one {
			first = first.next
		}
		first.next = one.next
	case one.next != nil:
		p.byRef[one.Address] = one.next
	default:
		delete(p.byRef, one.Address)
	}
	if p.queue.Ready() {
		p.signal()
	}
}

// Answered says that a worker has answered the first one in flight of an address.
func (p *Publisher) Answered(to Address) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if first := p.byRef[to]; first != nil {
		p.land(first)
	}
}

// Run appends, and watches what waits for workers, until ctx ends.
func (p *Publisher) Run(ctx context.Context) error {
	work, ctx := errgroup.WithContext(ctx)
	work.Go(func() error { return p.watch(ctx) })
	work.Go(func() error { return p.appendAll(ctx) })
	return work.Wait()
}

// appendAll appends until ctx ends.
func (p *Publisher) appendAll(ctx context.Context) error {
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
func (p *Publisher) append(ctx context.Context, batch []*publication) {
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
func (p *Publisher) fail(one *publication, why string) {
	p.mu.Lock()
	p.land(one.inFlight)
	p.mu.Unlock()
	one.asker.Fail(one.Ref, p.refused(why))
}

// RefusesCall is what a client is told whose call may not be asked for now, since too much waits in its partition; "": it may.
func (p *Publisher) RefusesCall(partition int) (why string) {
	return unavailable[p.headroom.refusesCall(partition)]
}

// Full reports whether a node of Redis takes no more writes.
func (p *Publisher) Full() bool { return p.headroom.full() }

// unavailable is what clients are told, by the reason.
var unavailable = map[string]string{
	refusedBacklog: "workers are behind; try again later",
	refusedMemory:  "the memory is nearly full; try again later",
	refusedQueue:   "too many events wait; try again",
	refusedRedis:   live.TryAgain,
}
