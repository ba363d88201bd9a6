package gateway

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"sluice/shared/ops"
	"sluice/shared/pattern"
	"sluice/shared/store"
	"sluice/shared/wire"
)

const (
	// mostCalls is how many calls of one connection may wait for an answer.
	mostCalls = 64
	// callBatch are appended in one round trip.
	callBatch = 256
	// callBytes bounds the data of calls that wait to be appended.
	callBytes = 16 << 20
	// functionsEvery is how often a gateway asks what functions take.
	functionsEvery = time.Second
	// callRetry is the pause after an append that failed.
	callRetry = 100 * time.Millisecond
)

// Why a call is refused: labels of the metric.
const (
	callNoFunction = "no_function"
	callUnknown    = "unknown"  // the gateway has just begun
	callTooMany    = "too_many" // of the connection
	callWaiting    = "waiting"  // of the user
	callBacklog    = "backlog"
	callQueue      = "queue"
	callLate       = "late"
	callBadKey     = "bad_key"
)

// calls appends what functions are to hear of connections, in the order in which it happens. What cannot be appended for now
// is tried again, and what comes later waits behind it: so a connection's begin stands before its calls, and its end behind.
type calls struct {
	store   *store.Store
	metrics *metrics
	log     *slog.Logger
	timeout time.Duration
	takes   atomic.Pointer[functionKinds]
	wake    chan struct{}

	mu      sync.Mutex
	queue   []*callWrite
	bytes   int
	waiting map[*conn]struct{}  // with calls that are not answered
	missed  map[string]struct{} // users some of whose sessions were gone for a while
}

// callWrite is one event to be appended.
type callWrite struct {
	store.Calling
	conn  *conn
	until time.Time // of a call: nobody waits for its answer any more
}

// functionKinds is what functions take.
type functionKinds struct {
	unknown                 bool // the gateway has not yet been able to ask
	connected, disconnected bool
	connect                 bool
	presence                store.Presence
	calls                   []string // patterns
}

func parseKinds(kinds []string) *functionKinds {
	k := &functionKinds{presence: store.PresenceOf(kinds)}
	for _, one := range kinds {
		kind, pattern, patterned := strings.Cut(one, ":")
		switch {
		case kind == wire.ConnectedKind:
			k.connected = true
		case kind == wire.DisconnectedKind:
			k.disconnected = true
		case kind == wire.ConnectKind:
			k.connect = true
		case kind == wire.CallKind && !patterned:
			k.calls = append(k.calls, "*")
		case kind == wire.CallKind:
			k.calls = append(k.calls, pattern)
		}
	}
	return k
}

// tracks reports whether the begin and the end of every connection count for functions.
func (k *functionKinds) tracks() bool {
	return k.connected || k.disconnected || k.presence != store.NoPresence
}

func (k *functionKinds) takesCall(name string) bool {
	return slices.ContainsFunc(k.calls, func(p string) bool { return pattern.Match(p, name) })
}

func newCalls(st *store.Store, timeout time.Duration, m *metrics, log *slog.Logger) *calls {
	c := &calls{store: st, metrics: m, log: log, timeout: timeout, wake: make(chan struct{}, 1), waiting: make(map[*conn]struct{}), missed: make(map[string]struct{})}
	c.takes.Store(&functionKinds{unknown: true})
	return c
}

// watch keeps what functions take, and tells clients whose calls are not answered, until ctx ends.
func (x *calls) watch(ctx context.Context, conns func() []*conn) error {
	for ctx.Err() == nil {
		if kinds, err := x.store.Functions(ctx); err == nil {
			now := parseKinds(kinds)
			before := x.takes.Swap(now)
			users := now.presence != store.NoPresence && before.presence == store.NoPresence
			if users || now.tracks() && !before.tracks() {
				for _, c := range conns() { // that were there before
					if c.isWelcomed() {
						c.beginCalls(users)
					}
				}
			}
		}
		x.tellLate(time.Now())
		x.findEnded(ctx, conns)
		ops.Pause(ctx, functionsEvery)
	}
	return nil
}

// maybeEnded says that a user's sessions were gone for a while: workers may have taken the connections for lost.
func (x *calls) maybeEnded(user string) {
	if x.takes.Load().tracks() {
		x.mu.Lock()
		x.missed[user] = struct{}{}
		x.mu.Unlock()
	}
}

func (x *calls) takeMissed() (missed map[string]struct{}) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if len(x.missed) > 0 {
		missed, x.missed = x.missed, make(map[string]struct{})
	}
	return missed
}

// findEnded sends connections away whose ends functions have heard of.
func (x *calls) findEnded(ctx context.Context, conns func() []*conn) {
	missed := x.takeMissed()
	if len(missed) == 0 {
		return
	}
	byUser := make(map[string][]*conn)
	for _, c := range conns() {
		if user := c.user(); c.knownToFunctions() {
			if _, is := missed[user]; is {
				byUser[user] = append(byUser[user], c)
			}
		}
	}
	for user, list := range byUser {
		ids := make([]string, len(list))
		for i, c := range list {
			ids[i] = c.id
		}
		ended, err := x.store.Ended(ctx, user, ids)
		if err != nil {
			x.maybeEnded(user) // with the next turn
			continue
		}
		for i, c := range list {
			if ended[i] {
				c.forgotten()
			}
		}
	}
}

func (c *conn) knownToFunctions() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.calling != nil && c.calling.known && !c.closed
}

// tellLate tells clients of calls that were not answered in time. The work goes on.
func (x *calls) tellLate(now time.Time) {
	x.mu.Lock()
	conns := make([]*conn, 0, len(x.waiting))
	for c := range x.waiting {
		conns = append(conns, c)
	}
	x.mu.Unlock()
	for _, c := range conns {
		for _, ref := range c.lateCalls(now) {
			x.metrics.callsRefused.WithLabelValues(callLate).Inc()
			c.Fail(ref, errCallLate)
		}
	}
}

// run appends until ctx ends.
func (x *calls) run(ctx context.Context) error {
	for {
		batch := x.take()
		if len(batch) == 0 {
			select {
			case <-ctx.Done():
				return nil
			case <-x.wake:
			}
			continue
		}
		for failing := false; ; failing = true {
			err := x.append(ctx, batch)
			if err == nil {
				break
			}
			switch {
			case ctx.Err() != nil:
				x.log.Warn("stops with events for functions that Redis did not take; workers find the ends of connections", "events", len(batch), "err", err)
				return nil //nolint:nilerr // it is told
			case !failing:
				x.log.Warn("cannot append what functions are to hear; retrying", "events", len(batch), "err", err)
			}
			ops.Pause(ctx, callRetry)
		}
	}
}

func (x *calls) take() []*callWrite {
	x.mu.Lock()
	defer x.mu.Unlock()
	n := min(len(x.queue), callBatch)
	batch := slices.Clone(x.queue[:n])
	if x.queue = x.queue[n:]; len(x.queue) == 0 {
		x.queue = nil
	}
	for _, w := range batch {
		x.bytes -= len(w.Call.Data)
	}
	return batch
}

// append appends a batch. After an error some of it may be done.
func (x *calls) append(ctx context.Context, batch []*callWrite) error {
	list := make([]*store.Calling, 0, len(batch))
	of := make([]*callWrite, 0, len(batch))
	now := time.Now()
	for _, w := range batch {
		if w.Of == store.CallEvent && now.After(w.until) {
			continue
		}
		list, of = append(list, &w.Calling), append(of, w)
	}
	x.store.AddCalls(context.WithoutCancel(ctx), list) // the last ones, too: every command has its own time limit
	var bad *store.BadKey
	for _, w := range of {
		switch {
		case w.Err == nil || errors.As(w.Err, &bad):
		default:
			return w.Err
		}
	}
	for _, w := range of {
		switch {
		case w.Err != nil:
			x.log.Error("functions do not hear of this until its key is repaired", "of", w.Of, "conn", w.conn.id, "err", w.Err)
			x.metrics.callsRefused.WithLabelValues(callBadKey).Inc()
		case w.Of == store.CallBegin:
			w.conn.mu.Lock()
			w.conn.calling.known = true
			w.conn.mu.Unlock()
		case w.Full:
			if open := w.conn.closeCall(wire.CallKey(w.Call.ID)); open != nil {
				x.metrics.callsRefused.WithLabelValues(callWaiting).Inc()
				w.conn.Fail(open.ref, errCallsWait)
			}
		case w.Of == store.CallEvent && !w.Done:
			w.conn.forgotten()
		}
	}
	return nil
}

func (x *calls) add(w *callWrite) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	if w.Of == store.CallEvent && x.bytes+len(w.Call.Data) > callBytes {
		return false
	}
	x.bytes += len(w.Call.Data)
	x.queue = append(x.queue, w)
	if w.Of == store.CallEvent {
		x.waiting[w.conn] = struct{}{}
	}
	select {
	case x.wake <- struct{}{}:
	default:
	}
	return true
}
