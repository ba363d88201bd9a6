// Package calls brings to the calls streams what functions are to hear of connections, their calls too, and brings back what is
// answered. It knows the store, and of each connection what it is told.
//
//	calls.go   what functions are to hear, on its way to Redis
//	kinds.go   what functions take
//	client.go  a connection's part: its begin, its calls, its end
//	post.go    a call by a request, which has no connection
package calls

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"sluice/gateway/answers"
	"sluice/gateway/auth"
	"sluice/gateway/live"
	"sluice/shared/ops"
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
	// functionsGone is how many times in a row they take nothing until that counts.
	functionsGone = 5
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

// What those are told whose calls are not answered.
var (
	errWait = &wire.FrameError{Code: wire.CodeTooMany, Message: "too many calls of this user wait for their answers"}
	// ErrFailed has no Retry-After: who asks again has the function asked again.
	ErrFailed = &wire.FrameError{Code: wire.CodeUnavailable, Message: notAnswered}
	// ErrLate says that the call goes on.
	ErrLate = &wire.FrameError{Code: wire.CodeUnavailable, Message: "no answer came in time; the call goes on"}
)

const notAnswered = "the call was not answered"

// Options are what Calls are made of.
type Options struct {
	Server   string // this gateway's name
	Store    *store.Store
	Timeout  time.Duration                    // for which an answer is waited for
	NoRoom   func(partition int) (why string) // why no call may be asked of a partition now, for the client; "": it may
	Begin    func()                           // begins all connections that are there, also again: functions take only now what that tells
	Clients  func() []*Client                 // those of all connections that have one
	Draining func() bool                      // the gateway ends: requests shall not wait for answers
	Metrics  *Metrics
	Log      *slog.Logger
}

// Metrics are counted by Calls.
type Metrics struct {
	Calls   prometheus.Counter     // that were brought to functions
	Refused *prometheus.CounterVec // that were not, or not answered in time, by reason
}

// Calls appends what functions are to hear of connections, in the order in which it happens. What cannot be appended for now
// is tried again, and what comes later waits behind it: so a connection's begin stands before its calls, and its end behind.
type Calls struct {
	o       Options
	takes   atomic.Pointer[kinds]
	nothing int // how many times in a row functions took nothing; of watch alone
	wake    chan struct{}
	hearers answers.Addresses[chan wire.Order]

	mu      sync.Mutex
	queue   []*event
	bytes   int
	waiting map[*Client]struct{} // with calls that are not answered
	missed  map[string]struct{}  // users some of whose sessions were gone for a while
}

// event is what is to be appended.
type event struct {
	store.Calling
	client *Client
	until  time.Time // of a call: nobody waits for its answer any more
	tried  bool      // Redis may have it
}

// New makes Calls; Run must be called.
func New(o Options) *Calls {
	x := &Calls{o: o, wake: make(chan struct{}, 1), waiting: make(map[*Client]struct{}), missed: make(map[string]struct{})}
	x.takes.Store(&kinds{unknown: true})
	return x
}

// Timeout is how long an answer is waited for.
func (x *Calls) Timeout() time.Duration { return x.o.Timeout }

// May refuses a call that the user may not make, or that nobody would take now.
func (x *Calls) May(id auth.Identity, f *wire.ClientFrame) error {
	takes := x.takes.Load()
	switch {
	case !id.CanCall(f.Name):
		return &wire.FrameError{Code: wire.CodeForbidden, Message: "this token does not allow this call"}
	case takes.unknown:
		x.refused(callUnknown)
		return &wire.FrameError{Code: wire.CodeUnavailable, Message: live.TryAgain}
	case !takes.call(f.Name):
		x.refused(callNoFunction)
		return &wire.FrameError{Code: wire.CodeBadRequest, Message: "there is no function for this call"}
	case len(f.Data) > x.o.Store.Config().MaxData:
		return &wire.FrameError{Code: wire.CodeTooLarge, Message: "data is larger than max_data_bytes"}
	}
	if why := x.o.NoRoom(x.o.Store.Partition(wire.UserTarget(id.User))); why != "" {
		x.refused(callBacklog)
		return &wire.FrameError{Code: wire.CodeUnavailable, Message: why}
	}
	return nil
}

func (x *Calls) refused(reason string) { x.o.Metrics.Refused.WithLabelValues(reason).Inc() }

// Run appends, keeps what functions take, and tells clients whose calls are not answered, until ctx ends.
func (x *Calls) Run(ctx context.Context) error {
	work, ctx := errgroup.WithContext(ctx)
	work.Go(func() error { return x.appendAll(ctx) })
	work.Go(func() error { return x.watch(ctx) })
	return work.Wait()
}

func (x *Calls) watch(ctx context.Context) error {
	for ctx.Err() == nil {
		if all, err := x.o.Store.Functions(ctx); err == nil {
			x.learn(all)
		}
		x.tellLate(time.Now())
		x.findEnded(ctx)
		ops.Pause(ctx, functionsEvery)
	}
	return nil
}

// learn takes what functions take. That they take nothing any more counts when it was seen a few times: Redis may have lost it, and then
// workers say it again within a second or two.
func (x *Calls) learn(all []string) {
	if len(all) > 0 {
		x.nothing = 0
	} else if x.nothing++; x.nothing < functionsGone && !x.takes.Load().unknown {
		return
	}
	now := parseKinds(all)
	before := x.takes.Swap(now)
	users := now.presence != store.NoPresence && before.presence == store.NoPresence
	if users || now.connected && !before.connected || now.tracks() && !before.tracks() {
		x.o.Begin()
	}
}

// MaybeEnded says that a user's sessions were gone for a while: workers may have taken the connections for lost.
func (x *Calls) MaybeEnded(user string) {
	if x.takes.Load().tracks() {
		x.mu.Lock()
		x.missed[user] = struct{}{}
		x.mu.Unlock()
	}
}

func (x *Calls) takeMissed() (missed map[string]struct{}) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if len(x.missed) > 0 {
		missed, x.missed = x.missed, make(map[string]struct{})
	}
	return missed
}

// findEnded sends connections away whose ends functions have heard of.
func (x *Calls) findEnded(ctx context.Context) {
	missed := x.takeMissed()
	if len(missed) == 0 {
		return
	}
	byUser := make(map[string][]*Client)
	for _, k := range x.o.Clients() {
		user := k.conn.About().User
		if _, is := missed[user]; is && k.isKnown() {
			byUser[user] = append(byUser[user], k)
		}
	}
	for user, list := range byUser {
		ids := make([]string, len(list))
		for i, k := range list {
			ids[i] = k.conn.About().Conn
		}
		ended, err := x.o.Store.Ended(ctx, user, ids)
		if err != nil {
			x.MaybeEnded(user) // with the next turn
			continue
		}
		for i, k := range list {
			if ended[i] {
				k.conn.Forgotten()
			}
		}
	}
}

// tellLate tells clients of calls that were not answered in time. The work goes on.
func (x *Calls) tellLate(now time.Time) {
	x.mu.Lock()
	clients := make([]*Client, 0, len(x.waiting))
	for k := range x.waiting {
		clients = append(clients, k)
	}
	x.mu.Unlock()
	for _, k := range clients {
		for _, ref := range k.late(now) {
			x.refused(callLate)
			k.conn.Fail(ref, ErrLate)
		}
		x.answered(k) // it may have ended while its last call was added
	}
}

// appendAll appends until ctx ends.
func (x *Calls) appendAll(ctx context.Context) error {
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
				x.o.Log.Warn("stops with events for functions that Redis did not take; workers find the ends of connections", "events", len(batch), "err", err)
				return nil //nolint:nilerr // it is told
			case !failing:
				x.o.Log.Warn("cannot append what functions are to hear; retrying", "events", len(batch), "err", err)
			}
			ops.Pause(ctx, callRetry)
		}
	}
}

func (x *Calls) take() []*event {
	x.mu.Lock()
	defer x.mu.Unlock()
	n := min(len(x.queue), callBatch)
	batch := slices.Clone(x.queue[:n])
	if x.queue = x.queue[n:]; len(x.queue) == 0 {
		x.queue = nil
	}
	for _, e := range batch {
		x.bytes -= len(e.Call.Data)
	}
	return batch
}

// append appends a batch. After an error some of it may be done.
func (x *Calls) append(ctx context.Context, batch []*event) error {
	list := make([]*store.Calling, 0, len(batch))
	of := make([]*event, 0, len(batch))
	now := time.Now()
	for _, e := range batch {
		if e.Of == store.CallEvent && now.After(e.until) {
			x.tooLate(e)
			continue
		}
		e.tried = true
		list, of = append(list, &e.Calling), append(of, e)
	}
	x.o.Store.AddCalls(context.WithoutCancel(ctx), list) // the last ones, too: every command has its own time limit
	var bad *store.BadKey
	for _, e := range of {
		if e.Err != nil && !errors.As(e.Err, &bad) {
			return e.Err
		}
	}
	for _, e := range of {
		x.appended(e)
	}
	return nil
}

// tooLate takes a call off those that wait which is not asked any more. One that may be in Redis may still be answered.
func (x *Calls) tooLate(e *event) {
	if e.tried {
		return
	}
	if open := e.client.closeIf(wire.CallKey(e.Call.ID), e.until); open != nil && !open.late {
		x.refused(callLate)
		e.client.conn.Fail(open.ref, &wire.FrameError{Code: wire.CodeUnavailable, Message: live.TryAgain})
	}
}

// appended does what the result of an event asks for.
func (x *Calls) appended(e *event) {
	switch {
	case e.Err != nil:
		x.o.Log.Error("functions do not hear of this until its key is repaired", "of", e.Of, "conn", e.Call.Conn, "err", e.Err)
		x.refused(callBadKey)
	case e.Of == store.CallBegin:
		e.client.isBegun()
	case e.Full:
		if open := e.client.close(wire.CallKey(e.Call.ID)); open != nil {
			x.refused(callWaiting)
			e.client.conn.Fail(open.ref, errWait)
		}
	case e.Of == store.CallEvent && !e.Done:
		e.client.conn.Forgotten()
	}
}

// add queues an event; false: there is no room for a call.
func (x *Calls) add(e *event) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	if e.Of == store.CallEvent && x.bytes+len(e.Call.Data) > callBytes {
		return false
	}
	x.bytes += len(e.Call.Data)
	x.queue = append(x.queue, e)
	if e.Of == store.CallEvent {
		x.waiting[e.client] = struct{}{}
	}
	select {
	case x.wake <- struct{}{}:
	default:
	}
	return true
}

// answered takes a client off those with calls that are not answered, if it has none: another one may have come meanwhile.
func (x *Calls) answered(k *Client) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if !k.waits() {
		delete(x.waiting, k)
	}
}
