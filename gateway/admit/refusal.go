package admit

import (
	"errors"
	"log/slog"

	"sluice/gateway/auth"
	"sluice/gateway/live"
	"sluice/shared/wire"
)

// Refusal is why a connection is not let in. Each door says it in its own way.
type Refusal struct {
	Reason string // counted by it
	Code   int    // a close code of the protocol
	Text   string // for the client
}

// Refusals that are always the same.
var (
	RefusedPage     = &Refusal{"origin", wire.CloseForbidden, "this page may not connect here"}
	RefusedLate     = &Refusal{"no_token", wire.CloseUnauthorized, "no token within 5 s"}
	RefusedLater    = &Refusal{"no_redis", wire.CloseOverloaded, live.TryAgain}
	RefusedStill    = &Refusal{"stood_still", wire.CloseOverloaded, live.ErrStoodStill.Message}
	RefusedNoBearer = &Refusal{"no_token", wire.CloseUnauthorized, "a token is needed: Authorization: Bearer"}
	RefusedFrame    = &Refusal{"no_token", wire.CloseUnauthorized, "the first frame must be connect, with a token"}
	RefusedLong     = &Refusal{"long_frames", wire.CloseOverloaded, "too many large frames connect wait for their token; put it first"}
	RefusedLarge    = &Refusal{"long_frames", wire.CloseTooLarge, "connect has at most 16 KiB here"}
	RefusedNone     = &Refusal{"no_token", wire.CloseUnauthorized, "a token is needed: Authorization: Bearer, ?token= or ?ticket="}

	RefusedGone        = &Refusal{"gone", wire.CloseOverloaded, live.TryAgain} // it hears nothing of that
	RefusedConnections = &Refusal{"user_connections", wire.CloseOverloaded, "this user has as many connections as it may have"}
	RefusedRate        = &Refusal{"user_rate", wire.CloseRateLimited, "this user asks for too much in too short a time"}
)

// FrameError is the refusal where it is told by an error and not by a close code.
func (r *Refusal) FrameError() *wire.FrameError {
	code := wire.CodeBadRequest
	if r.Reason == refusedByFunction {
		code = wire.CodeForbidden
	}
	switch r.Code {
	case wire.CloseUnauthorized, wire.CloseExpired:
		code = wire.CodeUnauthorized
	case wire.CloseForbidden:
		code = wire.CodeForbidden
	case wire.CloseOverloaded:
		code = wire.CodeUnavailable
	case wire.CloseRateLimited:
		code = wire.CodeRateLimited
	}
	return &wire.FrameError{Code: code, Message: r.Text}
}

// refusalOf is the refusal of an error of the Verifier.
func refusalOf(err error) *Refusal {
	code := wire.CloseUnauthorized
	switch {
	case errors.Is(err, auth.ErrExpired):
		code = wire.CloseExpired
	case errors.Is(err, auth.ErrLater):
		code = wire.CloseOverloaded
	}
	return &Refusal{auth.ReasonOf(err), code, err.Error()}
}

// Forbidden is the refusal of what a token does not allow.
func Forbidden(message string) error {
	return &wire.FrameError{Code: wire.CodeForbidden, Message: message}
}

// ForClients is what a client may know of an error; what it may not is logged, with where it happened.
func ForClients(log *slog.Logger, err error, where ...any) *wire.FrameError {
	var fe *wire.FrameError
	if !errors.As(err, &fe) {
		log.Warn("could not do what a client asked for; it gets the error `unavailable`", append(where, "err", err)...)
		fe = &wire.FrameError{Code: wire.CodeUnavailable, Message: live.TryAgain}
	}
	return fe
}

// Clip keeps what a client sent from coming back at length.
func Clip(s string) string {
	const limit = 400
	if len(s) > limit {
		return s[:limit]
	}
	return s
}
