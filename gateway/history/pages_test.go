package history

import (
	"bytes"
	"testing"
	"time"

	"sluice/shared/wire"
)

// chainOf makes records that follow each other: from+1 to from+n, in ms.
func chainOf(from uint64, n, size int) (records []wire.Record) {
	for i := range uint64(n) {
		records = append(records, wire.Record{
			ID: wire.ID{Ms: from + i + 1}, Prev: wire.ID{Ms: from + i}, Frame: bytes.Repeat([]byte("x"), size),
		})
	}
	return records
}

func TestPagesGiveWhatFollows(t *testing.T) {
	var p pages
	p.init()
	p.add("all", chainOf(100, 50, 10))
	for at, want := range map[uint64]int{99: 0, 100: 50, 120: 30, 149: 1, 150: 0} {
		got := p.get("all", wire.ID{Ms: at})
		if len(got) != want || (want > 0 && got[0].Prev != wire.ID{Ms: at}) {
			t.Errorf("%d records follow %d, want %d", len(got), at, want)
		}
	}
	if p.get("topic:x", wire.ID{Ms: 100}) != nil {
		t.Error("another target has them, too")
	}
	hole := append(chainOf(200, 2, 10), chainOf(300, 2, 10)...)
	p.add("all", hole)
	if n := len(p.get("all", wire.ID{Ms: 200})); n != 2 {
		t.Errorf("%d events follow, want those before the hole", n)
	}
	if p.get("all", wire.ID{Ms: 300}) != nil {
		t.Error("what is behind a hole was kept")
	}
}

// TestPagesForget: what a read tells to have gone is in no page any more, whichever overlap, and the others stay.
func TestPagesForget(t *testing.T) {
	var p pages
	p.init()
	p.add("all", chainOf(100, 20, 10)) // 101 to 120
	p.add("all", chainOf(110, 20, 10)) // to 130
	p.add("all", chainOf(115, 5, 10))
	p.add("all", chainOf(90, 10, 10))
	p.add("all", chainOf(130, 10, 10))
	p.add("topic:x", chainOf(100, 20, 10))
	p.forget("all", wire.ID{Ms: 117}, wire.ID{Ms: 117})
	if n := len(p.get("all", wire.ID{Ms: 100})); n != 20 {
		t.Errorf("%d events follow, and nothing has gone", n)
	}
	p.forget("all", wire.ID{Ms: 117}, wire.ID{Ms: 120}) // 118 to 120
	for at, want := range map[uint64]int{90: 10, 100: 0, 105: 0, 110: 0, 117: 0, 119: 0, 125: 0, 130: 10} {
		if got := p.get("all", wire.ID{Ms: at}); len(got) != want {
			t.Errorf("%d records follow %d, want %d", len(got), at, want)
		}
	}
	if p.get("topic:x", wire.ID{Ms: 100}) == nil {
		t.Error("another target's were forgotten")
	}
	if len(p.of["all"]) != 2 || len(p.of) != 2 {
		t.Errorf("pages of %d targets, of all %d", len(p.of), len(p.of["all"]))
	}
}

// TestPagesKeepNoMore: of what is too large for a page the rest does not stay in memory with its begin.
func TestPagesKeepNoMore(t *testing.T) {
	var p pages
	p.init()
	read := chainOf(100, 10, pageBytes/4)
	p.add("all", read)
	if got := p.get("all", wire.ID{Ms: 100}); len(got) != 3 || &got[0] == &read[0] {
		t.Errorf("%d of %d events are kept, in the memory of all", len(got), len(read))
	}
}

func TestPagesAreBounded(t *testing.T) {
	var p pages
	p.init()
	for i := range uint64(500) {
		p.add("all", chainOf(i*50, 100, 1000)) // each one overlaps the one before
		p.get("all", wire.ID{Ms: 10})          // the first one stays, since it is used
	}
	if p.bytes > pagesBytes || len(p.index) > pagesBytes/1000 {
		t.Errorf("%d bytes and %d places are kept", p.bytes, len(p.index))
	}
	if p.get("all", wire.ID{Ms: 10}) == nil || p.get("all", wire.ID{Ms: 200*50 + 60}) != nil {
		t.Error("what is used was dropped before what is not")
	}
	for pg := p.oldest; pg != nil; pg = pg.next {
		pg.used = time.Now().Add(-2 * pagesFor)
	}
	p.expire()
	if p.bytes != 0 || len(p.index) != 0 || len(p.of) != 0 || p.oldest != nil || p.newest != nil {
		t.Errorf("after their time %d bytes and %d places are kept", p.bytes, len(p.index))
	}
}

// TestWhoMayShareARead: who comes before it begins, and nobody else.
func TestWhoMayShareARead(t *testing.T) {
	r := NewReader(nil, 1<<20, 1000)
	r.running = mostReads // nobody reads but this test
	want := func() *Reading {
		w := &Reading{}
		w.Target, w.After, w.Limit = "all", wire.ID{Ms: 5}, 10
		return w
	}
	first := r.join("u", want())
	if r.join("u", want()) != first {
		t.Fatal("two reads for who came before either began")
	}
	other := want()
	other.After = wire.ID{Ms: 6}
	if r.join("u", other) == first {
		t.Fatal("who wants something else got the same")
	}
	batch := r.take()
	if len(batch) != 2 || batch[0] != first {
		t.Fatalf("took %d reads", len(batch))
	}
	second := r.join("u", want())
	if second == first || r.join("u", want()) != second {
		t.Fatal("who came after it began must get the next one, and share that")
	}
	if r.running = mostReads; len(r.take()) != 0 {
		t.Fatal("the next one began before the first one ended")
	}
	r.mu.Lock()
	r.queue.Done(first.user, first.weight)
	r.landed(first)
	r.mu.Unlock()
	if batch := r.take(); len(batch) != 1 || batch[0] != second {
		t.Fatalf("took %v after the first one ended", batch)
	}
	select {
	case <-second.done:
		t.Error("the second one has ended with the first")
	default:
	}
}
