package worker

import (
	"context"
	"sync"
	"time"

	"sluice/shared/store"
	"sluice/shared/wire"
	"sluice/worker/functions"
)

// calls is the work of the lane of functions: it hands each event to the line of its connection, and acknowledges what the
// lines have finished.
type calls struct {
	w      *Worker
	caller *functions.Caller
	wg     sync.WaitGroup

	mu       sync.Mutex
	lines    map[lineKey]*line
	waiting  map[eventKey]*line // for a task to say that their first events are due
	terms    map[int]*callTerm
	finished []store.Entry
	held     int // events read and not finished
	bytes    int // of them
}

// callTerm is a term over a partition's calls.
type callTerm struct {
	ctx    context.Context
	cancel context.CancelFunc
	seen   wire.ID // events up to here may have been tried by an earlier owner
	began  time.Time
	unread int // events that nobody has acknowledged, of those that are held; guarded by calls.mu
}

func newCalls(w *Worker, caller *functions.Caller) *calls {
	return &calls{w: w, caller: caller, lines: make(map[lineKey]*line), waiting: make(map[eventKey]*line), terms: make(map[int]*callTerm)}
}

const (
	// callsHeld bounds the events that a worker has read and not finished, in bytes: beyond it nothing is read, until
	// functions have answered.
	callsHeld = 64 << 20
	// lostAtOnce is how many connections of a partition are looked for in a second.
	lostAtOnce = 1000
	// callRetry is the pause after a failure of Redis.
	callRetry = 200 * time.Millisecond
)

type lineKey struct {
	partition int // of the calls
	of        string
}

// lineOf names those whose events come one after the other: a connection, what a user asks without one, a user's coming and going, or
// what the user has not read. No name has a space.
func lineOf(c *wire.Call) string {
	switch {
	case c.Kind == wire.UnreadKind: // another function may take it
		return c.Kind + " " + c.User
	case c.OfUser():
		return "user " + c.User
	case c.OfConnection():
		return c.Conn
	}
	return c.Transport + " " + c.User
}

// eventKey names an event.
type eventKey struct {
	partition int
	id        wire.ID
}

// line are events that come one after the other, the first of them under way or waiting to be tried again.
type line struct {
	key    lineKey
	term   *callTerm
	events []*callEvent // guarded by calls.mu
}

// callEvent is one event.
type callEvent struct {
	store.Entry
	call  wire.Call
	tried bool // maybe, by an earlier owner
	tries int  // that have failed
	since uint64
}

func (c *calls) wait() {
	c.wg.Wait()
	c.caller.Close()
}

func (c *calls) full() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.bytes > callsHeld
}

func (c *calls) holds() (some, due bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.held > 0, len(c.finished) > 0
}

// refuse finishes a call that nobody answers.
func (c *calls) refuse(ctx context.Context, p int, e *callEvent, code, _ string) error {
	if e.call.Kind == wire.CallKind {
		if err := c.order(ctx, e, wire.Order{What: wire.OrderFail, Text: code}); err != nil {
			return err
		}
	}
	return c.finish(ctx, p, e, store.StateChange{})
}

func (c *calls) finish(ctx context.Context, p int, e *callEvent, state store.StateChange) error {
	if e.call.Kind == wire.DisconnectedKind {
		state = store.StateChange{Drop: true}
	}
	_, err := c.w.store.FinishCall(ctx, p, e.ID, &e.call, state)
	return err
}

// order tells the connection's gateway what the function wants. It may be lost, as all that is told so.
func (c *calls) order(ctx context.Context, e *callEvent, orders ...wire.Order) error {
	for i := range orders {
		orders[i].Conn, orders[i].Ref, orders[i].ID = e.call.Conn, e.call.Ref, e.call.ID
	}
	return c.w.store.Send(ctx, []store.Outgoing{{Server: e.call.Server, Payload: wire.AppendOrders(nil, orders)}})
}

func (c *calls) count(e *callEvent, outcome string, took time.Duration) {
	c.w.metrics.function(e.call.Kind, outcome, took)
}

// count notes how many events that nobody has acknowledged are held. calls.mu is held.
func (r *callTerm) count(e *callEvent, n int) {
	if e.call.Kind == wire.UnreadKind {
		r.unread += n
	}
}

// await lets a line wait for a task. From here on another goroutine may work on it.
func (c *calls) await(l *line, e *callEvent) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.lines[l.key] == l {
		c.waiting[eventKey{l.key.partition, e.ID}] = l
	}
}

// resume ends that. false: it was due meanwhile, or the term is over.
func (c *calls) resume(l *line, e *callEvent) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	key := eventKey{l.key.partition, e.ID}
	if c.waiting[key] != l { // maybe the line of a later term waits
		return false
	}
	delete(c.waiting, key)
	return true
}
