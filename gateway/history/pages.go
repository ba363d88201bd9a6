package history

import (
	"slices"
	"sync"
	"time"

	"sluice/shared/wire"
)

const (
	pagesBytes = 16 << 20        // frames that are kept, with what is around them
	pagesFor   = 2 * time.Second // since their last use
	pageBytes  = pagesBytes / 4  // of one page; of a larger one its begin is kept
	aroundPage = 256             // bytes for a record, its place in the index, and the like
)

// pages are events that were just read, for others who are about to read them: clients
// that were slow together catch up together. Events never change, and each says which
// one is before it. So an event whose prev is where a reader stands is what comes next
// for it, whatever has been trimmed or added since. What the pages do not tell is where
// the history ends: for that it must be read. And that may tell that what they have behind
// some event has gone, deleted or lost in a failover: then it is forgotten.
type pages struct {
	mu     sync.Mutex
	index  map[after]slot
	of     map[string]map[*page]struct{} // by target
	oldest *page                         // in the order of their last use
	newest *page
	bytes  int
}

// after is a reader's position in a target.
type after struct {
	target string
	id     wire.ID
}

type slot struct {
	page *page
	i    int // of the event that follows
}

type page struct {
	target     string
	records    []wire.Record
	bytes      int
	used       time.Time
	prev, next *page
}

func (p *pages) init() {
	p.index, p.of = make(map[after]slot), make(map[string]map[*page]struct{})
}

// get returns the events that follow a position, as far as they are known, or nil.
func (p *pages) get(target string, id wire.ID) []wire.Record {
	p.mu.Lock()
	defer p.mu.Unlock()
	s, ok := p.index[after{target, id}]
	if !ok {
		return nil
	}
	p.unlink(s.page)
	p.append(s.page)
	return s.page.records[s.i:]
}

// add keeps events that were read one after the other.
func (p *pages) add(target string, records []wire.Record) {
	pg := &page{target: target}
	for i := range records {
		size := len(records[i].Frame) + aroundPage
		hole := i > 0 && records[i].Prev != records[i-1].ID // somebody has deleted in the history
		if hole || pg.bytes+size > pageBytes {
			break
		}
		pg.bytes += size
		pg.records = records[:i+1]
	}
	if len(pg.records) < len(records) { // what is not kept is not to stay with it
		pg.records = slices.Clone(pg.records)
	}
	if records = pg.records; len(records) == 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range records {
		p.index[after{target, records[i].Prev}] = slot{pg, i}
	}
	if p.of[target] == nil {
		p.of[target] = make(map[*page]struct{})
	}
	p.of[target][pg] = struct{}{}
	p.append(pg)
	p.bytes += pg.bytes
	for p.bytes > pagesBytes {
		p.drop(p.oldest)
	}
}

// forget drops the pages of a target with events behind one up to another one, since a read has
// told that there are none in the history. A reader that was led back from there would get them
// again, and be led back, and so on, as each use keeps them.
func (p *pages) forget(target string, behind, upTo wire.ID) {
	if !behind.Less(upTo) {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for pg := range p.of[target] {
		if behind.Less(pg.records[len(pg.records)-1].ID) && !upTo.Less(pg.records[0].ID) {
			p.drop(pg)
		}
	}
}

// expire drops what nobody has used for a while.
func (p *pages) expire() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.oldest != nil && time.Since(p.oldest.used) > pagesFor {
		p.drop(p.oldest)
	}
}

func (p *pages) drop(pg *page) {
	p.unlink(pg)
	if delete(p.of[pg.target], pg); len(p.of[pg.target]) == 0 {
		delete(p.of, pg.target)
	}
	p.bytes -= pg.bytes
	for i := range pg.records {
		k := after{pg.target, pg.records[i].Prev}
		if p.index[k].page == pg { // else a younger page has it, too
			delete(p.index, k)
		}
	}
}

func (p *pages) append(pg *page) {
	pg.used, pg.prev = time.Now(), p.newest
	if p.newest != nil {
		p.newest.next = pg
	} else {
		p.oldest = pg
	}
	p.newest = pg
}

func (p *pages) unlink(pg *page) {
	if pg.prev != nil {
		pg.prev.next = pg.next
	} else {
		p.oldest = pg.next
	}
	if pg.next != nil {
		pg.next.prev = pg.prev
	} else {
		p.newest = pg.prev
	}
	pg.prev, pg.next = nil, nil
}
