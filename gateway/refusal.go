package gateway

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/netip"

	"sluice/gateway/auth"
	"sluice/gateway/listen"
	"sluice/gateway/live"
	"sluice/shared/wire"
)

// refusal is why a connection is not let in. Each door says it in its own way.
type refusal struct {
	reason string // counted by it
	code   int    // a close code of the protocol
	text   string // for the client
}

var (
	refusedPage     = &refusal{"origin", wire.CloseForbidden, "this page may not connect here"}
	refusedLate     = &refusal{"no_token", wire.CloseUnauthorized, "no token within 5 s"}
	refusedLater    = &refusal{"no_redis", wire.CloseOverloaded, live.TryAgain}
	refusedStill    = &refusal{"stood_still", wire.CloseOverloaded, live.ErrStoodStill.Message}
	refusedNoBearer = &refusal{"no_token", wire.CloseUnauthorized, "a token is needed: Authorization: Bearer"}
	refusedFrame    = &refusal{"no_token", wire.CloseUnauthorized, "the first frame must be connect, with a token"}
	refusedLong     = &refusal{"long_frames", wire.CloseOverloaded, "too many large frames connect wait for their token; put it first"}
	refusedLarge    = &refusal{"long_frames", wire.CloseTooLarge, "connect has at most 16 KiB here"}
	refusedNone     = &refusal{"no_token", wire.CloseUnauthorized, "a token is needed: Authorization: Bearer, ?token= or ?ticket="}

	refusedGone        = &refusal{"gone", wire.CloseOverloaded, live.TryAgain} // it hears nothing of that
	refusedConnections = &refusal{"user_connections", wire.CloseOverloaded, "this user has as many connections as it may have"}
	refusedRate        = &refusal{"user_rate", wire.CloseRateLimited, "this user asks for too much in too short a time"}
)

// identify says who a token belongs to, or why it is refused. It may wait for the keys, or for a function.
func (g *Gateway) identify(ctx context.Context, token string, of stranger) (auth.Identity, *refusal) {
	if g.verifier.Asks() {
		return g.ask(ctx, token, of)
	}
	id, err := g.verifier.Await(ctx, token, g.now)
	if err != nil {
		return id, refusalOf(err)
	}
	return id, nil
}

// bearer says who a request's token or ticket belongs to, or why that is refused; found: it has one.
func (g *Gateway) bearer(r *http.Request, transport string) (id auth.Identity, found bool, refused *refusal) {
	if token, found := auth.FromRequest(r); found {
		id, refused = g.identify(g.ctx, token, strangerOf(r, transport))
		return id, true, refused
	}
	if ticket, found := auth.TicketOf(r); found {
		id, refused = g.redeem(g.ctx, ticket)
		return id, true, refused
	}
	return id, false, nil
}

// refusalOf is the refusal of an error of the Verifier.
func refusalOf(err error) *refusal {
	code := wire.CloseUnauthorized
	switch {
	case errors.Is(err, auth.ErrExpired):
		code = wire.CloseExpired
	case errors.Is(err, auth.ErrLater):
		code = wire.CloseOverloaded
	}
	return &refusal{auth.ReasonOf(err), code, err.Error()}
}

// frameError is the refusal where it is told by an error and not by a close code.
func (r *refusal) frameError() *wire.FrameError {
	code := wire.CodeBadRequest
	if r.reason == refusedByFunction {
		code = wire.CodeForbidden
	}
	switch r.code {
	case wire.CloseUnauthorized, wire.CloseExpired:
		code = wire.CodeUnauthorized
	case wire.CloseForbidden:
		code = wire.CodeForbidden
	case wire.CloseOverloaded:
		code = wire.CodeUnavailable
	case wire.CloseRateLimited:
		code = wire.CodeRateLimited
	}
	return &wire.FrameError{Code: code, Message: r.text}
}

// refused counts the refusal of a request.
func (g *Gateway) refused(r *http.Request, why *refusal) {
	g.countRefusal(why.reason, why.code, listen.Of(r).Client(r))
}

// linesPerSecond bounds what the log says of clients that are refused: strangers must not
// fill it. All are counted.
const linesPerSecond = 1

// countRefusal counts a refusal. code is that of the close or of HTTP; 0: there was none.
func (g *Gateway) countRefusal(reason string, code int, client netip.Addr) {
	g.metrics.refused.WithLabelValues(reason).Inc()
	level := slog.LevelDebug
	if g.lines.Take(g.users.Now(), linesPerSecond, 1) == 0 {
		level = slog.LevelInfo
	}
	g.log.Log(context.Background(), level, "refused a connection", "reason", reason, "code", code, "client", client)
}
