package admit

import (
	"context"
	"net/http"
	"net/netip"
	"time"

	"sluice/gateway/auth"
	"sluice/gateway/limits"
	"sluice/gateway/listen"
	"sluice/gateway/query"
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
	refusedAsks     = &Refusal{"asks", wire.CloseOverloaded, "too many clients connect; try again"}
	refusedNoAnswer = &Refusal{"no_answer", wire.CloseOverloaded, "nobody can say now who you are; try again"}
)

func newAsks() *limits.Semaphore {
	return limits.NewSemaphore(limits.Bounds{Size: asksAtOnce, KeySize: asksAddress, Waiting: waitingAsks, KeyWaiting: waitingAsksAddress})
}

// Stranger is what is known of a client before it is known who it is.
type Stranger struct {
	Client                           netip.Addr
	Query, Origin, Device, Transport string
}

// StrangerOf is what a request says.
func StrangerOf(r *http.Request, transport string) Stranger {
	device, _ := query.Get(r.URL.RawQuery, "device")
	return Stranger{listen.Of(r).Client(r), r.URL.RawQuery, r.Header.Get("Origin"), device, transport}
}

// ask lets a function say who a client is. It is asked once.
func (a *Admission) ask(ctx context.Context, token string, of Stranger) (auth.Identity, *Refusal) {
	if token == "" || len(token) > auth.MaxTokenBytes {
		return auth.Identity{}, refusalOf(&auth.Error{Reason: auth.ReasonTooLong})
	}
	if !a.o.Calls.Connects() {
		return auth.Identity{}, refusedNoAnswer
	}
	ctx, cancel := context.WithTimeout(ctx, a.o.ConnectTimeout)
	defer cancel()
	address := listen.Share(of.Client)
	if a.asks.Acquire(ctx, address, 1) != nil {
		return auth.Identity{}, refusedAsks
	}
	defer a.asks.Release(address, 1)
	heard, by, leave := a.o.Calls.Hear()
	defer leave()
	deadline, _ := ctx.Deadline()
	err := a.o.Store.AskConnect(ctx, &wire.Connect{
		Server: a.o.Server, Ask: by, Until: uint64(a.o.Store.NowMs() + time.Until(deadline).Milliseconds()), Token: token,
		Query: of.Query, Origin: of.Origin, Device: of.Device, Transport: of.Transport, Address: of.Client.String(),
	})
	if err != nil {
		a.o.Log.Debug("cannot ask who a client is; it is told to try again", "err", err)
		return auth.Identity{}, RefusedLater
	}
	select {
	case o := <-heard:
		return a.granted(&o)
	case <-ctx.Done():
		return auth.Identity{}, refusedNoAnswer
	}
}

// granted reads the answer.
func (a *Admission) granted(o *wire.Order) (auth.Identity, *Refusal) {
	switch o.What {
	case wire.OrderGrant:
		id, err := a.o.Verifier.Grant([]byte(o.Text), a.now())
		switch reason := auth.ReasonOf(err); reason {
		case "":
			return id, nil
		case auth.ReasonExpired:
			return id, refusalOf(err)
		default:
			a.o.Log.Warn("a function's answer to connect is none: user is a user's id, claims as in a token's claim sluice, exp Unix seconds", "id", o.ID, "why", reason)
		}
	case wire.OrderClose:
		return auth.Identity{}, &Refusal{refusedByFunction, CloseCode(o.Number), KickText(o.Text)}
	}
	return auth.Identity{}, refusedNoAnswer
}

// CloseCode is that with which a function closes.
func CloseCode(wanted uint64) int {
	if wanted < 4000 || wanted > 4999 {
		return wire.CloseForbidden
	}
	return int(wanted)
}
