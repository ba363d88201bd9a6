package gateway

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"time"

	"sluice/gateway/live"
	"sluice/shared/store"
	"sluice/shared/wire"
)

// postedLook is how often a request looks itself for the answer to its call: what a worker tells may be lost, and of requests
// with one id only the first is told.
const postedLook = 500 * time.Millisecond

const notAnswered = "the call was not answered"

var (
	errCallsWait = &wire.FrameError{Code: wire.CodeTooMany, Message: "too many calls of this user wait for their answers"}
	// errCallFailed has no Retry-After: who asks again has the function asked again.
	errCallFailed = &wire.FrameError{Code: wire.CodeUnavailable, Message: notAnswered}
	errCallLate   = &wire.FrameError{Code: wire.CodeUnavailable, Message: "no answer came in time; the call goes on"}
)

// hearer waits for what a worker orders: it is a request that calls, or a client of which a function is asked who it is.
type hearer struct{ heard chan wire.Order }

func (p *hearer) hear(o *wire.Order) {
	select {
	case p.heard <- *o:
	default: // the first one counts
	}
}

// callReply is the answer to a call over HTTP.
type callReply struct {
	ID   string          `json:"id"`
	Data json.RawMessage `json:"data,omitempty"`
}

// postCall is POST /v1/calls. Repeated with the same id it is the same call, and has the same answer.
func (g *Gateway) postCall(ctx context.Context, in *incoming) (any, error) {
	key, err := idempotencyKey(in.Header.Values("Idempotency-Key"))
	if err != nil {
		return nil, err
	}
	f, wrong := wire.ParseCallBody(in.body, key)
	if wrong != nil {
		return nil, wrong
	}
	if err := g.charge(in, cost{bytes: float64(len(in.body))}); err != nil {
		return nil, err
	}
	if err := g.mayCall(in.id, f); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, g.calls.timeout)
	defer cancel()
	p := &hearer{make(chan wire.Order, 1)}
	by, leave := g.hearers.Add(p)
	defer leave()
	user := in.id.User
	key = cmp.Or(f.ID, rand.Text()[:20])
	known, err := g.addPosted(ctx, &wire.Call{
		Kind: wire.CallKind, ID: wire.CallID(user, key), User: user, Conn: by, Server: g.id, Transport: wire.TransportHTTP,
		Seq: 1, Name: f.Name, Data: string(f.Data), Trace: wire.NewTrace(),
	})
	if err != nil {
		return nil, err
	}
	return g.awaitPosted(ctx, p, user, key, known)
}

func (g *Gateway) addPosted(ctx context.Context, c *wire.Call) (store.PostedCall, error) {
	ctx, cancel := context.WithTimeout(ctx, live.RedisTimeout)
	defer cancel()
	known, err := g.store.PostCall(ctx, c)
	switch {
	case err != nil:
		return known, err
	case known.Full:
		g.metrics.callsRefused.WithLabelValues(callWaiting).Inc()
		return known, errCallsWait
	case known.Waits:
		g.metrics.calls.Inc()
	}
	return known, nil
}

// awaitPosted waits for the answer, by a worker's word or by what is kept.
func (g *Gateway) awaitPosted(ctx context.Context, p *hearer, user, key string, known store.PostedCall) (any, error) {
	look := time.NewTicker(postedLook)
	defer look.Stop()
	for {
		switch {
		case known.Answered:
			return callReply{key, json.RawMessage(known.Answer)}, nil
		case !known.Waits:
			return nil, errCallFailed
		case g.draining.Load():
			return nil, &wire.FrameError{Code: wire.CodeUnavailable, Message: "this gateway restarts; the call goes on: send it again with the same id"}
		}
		select {
		case <-ctx.Done():
			g.metrics.callsRefused.WithLabelValues(callLate).Inc()
			return nil, errCallLate
		case o := <-p.heard:
			switch {
			case o.What == wire.OrderFail && o.Text == wire.CodeUnavailable:
				return nil, errCallFailed
			case o.What == wire.OrderFail:
				return nil, &wire.FrameError{Code: o.Text, Message: notAnswered}
			}
			known = store.PostedCall{Answered: true, Answer: o.Text}
		case <-look.C:
			if now, err := g.store.PostedCall(ctx, user, key); err == nil { // else Redis is away, or the time is over
				known = now
			}
		}
	}
}
