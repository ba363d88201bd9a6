// Package admit says who is let in, whatever the door: whose a token or a ticket is, how much one address may ask for before
// that is known, who is kept out by a kick, and why somebody is refused.
//
//	admit.go    whose a token or a ticket is
//	ask.go      a function is asked who a client is
//	address.go  how much may come from one address
//	kicked.go   who is kept out
//	kicks.go    kicks whose message may have been lost
//	refusal.go  why somebody is not let in
//	cost.go     what frames and requests cost
package admit

import (
	"context"
	"log/slog"
	"net/http"
	"net/netip"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"sluice/gateway/auth"
	"sluice/gateway/calls"
	"sluice/gateway/limits"
	"sluice/gateway/listen"
	"sluice/gateway/live"
	"sluice/shared/store"
)

// Options are what an Admission is made of.
type Options struct {
	Server             string // this gateway's name
	Store              *store.Store
	Verifier           *auth.Verifier
	Calls              *calls.Calls           // by which a function is asked
	ConnectTimeout     time.Duration          // for which its answer is waited for
	HandshakeRate      limits.Rate            // of one address
	AddressConnections int                    // of one address; 0: any number
	Gone               func()                 // a connection of a known client has ended
	Refused            *prometheus.CounterVec // connections and requests, by reason
	Log                *slog.Logger
}

// Admission says who is let in.
type Admission struct {
	o         Options
	addresses *limits.Parties
	lines     limits.Bucket     // of the log, about clients that are refused
	asks      *limits.Semaphore // by address: functions that are asked who a client is
}

// New makes an Admission.
func New(o Options) *Admission {
	return &Admission{o: o, addresses: limits.NewParties(), asks: newAsks()}
}

// now is the time by which tokens expire: Redis's, so that all gateways agree.
func (a *Admission) now() time.Time { return time.UnixMilli(a.o.Store.NowMs()) }

// Identify says who a token belongs to, or why it is refused. It may wait for the keys, or for a function.
func (a *Admission) Identify(ctx context.Context, token string, of Stranger) (auth.Identity, *Refusal) {
	if a.o.Verifier.Asks() {
		return a.ask(ctx, token, of)
	}
	id, err := a.o.Verifier.Await(ctx, token, a.now)
	if err != nil {
		return id, refusalOf(err)
	}
	return id, nil
}

// Bearer says who a request's token or ticket belongs to, or why that is refused; found: it has one.
func (a *Admission) Bearer(ctx context.Context, r *http.Request, transport string) (id auth.Identity, found bool, refused *Refusal) {
	if token, found := auth.FromRequest(r); found {
		id, refused = a.Identify(ctx, token, StrangerOf(r, transport))
		return id, true, refused
	}
	if ticket, found := auth.TicketOf(r); found {
		id, refused = a.redeem(ctx, ticket)
		return id, true, refused
	}
	return id, false, nil
}

// ticketChars are those of rand.Text.
const ticketChars = 26

// redeem says who a ticket belongs to, and takes it, or why it is refused.
func (a *Admission) redeem(ctx context.Context, ticket string) (auth.Identity, *Refusal) {
	if len(ticket) != ticketChars {
		return auth.Identity{}, refusalOf(&auth.Error{Reason: auth.ReasonTicket})
	}
	ctx, cancel := context.WithTimeout(ctx, live.RedisTimeout)
	defer cancel()
	kept, err := a.o.Store.TakeTicket(ctx, ticket)
	if err != nil {
		a.o.Log.Warn("could not look for a ticket; the client is told to try again", "err", err)
		return auth.Identity{}, RefusedLater
	}
	id, err := a.o.Verifier.Redeem(kept, a.now())
	if err != nil {
		return id, refusalOf(err)
	}
	return id, nil
}

// CountRequest counts the refusal of a request.
func (a *Admission) CountRequest(r *http.Request, why *Refusal) {
	a.Count(why.Reason, why.Code, listen.Of(r).Client(r))
}

// linesPerSecond bounds what the log says of clients that are refused: strangers must not
// fill it. All are counted.
const linesPerSecond = 1

// Count counts a refusal. code is that of the close or of HTTP; 0: there was none.
func (a *Admission) Count(reason string, code int, client netip.Addr) {
	a.o.Refused.WithLabelValues(reason).Inc()
	level := slog.LevelDebug
	if a.Line() {
		level = slog.LevelInfo
	}
	a.o.Log.Log(context.Background(), level, "refused a connection", "reason", reason, "code", code, "client", client)
}

// Line reports whether the log may have one more line now about clients that are refused, or closed.
func (a *Admission) Line() bool { return a.lines.Take(a.addresses.Now(), linesPerSecond, 1) == 0 }
