package api

import (
	"context"
	"crypto/rand"
	"errors"
	"strconv"
	"strings"
	"time"

	"sluice/gateway/admit"
	"sluice/gateway/live"
	"sluice/gateway/lock"
	"sluice/shared/wire"
)

// waiters are the requests that wait for an event, by id.
type waiters struct {
	mu    lock.Mutex[lock.Waiters]
	byID  map[string]*Waiter
	ended bool
}

func (x *waiters) add(w *Waiter) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.byID == nil {
		x.byID = make(map[string]*Waiter)
	}
	x.byID[w.id] = w
	if x.ended {
		w.stop(nil)
	}
}

func (x *waiters) remove(w *Waiter) {
	x.mu.Lock()
	defer x.mu.Unlock()
	delete(x.byID, w.id)
}

// end lets all of them be answered, and those that come: the gateway ends.
func (x *waiters) end() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.ended = true
	for _, w := range x.byID {
		w.stop(nil)
	}
}

// about is what is kept in Redis of one; "": there is none.
func (x *waiters) about(id string) string {
	x.mu.Lock()
	defer x.mu.Unlock()
	if w := x.byID[id]; w != nil {
		return strconv.FormatInt(w.since, 10) + " http"
	}
	return ""
}

// Waiter is a request that waits for an event of a target. It subscribes as a connection does, to its user, too, whose kicks are
// told so; and it has a sink that only says that something has come of the target: what that is the request reads from the history.
type Waiter struct {
	live.Client

	api    *API
	in     *incoming
	id     string
	target string
	since  int64 // Redis's clock in Unix ms
	ctx    context.Context
	wake   chan struct{}

	mu      lock.Mutex[lock.Waiter]
	stopped chan struct{} // closed when it is over before its time
	why     error         // then; nil: as if the time were over
	isOver  bool
}

func newWaiter(ctx context.Context, h *API, in *incoming, target string) *Waiter {
	x := &Waiter{
		api: h, in: in, target: target, id: strings.Clone(rand.Text()[:16]), since: h.o.Store.NowMs(), ctx: ctx,
		wake: make(chan struct{}, 1), stopped: make(chan struct{}),
	}
	x.Attach(h.o.Flow, x.id, x, x)
	x.Keeps(in.id.User, false, false)
	h.waiters.add(x)
	return x
}

// end ends the subscription.
func (x *Waiter) end() {
	x.Leave()
	x.api.waiters.remove(x)
}

// subscribe returns when every event that is added from now on wakes it.
func (x *Waiter) subscribe() error {
	var refused error
	all := []live.Request{{Target: x.target}}
	if user := wire.UserTarget(x.in.id.User); user != x.target {
		all = append(all, live.Request{Target: user})
	}
	err := x.Subscribe(x.ctx, all, func(all []live.Refusal) {
		if len(all) > 0 {
			refused = &wire.FrameError{Code: wire.CodeUnavailable, Message: live.TryAgain}
		}
	})
	if out, kicked := errors.AsType[*admit.KeptOut](err); kicked {
		return out.Refusal().FrameError()
	}
	if err != nil {
		return err
	}
	select { // its begin is nothing new
	case <-x.wake:
	default:
	}
	return refused
}

// sleep waits until there may be something. over: the request is answered, with what it has or with the error.
func (x *Waiter) sleep(renew <-chan time.Time) (over bool, err error) {
	for {
		select {
		case <-x.wake:
			return false, nil
		case <-x.ctx.Done():
			return true, nil
		case <-x.stopped:
			return true, x.over()
		case <-renew: // a user's sessions are renewed by each connection
			x.api.o.Sessions.Renew(wire.UserTarget(x.in.id.User), x.id)
		}
	}
}

// stop ends the wait, with an error or as if the time were over.
func (x *Waiter) stop(why error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if !x.isOver {
		x.isOver, x.why = true, why
		close(x.stopped)
	}
}

// over is why it was stopped.
func (x *Waiter) over() error {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.why
}

// Kick ends it if it is meant.
func (x *Waiter) Kick(k *wire.Kick, slack int64) {
	if (k.Conn == "" || k.Conn == x.id) && k.Device == "" && uint64(x.since-slack) <= k.At {
		x.api.o.Metrics.Kicked.Inc()
		x.stop(admit.Forbidden(admit.KickText(k.Reason)))
	}
}

func (x *Waiter) signal() {
	select {
	case x.wake <- struct{}{}:
	default:
	}
}

// Send is called with events. Those that are live only are not in the history.
func (x *Waiter) Send(frame []byte) bool {
	return x.Answer(frame)
}

// Answer is called with what a gap or the begin of the subscription says.
func (x *Waiter) Answer(frame []byte) bool {
	if h, _ := wire.ReadStreamHead(frame); h.Moves && h.To == x.target {
		x.signal()
	}
	return true
}

// Room there is always.
func (x *Waiter) Room() bool { return true }

// Work ends with the request.
func (x *Waiter) Work() (ctx context.Context, done func()) { return x.ctx, func() {} }

// Go runs a goroutine that the gateway waits for.
func (x *Waiter) Go(f func()) { x.api.o.Running.Go(f) }

// Tell is called with answers that a connection would get.
func (x *Waiter) Tell(wire.ServerFrame) {}

// Refuse says that the subscription is not possible now.
func (x *Waiter) Refuse(_, message string) {
	x.stop(&wire.FrameError{Code: wire.CodeUnavailable, Message: message})
}

// CannotOpen is for connections.
func (x *Waiter) CannotOpen() {}

// BeginCursors is for devices.
func (x *Waiter) BeginCursors(context.Context, time.Time, func() map[string]wire.ID) error {
	return nil
}

// LedBack is for acks.
func (x *Waiter) LedBack(string, wire.ID) {}

// Joined counts the subscription as the user's, until Left.
func (x *Waiter) Joined() { x.in.account.Targets.Add(1) }

// Left follows Joined.
func (x *Waiter) Left(subs ...*live.Sub) { x.in.account.Targets.Add(-int64(len(subs))) }

// Lags is for slow clients.
func (x *Waiter) Lags(*live.Sub, wire.ID) {}

// CaughtUp is for slow clients.
func (x *Waiter) CaughtUp(*live.Sub) {}
