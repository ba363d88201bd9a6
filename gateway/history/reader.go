package history

import (
	"cmp"
	"context"
	"errors"
	"sync"
	"time"

	"sluice/gateway/limits"
	"sluice/shared/store"
	"sluice/shared/wire"
)

const (
	// mostEvents bounds a round trip, mostReads those under way: each is of about so many
	// events. What they have in bytes, all together, is the Reader's budget.
	mostReads  = 32
	mostEvents = 256
	// inLine is how many go on at a time with what was read.
	inLine = 32
	// userShare is the part of the budget that one user may have.
	userShare = 4
	// besides is what a read takes besides its events.
	besides = 256
	// uneven is how much larger than the average the events of a page may be.
	uneven = 4
)

// Reading is a piece of a history that somebody wants. Those that want the same share
// one: nothing in it is changed once it was read.
type Reading struct {
	store.Query
	// Records are the events of the page, rendered once for all.
	Records []wire.Record
	// GoesOn: the reader has everything of the target up to After, and wants what follows.
	// It may come from the cache, Cached; then it says nothing about the history's end.
	GoesOn bool
	Cached bool
	// Expect is the size of an event, in bytes; 0: not known.
	Expect int
}

// Reader asks for histories: for many in one round trip, and once for all that want the
// same at the same time. When 1,000 clients come back to one topic, or catch up in it,
// that is a few reads instead of thousands.
//
// A reading may share a read that has not begun yet, and no other: its subscriber has
// registered before it asks, and only what is read after that has everything that nobody
// published to it. Who comes later waits for the next one.
//
// All reads under way share a budget in bytes, and users have it in turn: one who wants
// much of many histories waits for its own. A read larger than a user's share goes alone.
type Reader struct {
	read     func(context.Context, ...*store.Query) error
	maxEvent int // bytes
	pages    pages
	loops    sync.WaitGroup
	line     limits.Line // of those that have what they wanted

	ctx    context.Context // of the reads
	cancel context.CancelFunc

	mu      sync.Mutex
	ended   bool
	latest  map[place]*flight      // by what is wanted
	queue   *limits.Queue[*flight] // that have not begun, by user; weights are bytes
	running int
	busy    map[string][]*flight // targets of which somebody reads what goes on, and who waits for that
}

// ErrEnded says that the Reader's Run has ended.
var ErrEnded = errors.New("histories are no longer read")

// place is what is wanted.
type place struct {
	target string
	after  wire.ID
	limit  int
	edges  bool
	goesOn bool
}

// flight is one read for those who share it.
type flight struct {
	place  place
	user   string // who asked first
	weight int64  // bytes
	Reading
	err   error
	begun bool
	next  *flight // for those who came later
	done  chan struct{}
}

// NewReader makes a Reader of what reads from the store, with a budget in bytes for events
// of up to maxEvent bytes. Run must be called.
func NewReader(read func(context.Context, ...*store.Query) error, budget int64, maxEvent int) *Reader {
	r := &Reader{
		read: read, maxEvent: maxEvent, line: limits.NewLine(inLine), latest: make(map[place]*flight), busy: make(map[string][]*flight),
		queue: limits.NewQueue[*flight](limits.Bounds{Size: budget, KeySize: budget / userShare}),
	}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	r.pages.init()
	return r
}

// Run lets reads happen until ctx ends, then fails those that wait, and waits for those
// under way.
func (r *Reader) Run(ctx context.Context) error {
	tick := time.NewTicker(pagesFor / 2)
	defer tick.Stop()
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-tick.C:
			r.pages.expire()
		}
	}
	r.mu.Lock()
	r.ended = true
	r.mu.Unlock()
	r.cancel()
	r.loops.Wait()
	return nil
}

// Read fills readings in, for a user. With an error none of them says anything.
func (r *Reader) Read(ctx context.Context, user string, wanted ...*Reading) error {
	flights := make([]*flight, len(wanted))
	for i, w := range wanted {
		if flights[i] = r.join(user, w); flights[i] == nil {
			return ErrEnded
		}
	}
	defer r.line.Stand() // many wait for the same
	for i, f := range flights {
		select {
		case <-f.done:
		case <-ctx.Done():
			return ctx.Err()
		}
		if f.err != nil {
			return f.err
		}
		*wanted[i] = f.Reading
	}
	return nil
}

// Query reads for the caller alone. Also without an error each may have an Err of its own.
func (r *Reader) Query(ctx context.Context, wanted ...*store.Query) error {
	return r.read(ctx, wanted...)
}

// join finds a read that has not begun, or makes one. nil: nothing is read any more.
func (r *Reader) join(user string, w *Reading) *flight {
	p := place{w.Target, w.After, w.Limit, w.Edges, w.GoesOn}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ended {
		return nil
	}
	f := r.latest[p]
	switch {
	case f == nil:
		f = r.newFlight(p, user, w.Expect)
		r.latest[p] = f
		r.push(f)
	case f.begun && f.next == nil:
		f.next = r.newFlight(p, user, w.Expect)
		f = f.next
	case f.begun:
		f = f.next
	}
	return f
}

func (r *Reader) newFlight(p place, user string, expect int) *flight {
	event := r.maxEvent
	if expect > 0 {
		event = min(event, uneven*expect)
	}
	f := &flight{place: p, user: user, weight: int64(besides + p.limit*event), done: make(chan struct{})}
	f.Query = store.Query{Target: p.target, After: p.after, Limit: p.limit, Edges: p.edges}
	f.GoesOn = p.goesOn
	return f
}

// push queues a read; r.mu is held.
func (r *Reader) push(f *flight) {
	r.queue.Push(f.user, f.weight, f) // who waits for it is a connection: their number is bounded elsewhere
	r.more()
}

// more begins to read beside those that do, if somebody waits; r.mu is held.
func (r *Reader) more() {
	if r.running < mostReads && r.queue.Ready() {
		r.running++
		r.loops.Go(r.work)
	}
}

// work reads while there is something to read.
func (r *Reader) work() {
	for {
		batch := r.take()
		if len(batch) == 0 {
			return
		}
		queries := make([]*store.Query, len(batch))
		for i, f := range batch {
			queries[i] = &f.Query
		}
		err := r.read(r.ctx, queries...)
		for _, f := range batch {
			if f.err = cmp.Or(err, f.Err); f.err == nil {
				f.Records = Render(&f.Page)
				if f.Edges && f.After != wire.MaxID {
					r.pages.forget(f.Target, f.last(), f.After)
				}
				r.pages.add(f.Target, f.Records)
			}
		}
		r.mu.Lock()
		for _, f := range batch {
			r.queue.Done(f.user, f.weight)
			r.landed(f)
		}
		r.mu.Unlock()
	}
}

// last is the last event of the history that may be up to After, of a read of the ends.
func (q *Reading) last() wire.ID {
	if !q.Next.ID.IsZero() {
		return q.Next.Prev
	}
	return q.Got.Newest
}

// Render makes the records of a page, as they would have come on the channel, and lets go
// of the events' data.
func Render(p *store.Page) []wire.Record {
	records := make([]wire.Record, len(p.Events))
	for i := range p.Events {
		e := &p.Events[i]
		records[i] = wire.Record{
			Kind: wire.RecEvent, To: e.To, ID: e.ID, Prev: e.Prev, First: e.First, Except: e.Except,
			Frame: wire.EventFrame(e),
		}
		e.Data = ""
	}
	return records
}

// take begins as many reads as one round trip may have; none: this reader is one too
// many. Of those who go on in one target one reads, and the others look then whether
// that was what they want.
func (r *Reader) take() (batch []*flight) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for events := 0; events < mostEvents; {
		f, _, _, ok := r.queue.Pop()
		if !ok {
			break
		}
		if f.GoesOn {
			// Who is at zero has nothing, and what is kept may be of a history that has ended.
			if !f.After.IsZero() {
				f.Records = r.pages.get(f.Target, f.After)
			}
			others, busy := r.busy[f.Target]
			switch {
			case f.Records != nil:
				f.begun, f.Cached = true, true
				r.queue.Done(f.user, f.weight)
				r.landed(f)
				continue
			case busy:
				r.busy[f.Target] = append(others, f)
				r.queue.Done(f.user, f.weight)
				continue
			}
			r.busy[f.Target] = nil
		}
		f.begun = true
		events += f.Limit + 2 // the ends are as much work as two
		batch = append(batch, f)
	}
	if len(batch) == 0 { // what waits has no room: whoever reads goes on with it
		r.running--
		return nil
	}
	r.more()
	return batch
}

// landed gives a read to those who wait for it, and queues the next one of its kind;
// r.mu is held.
func (r *Reader) landed(f *flight) {
	if f.GoesOn && !f.Cached {
		others := r.busy[f.Target]
		delete(r.busy, f.Target)
		for _, o := range others {
			r.queue.Push(o.user, o.weight, o)
		}
	}
	close(f.done)
	if f.next == nil {
		delete(r.latest, f.place)
		return
	}
	r.latest[f.place] = f.next
	r.queue.Push(f.next.user, f.next.weight, f.next)
}
