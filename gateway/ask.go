package gateway

import (
	"cmp"
	"context"
	"net/http"
	"net/netip"
	"time"

	"sluice/gateway/auth"
	"sluice/gateway/limits"
	"sluice/gateway/listen"
	"sluice/shared/wire"
)

// With SLUICE_AUTH=function a worker asks a function who a client is. So many are asked about at a time, and of one address;
// so many more wait for that.
const (
	asksAtOnce, asksAddress         = 256, 32
	waitingAsks, waitingAsksAddress = 1024, 128
)

const refusedByFunction = "function"

var (
	refusedAsks     = &refusal{"asks", wire.CloseOverloaded, "too many clients connect; try again"}
	refusedNoAnswer = &refusal{"no_answer", wire.CloseOverloaded, "nobody can say now who you are; try again"}
)

func newAsks() *limits.Semaphore {
	return limits.NewSemaphore(limits.Bounds{Size: asksAtOnce, KeySize: asksAddress, Waiting: waitingAsks, KeyWaiting: waitingAsksAddress})
}

// stranger is what is known of a client before it is known who it is.
type stranger struct {
	client                           netip.Addr
	query, origin, device, transport string
}

func strangerOf(r *http.Request, transport string) stranger {
	request := requestOf(r)
	return stranger{listen.Of(r).Client(r), request.query, r.Header.Get("Origin"), request.get("device"), transport}
}

// ask lets a function say who a client is. It is asked once.
func (g *Gateway) ask(ctx context.Context, token string, of stranger) (auth.Identity, *refusal) {
	if token == "" || len(token) > auth.MaxTokenBytes {
		return auth.Identity{}, refusalOf(&auth.Error{Reason: auth.ReasonTooLong})
	}
	if !g.calls.Connects() {
		return auth.Identity{}, refusedNoAnswer
	}
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(g.cfg.ConnectTimeout, defaultConnectTimeout))
	defer cancel()
	address := listen.Share(of.client)
	if g.asks.Acquire(ctx, address, 1) != nil {
		return auth.Identity{}, refusedAsks
	}
	defer g.asks.Release(address, 1)
	heard, by, leave := g.calls.Hear()
	defer leave()
	deadline, _ := ctx.Deadline()
	err := g.store.AskConnect(ctx, &wire.Connect{
		Server: g.id, Ask: by, Until: uint64(g.store.NowMs() + time.Until(deadline).Milliseconds()), Token: token,
		Query: of.query, Origin: of.origin, Device: of.device, Transport: of.transport, Address: of.client.String(),
	})
	if err != nil {
		g.log.Debug("cannot ask who a client is; it is told to try again", "err", err)
		return auth.Identity{}, refusedLater
	}
	select {
	case o := <-heard:
		return g.granted(&o)
	case <-ctx.Done():
		return auth.Identity{}, refusedNoAnswer
	}
}

// granted reads the answer.
func (g *Gateway) granted(o *wire.Order) (auth.Identity, *refusal) {
	switch o.What {
	case wire.OrderGrant:
		id, err := g.verifier.Grant([]byte(o.Text), g.now())
		switch reason := auth.ReasonOf(err); reason {
		case "":
			return id, nil
		case auth.ReasonExpired:
			return id, refusalOf(err)
		default:
			g.log.Warn("a function's answer to connect is none: user is a user's id, claims as in a token's claim sluice, exp Unix seconds", "id", o.ID, "why", reason)
		}
	case wire.OrderClose:
		return auth.Identity{}, &refusal{refusedByFunction, closeCode(o.Number), kickText(o.Text)}
	}
	return auth.Identity{}, refusedNoAnswer
}

// closeCode is that with which a function closes.
func closeCode(wanted uint64) int {
	if wanted < 4000 || wanted > 4999 {
		return wire.CloseForbidden
	}
	return int(wanted)
}

// connectByAsking is connect where a function has to be asked: without the socket's reader, which others need. What the client
// sends meanwhile stays in the kernel.
func (c *conn) connectByAsking(frame []byte) {
	c.sock.After(0, nil)
	c.sock.Hold()
	c.Go(func() {
		c.connectAs(frame)
		if !c.opened {
			c.sock.Release() // it is refused; else who opens it does that
		}
	})
}
