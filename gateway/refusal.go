package gateway

import (
	"errors"

	"sluice/gateway/auth"
	"sluice/shared/wire"
)

// refusal is why a connection is not let in. Each door says it in its own way.
type refusal struct {
	reason string // counted by it
	code   int    // a close code of the protocol
	text   string // for the client
}

var (
	refusedPage  = &refusal{"origin", wire.CloseForbidden, "this page may not connect here"}
	refusedLate  = &refusal{"no_token", wire.CloseUnauthorized, "no token within 5 s"}
	refusedFrame = &refusal{"no_token", wire.CloseUnauthorized, "the first frame must be connect, with a token"}
)

// identify says who a token belongs to, or why it is refused.
func (g *Gateway) identify(token string) (auth.Identity, *refusal) {
	id, err := g.verifier.Verify(token, g.now())
	switch {
	case err == nil:
		return id, nil
	case errors.Is(err, auth.ErrExpired):
		return id, &refusal{auth.ReasonOf(err), wire.CloseExpired, err.Error()}
	}
	return id, &refusal{auth.ReasonOf(err), wire.CloseUnauthorized, err.Error()}
}

// refused counts a refusal.
func (g *Gateway) refused(r *refusal) {
	g.metrics.refused.WithLabelValues(r.reason).Inc()
	g.log.Debug("refused a connection", "reason", r.reason, "code", r.code)
}
