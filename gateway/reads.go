package gateway

import (
	"context"
	"sync"

	"sluice/shared/store"
	"sluice/shared/wire"
)

const (
	// historyReads bounds the reads of histories under way, each of readEvents events at
	// most, or of one page.
	historyReads = 32
	readEvents   = 256
)

// reading is a piece of a history that somebody wants. Those who want the same share
// one: nothing in it is changed once it was read.
type reading struct {
	store.Query
	// records are the events of the page, rendered once for all.
	records []wire.Record
	// goesOn: the reader has everything of the target up to After, and wants what follows.
	// It may come from the cache; then it says nothing about the history's end.
	goesOn bool
	cached bool
}

// reads asks for histories: for many readers in one round trip, and once for all who
// want the same at the same time. When 1,000 clients come back to one topic, or catch
// up in it, that is a few reads instead of thousands.
//
// A reader may share a read that has not begun yet, and no other: it has registered
// before it asks, and only what is read after that has everything that nobody published
// to it. Who comes later waits for the next one.
type reads struct {
	gw      *Gateway
	pages   pages
	cursors chan struct{} // bounds the reads of cursors (acks.go)

	mu      sync.Mutex
	latest  map[place]*flight // by what is wanted
	order   []*flight         // that have not begun
	running int
	busy    map[string]bool // targets of which somebody reads what goes on
}

// place is what is wanted.
type place struct {
	target string
	after  wire.ID
	limit  int
	edges  bool
	newest bool
	goesOn bool
}

// flight is one read for those who share it.
type flight struct {
	place place
	reading
	err   error
	begun bool
	next  *flight // for those who came later
	done  chan struct{}
}

func newReads(gw *Gateway) *reads {
	r := &reads{gw: gw, cursors: make(chan struct{}, historyReads), latest: make(map[place]*flight), busy: make(map[string]bool)}
	r.pages.init()
	return r
}

// read fills readings in.
func (g *Gateway) read(ctx context.Context, wanted ...*reading) error {
	flights := make([]*flight, len(wanted))
	for i, w := range wanted {
		flights[i] = g.reads.join(w)
	}
	for i, f := range flights {
		select {
		case <-f.done:
		case <-ctx.Done():
			return ctx.Err()
		}
		if f.err != nil {
			return f.err
		}
		*wanted[i] = f.reading
	}
	return nil
}

// join finds a read that has not begun, or makes one.
func (r *reads) join(w *reading) *flight {
	p := place{w.Target, w.After, w.Limit, w.Edges, w.Newest, w.goesOn}
	r.mu.Lock()
	defer r.mu.Unlock()
	f := r.latest[p]
	switch {
	case f == nil:
		f = r.add(p)
	case f.begun && f.next == nil:
		f.next = newFlight(p)
		f = f.next
	case f.begun:
		f = f.next
	}
	return f
}

func newFlight(p place) *flight {
	f := &flight{place: p, done: make(chan struct{})}
	f.Query = store.Query{Target: p.target, After: p.after, Limit: p.limit, Edges: p.edges, Newest: p.newest}
	f.goesOn = p.goesOn
	return f
}

// add queues a read; r.mu is held.
func (r *reads) add(p place) *flight {
	f := newFlight(p)
	r.latest[p] = f
	r.queue(f)
	return f
}

func (r *reads) queue(f *flight) {
	r.order = append(r.order, f)
	if r.running < historyReads {
		r.running++
		r.gw.wg.Add(1) // a connection that waits is counted there, too
		go func() {
			defer r.gw.wg.Done()
			r.run()
		}()
	}
}

// run reads while there is something to read.
func (r *reads) run() {
	for {
		batch := r.take()
		if len(batch) == 0 {
			return
		}
		queries := make([]*store.Query, len(batch))
		for i, f := range batch {
			queries[i] = &f.Query
		}
		err := r.gw.store.History(r.gw.ctx, queries...)
		for _, f := range batch {
			if f.err = err; err == nil {
				f.records = render(&f.Page)
				r.pages.add(f.Target, f.records)
			}
		}
		r.mu.Lock()
		for _, f := range batch {
			r.landed(f)
		}
		r.mu.Unlock()
	}
}

// render makes the records of a page, as they would have come on the channel, and lets go
// of the events' data.
func render(p *store.Page) []wire.Record {
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
func (r *reads) take() (batch []*flight) {
	r.mu.Lock()
	defer r.mu.Unlock()
	all, events := r.order, 0
	r.order = nil
	for i, f := range all {
		if f.goesOn {
			// Who is at zero has nothing, and what is kept may be of a history that has ended.
			if !f.After.IsZero() {
				f.records = r.pages.get(f.Target, f.After)
			}
			if f.records != nil {
				f.begun, f.cached = true, true
				r.landed(f)
				continue
			}
			if r.busy[f.Target] {
				r.order = append(r.order, f)
				continue
			}
		}
		if events += f.Limit + 2; len(batch) > 0 && events > readEvents { // the edges are two
			r.order = append(r.order, all[i:]...)
			break
		}
		f.begun = true
		if f.goesOn {
			r.busy[f.Target] = true
		}
		batch = append(batch, f)
	}
	if len(batch) == 0 {
		r.running--
	}
	return batch
}

// landed gives a read to those who wait for it, and queues the next one of its kind;
// r.mu is held.
func (r *reads) landed(f *flight) {
	if f.goesOn && !f.cached {
		delete(r.busy, f.Target)
	}
	close(f.done)
	if f.next == nil {
		delete(r.latest, f.place)
		return
	}
	r.latest[f.place] = f.next
	r.order = append(r.order, f.next)
}
