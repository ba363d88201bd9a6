package admit

import (
	"context"
	"errors"

	"sluice/gateway/sessions"
	"sluice/shared/store"
	"sluice/shared/wire"
)

// Sessions are the sessions, and who is kept out: that is asked for when a connection's session is written. A kick is
// kept before its worker reads the sessions, so either it is seen here, or the worker sees the session. Who cannot be
// asked about, since Redis does not answer, is not let in, as nobody is whose session cannot be written.
type Sessions struct {
	*sessions.Sessions
	Store *store.Store
}

// Wait is that of the sessions. A *KeptOut says that the user is not let in.
func (a Sessions) Wait(ctx context.Context, target, conn string) error {
	err := a.Sessions.Wait(ctx, target, conn)
	var bad *store.BadKey
	if !wire.IsUser(target) || err != nil && !errors.As(err, &bad) {
		return err
	}
	reason, barred, failed := a.Store.Barred(ctx, target[len(wire.UserTarget("")):])
	switch {
	case failed != nil:
		return failed
	case barred:
		return &KeptOut{reason}
	}
	return err
}

// KeptOut is why a user is not let in.
type KeptOut struct{ Reason string }

func (k *KeptOut) Error() string { return "kept out by a kick: " + k.Reason }

// Refusal is how it is told.
func (k *KeptOut) Refusal() *Refusal {
	return &Refusal{"kicked", wire.CloseForbidden, KickText(k.Reason)}
}

// KickText is what those are told who are kicked.
func KickText(reason string) string {
	if reason == "" {
		return "this connection was ended"
	}
	return reason
}
