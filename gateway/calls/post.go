package calls

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"time"

	"sluice/gateway/auth"
	"sluice/gateway/live"
	"sluice/shared/store"
	"sluice/shared/wire"
)

// postedLook is how often a request looks itself for the answer to its call: what a worker tells may be lost, and of requests
// with one id only the first is told.
const postedLook = 500 * time.Millisecond

// Hear gives who has no connection, a request that calls or a client of which a function is asked who it is, an address for
// what a worker orders, until leave. The first order counts.
func (x *Calls) Hear() (heard <-chan wire.Order, at string, leave func()) {
	c := make(chan wire.Order, 1)
	at, leave = x.hearers.Add(c)
	return c, at, leave
}

// Heard takes an order for who has no connection; false: nobody has this address.
func (x *Calls) Heard(o *wire.Order) bool {
	c, ok := x.hearers.Get(o.Conn)
	if ok {
		select {
		case c <- *o:
		default: // the first one counts
		}
	}
	return ok
}

// Reply is the answer to a call over HTTP.
type Reply struct {
	ID   string          `json:"id"`
	Data json.RawMessage `json:"data,omitempty"`
}

// Post asks a function for a request, and waits for the answer. Repeated with the same id it is the same call, and has the same
// answer. A *wire.FrameError is for the client.
func (x *Calls) Post(ctx context.Context, id auth.Identity, f *wire.ClientFrame) (Reply, error) {
	if err := x.May(id, f); err != nil {
		return Reply{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, x.o.Timeout)
	defer cancel()
	heard, at, leave := x.Hear()
	defer leave()
	key := cmp.Or(f.ID, rand.Text()[:20])
	known, err := x.addPosted(ctx, &wire.Call{
		Kind: wire.CallKind, ID: wire.CallID(id.User, key), User: id.User, Conn: at, Server: x.o.Server, Transport: wire.TransportHTTP,
		Seq: 1, Name: f.Name, Data: string(f.Data), Trace: wire.NewTrace(),
	})
	if err != nil {
		return Reply{}, err
	}
	text, err := x.awaitPosted(ctx, heard, id.User, key, known)
	return Reply{key, json.RawMessage(text)}, err
}

func (x *Calls) addPosted(ctx context.Context, c *wire.Call) (store.PostedCall, error) {
	ctx, cancel := context.WithTimeout(ctx, live.RedisTimeout)
	defer cancel()
	known, err := x.o.Store.PostCall(ctx, c)
	switch {
	case err != nil:
		return known, err
	case known.Full:
		x.refused(callWaiting)
		return known, errWait
	case known.Waits:
		x.o.Metrics.Calls.Inc()
	}
	return known, nil
}

// awaitPosted waits for the answer, by a worker's word or by what is kept.
func (x *Calls) awaitPosted(ctx context.Context, heard <-chan wire.Order, user, key string, known store.PostedCall) (text string, err error) {
	look := time.NewTicker(postedLook)
	defer look.Stop()
	for {
		switch {
		case known.Answered:
			return known.Answer, nil
		case !known.Waits:
			return "", ErrFailed
		case x.o.Draining():
			return "", &wire.FrameError{Code: wire.CodeUnavailable, Message: "this gateway restarts; the call goes on: send it again with the same id"}
		}
		select {
		case <-ctx.Done():
			x.refused(callLate)
			return "", ErrLate
		case o := <-heard:
			switch {
			case o.What == wire.OrderFail && o.Text == wire.CodeUnavailable:
				return "", ErrFailed
			case o.What == wire.OrderFail:
				return "", &wire.FrameError{Code: o.Text, Message: notAnswered}
			}
			known = store.PostedCall{Answered: true, Answer: o.Text}
		case <-look.C:
			if now, err := x.o.Store.PostedCall(ctx, user, key); err == nil { // else Redis is away, or the time is over
				known = now
			}
		}
	}
}
