package live

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"sluice/gateway/history"
	"sluice/shared/store"
	"sluice/shared/wire"
)

const partitions = 4

// world is a Flow with a history in memory, and workers that the test plays. It runs in a
// bubble with its own clock.
type world struct {
	t    *testing.T
	flow *Flow
	stop context.CancelFunc

	mu        sync.Mutex
	now       uint64 // of the last event, in ms
	stored    map[string][]wire.Event
	deafSince atomic.Int64            // when the channel was last heard, in Unix ms; 0: now
	all       map[string][]wire.Event // also those that were trimmed
	slow      time.Duration           // of each read
	down      bool                    // reads fail
	away      map[int]bool            // partitions of which they do
	seq       [partitions]uint64
	epoch     [partitions]uint64
	written   map[string]int // sessions
	reads     int
}

func play(t *testing.T, test func(w *world)) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t, now: uint64(time.Now().UnixMilli()), stored: map[string][]wire.Event{}, all: map[string][]wire.Event{}, written: map[string]int{}}
		for p := range w.epoch {
			w.epoch[p] = 1
		}
		reader := history.NewReader(w.Query, 32<<20, 64<<10)
		w.flow = New(Options{
			Partitions: partitions, Partition: partitionOf, History: reader, Sessions: w,
			NowMs: func() int64 { return time.Now().UnixMilli() }, TTLMs: time.Hour.Milliseconds(),
			HeardMs: w.heardMs, TermBegan: func(int) {}, Lost: func(int) {}, Metrics: newMetrics(), Log: slog.New(slog.DiscardHandler),
		})
		ctx, cancel := context.WithCancel(t.Context())
		w.stop = cancel
		var parts sync.WaitGroup
		parts.Go(func() { _ = w.flow.Run(ctx) })
		parts.Go(func() { _ = reader.Run(ctx) })
		test(w)
		cancel()
		parts.Wait()
	})
}

func (w *world) heardMs() int64 {
	if at := w.deafSince.Load(); at != 0 {
		return at
	}
	return time.Now().UnixMilli()
}

func partitionOf(target string) int {
	h := fnv.New32()
	_, _ = h.Write([]byte(target))
	return int(h.Sum32() % partitions)
}

func newMetrics() *Metrics {
	c := func() prometheus.Counter { return prometheus.NewCounter(prometheus.CounterOpts{Name: "x"}) }
	v := func() *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "x"}, []string{"l"})
	}
	return &Metrics{Deliveries: c(), Holes: c(), Rereads: c(), Looks: c(), Mended: c(), Lagging: c(), Drops: v(), Gaps: v(), Resumes: v()}
}

// Query reads histories as the store does.
func (w *world) Query(_ context.Context, queries ...*store.Query) error {
	time.Sleep(w.delay())
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.down {
		return errors.New("no link")
	}
	for _, q := range queries {
		w.reads++
		if w.away[partitionOf(q.Target)] {
			q.Err = errors.New("no link to its node")
			continue
		}
		events := w.stored[q.Target]
		q.Got, q.Next, q.Page = store.Edges{Empty: len(events) == 0}, store.Next{}, store.Page{}
		if len(events) > 0 && q.Edges {
			q.Got.Newest = events[len(events)-1].ID
			q.Got.Oldest, q.Got.OldestPrev = events[0].ID, events[0].Prev
		}
		if q.After == wire.MaxID {
			continue
		}
		i, _ := slices.BinarySearchFunc(events, q.After.Next(), func(e wire.Event, id wire.ID) int {
			if e.ID.Less(id) {
				return -1
			}
			return 1
		})
		page := events[i:]
		if q.Edges && len(page) > 0 {
			q.Next = store.Next{ID: page[0].ID, Prev: page[0].Prev, First: page[0].First}
		}
		if q.Limit == 0 {
			continue
		}
		q.Page.More = len(page) > q.Limit
		q.Page.Events = slices.Clone(page[:min(q.Limit, len(page))])
	}
	return nil
}

func (w *world) delay() time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.slow
}

func (w *world) Want(target, conn string) { w.session(target, conn, 1) }
func (w *world) Drop(target, conn string) { w.session(target, conn, -1) }
func (w *world) session(target, _ string, n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.written[target] += n
}

func (w *world) Wait(context.Context, string, string) error { return nil }

// add appends an event to a history, as a worker does before it publishes.
func (w *world) add(target string) wire.Event {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now++
	e := wire.Event{To: target, ID: wire.ID{Ms: w.now}, Data: fmt.Sprint(w.now), Kind: wire.JSON}
	if n := len(w.all[target]); n > 0 {
		e.Prev = w.all[target][n-1].ID
	}
	w.stored[target] = append(w.stored[target], e)
	w.all[target] = append(w.all[target], e)
	return e
}

// trim keeps the newest events of a history.
func (w *world) trim(target string, keep int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	events := w.stored[target]
	w.stored[target] = events[max(0, len(events)-keep):]
}

// message is what the owner of a partition publishes; lost: it does not arrive.
func (w *world) message(lost bool, events ...wire.Event) {
	p := partitionOf(events[0].To)
	w.mu.Lock()
	w.seq[p]++
	b := wire.AppendHead(nil, wire.Head{Partition: p, Epoch: w.epoch[p], Seq: w.seq[p]})
	w.mu.Unlock()
	for i := range events {
		e := &events[i]
		b = wire.AppendRecord(b, &wire.Record{Kind: wire.RecEvent, To: e.To, ID: e.ID, Prev: e.Prev, Frame: wire.EventFrame(e)})
	}
	if lost {
		return
	}
	m, err := wire.ParseMessage(string(b))
	if err != nil {
		w.t.Fatal(err)
	}
	if _, _, err := w.flow.Batch(&m, len(b)); err != nil {
		w.t.Fatal(err)
	}
}

// liveOnly publishes an event that is in no history.
func (w *world) liveOnly(target string) {
	p := partitionOf(target)
	w.seq[p]++
	b := wire.AppendHead(nil, wire.Head{Partition: p, Epoch: w.epoch[p], Seq: w.seq[p]})
	b = wire.AppendRecord(b, &wire.Record{Kind: wire.RecLive, To: target, Frame: wire.EventFrame(&wire.Event{To: target, Data: `"live"`, Kind: wire.JSON})})
	m, err := wire.ParseMessage(string(b))
	if err != nil {
		w.t.Fatal(err)
	}
	if _, _, err := w.flow.Batch(&m, len(b)); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) publish(target string, n int) {
	for range n {
		w.message(false, w.add(target))
	}
}

// beat repeats the sequence numbers.
func (w *world) beat() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for p := range w.seq {
		w.flow.Beat(wire.Head{Partition: p, Epoch: w.epoch[p], Seq: w.seq[p]})
	}
}

// person is a client over a transport in memory, with room for some frames.
type person struct {
	Client
	w    *world
	room int

	mu     sync.Mutex
	queue  []frame
	full   bool // a Send was refused
	seen   []frame
	lags   map[string]bool
	slowly time.Duration // is a cursor begun
	deaf   bool          // no cursor can be begun
	still  bool          // and never will be
	sent   bool          // away
	begun  []string      // cursors
	ctx    context.Context
	cancel context.CancelFunc
}

type frame struct {
	Type, Ref, To, Reason     string
	ID, Prev, Position, After wire.ID
	Recovered                 bool
}

func (w *world) person(name string, room int) *person {
	p := &person{w: w, room: room, lags: map[string]bool{}}
	p.ctx, p.cancel = context.WithCancel(w.t.Context())
	p.Attach(w.flow, name, p, p)
	return p
}

func (p *person) put(b []byte, room int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.queue) >= room {
		p.full = true
		return false
	}
	var f frame
	if err := json.Unmarshal(wire.Payload(b), &f); err != nil {
		p.w.t.Errorf("%q: %v", b, err)
	}
	p.queue = append(p.queue, f)
	return true
}

func (p *person) Send(b []byte) bool   { return p.put(b, p.room) }
func (p *person) Answer(b []byte) bool { return p.put(b, p.room+64) }
func (p *person) Room() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.full = p.full || len(p.queue) >= p.room
	return len(p.queue) < p.room
}

// read takes frames out of the queue.
func (p *person) read(n int) {
	p.mu.Lock()
	n = min(n, len(p.queue))
	p.seen = append(p.seen, p.queue[:n]...)
	p.queue = p.queue[n:]
	drained := p.full && len(p.queue) <= p.room/2
	p.full = p.full && !drained
	p.mu.Unlock()
	if drained {
		p.Drained()
	}
}

// readAll reads until nothing has come for a while.
func (p *person) readAll() {
	for quiet := 0; quiet < 100; quiet++ {
		time.Sleep(20 * time.Millisecond)
		synctest.Wait()
		p.mu.Lock()
		n := len(p.queue)
		p.mu.Unlock()
		if n > 0 {
			quiet = 0
			p.read(n)
		}
	}
}

func (p *person) Work() (context.Context, func()) { return p.ctx, func() {} }
func (p *person) Go(f func())                     { go f() }
func (p *person) Tell(f wire.ServerFrame)         { p.Answer(wire.Frame(f)) }
func (p *person) Refuse(ref, message string) {
	p.Answer(wire.Frame(wire.Error{Ref: ref, Code: wire.CodeUnavailable, Message: message}))
}
func (p *person) CannotOpen() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.sent = true; !p.still {
		p.w.t.Error("cannot open")
	}
}
func (p *person) BeginCursors(_ context.Context, _ time.Time, at func() map[string]wire.ID) error {
	time.Sleep(p.slowly)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.still {
		return ErrStoodStill
	}
	if p.deaf {
		return errors.New("no cursor can be written")
	}
	p.begun = slices.AppendSeq(p.begun, maps.Keys(at()))
	return nil
}
func (p *person) LedBack(string, wire.ID) {}
func (p *person) Joined()                 {}
func (p *person) Left(...*Sub)            {}
func (p *person) Lags(s *Sub, _ wire.ID)  { p.note(s.Target(), true) }
func (p *person) CaughtUp(s *Sub)         { p.note(s.Target(), false) }
func (p *person) note(target string, lags bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lags[target] = lags
}

func (p *person) subscribe(target string, from Start) {
	p.w.t.Helper()
	if err := p.Subscribe(p.ctx, []Request{{Target: target, Start: from}}, func([]Refusal) {}); err != nil {
		p.w.t.Error(err)
	}
}

// leave ends the client.
func (p *person) leave() {
	p.cancel()
	p.Leave()
}

// events are the ids that came for a target, and the last `subscribed` or `gap`.
func (p *person) events(target string) (ids []wire.ID, told frame) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, f := range p.seen {
		if f.To != target {
			continue
		}
		if f.Type == "event" {
			ids = append(ids, f.ID)
		} else {
			told = f
		}
	}
	return ids, told
}

// has checks that exactly the events from..to-1 of all that there ever were came.
func (p *person) has(target string, from, to int) {
	p.w.t.Helper()
	p.readAll()
	got, _ := p.events(target)
	var want []wire.ID
	for _, e := range p.w.all[target][from:to] {
		want = append(want, e.ID)
	}
	if !slices.Equal(got, want) {
		p.w.t.Errorf("%d events of %s came: %v, want %d: %v", len(got), target, got, len(want), want)
	}
}
