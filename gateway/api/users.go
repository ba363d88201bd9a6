package api

import (
	"context"
	"strconv"
	"strings"
	"time"

	"sluice/gateway/admit"
	"sluice/gateway/live"
	"sluice/shared/store"
	"sluice/shared/wire"
)

// connection is one of those that GET /v1/users/{id} lists.
type connection struct {
	Conn      string    `json:"conn"`
	Device    string    `json:"device,omitempty"`
	Gateway   string    `json:"gateway"`
	Transport string    `json:"transport"`
	Since     time.Time `json:"since"`
}

func newConnection(c store.Connection) connection {
	since, rest, _ := strings.Cut(c.About, " ")
	transport, device, _ := strings.Cut(rest, " ")
	ms, _ := strconv.ParseInt(since, 10, 64)
	return connection{c.ID, device, c.Gateway, transport, time.UnixMilli(ms).UTC()}
}

// listUser is GET /v1/users/{id}.
func (h *API) listUser(ctx context.Context, in *incoming) (any, error) {
	user, id := in.PathValue("id"), in.id
	if user != id.User && !id.CanManage(user) {
		return nil, admit.Forbidden("this token does not allow to list the connections of this user")
	}
	ctx, cancel := context.WithTimeout(ctx, live.RedisTimeout)
	defer cancel()
	all, err := h.o.Store.Connections(ctx, user)
	if err != nil {
		return nil, err
	}
	list := make([]connection, len(all))
	for i, c := range all {
		list[i] = newConnection(c)
	}
	return struct {
		User        string       `json:"user"`
		Online      bool         `json:"online"`
		Connections []connection `json:"connections"`
	}{user, len(list) > 0, list}, nil
}

// endUser is DELETE /v1/users/{id}/connections: it asks for a kick, as any service may by an entry of the intake, and
// does not wait for it.
func (h *API) endUser(ctx context.Context, in *incoming) (any, error) {
	user, id, q := in.PathValue("id"), in.id, in.URL.Query()
	k := wire.Kick{User: user, Device: q.Get("device"), Conn: q.Get("conn"), Reason: q.Get("reason")}
	manages := id.CanManage(user)
	if user != id.User && !manages {
		return nil, admit.Forbidden("this token does not allow to end the connections of this user")
	}
	if q.Has("for") {
		var err error
		if k.For, err = parseFor(q.Get("for")); err != nil {
			return nil, &wire.FrameError{Code: wire.CodeBadRequest, Message: "for is a duration such as 1h, or a number of seconds"}
		}
		if !manages { // else a stolen token could lock its user out
			return nil, admit.Forbidden("this token does not allow to keep this user out")
		}
	}
	if wrong := k.Check(); wrong != "" {
		return nil, &wire.FrameError{Code: wire.CodeBadRequest, Message: wrong}
	}
	ctx, cancel := context.WithTimeout(ctx, live.RedisTimeout)
	defer cancel()
	if err := h.o.Store.Publish(ctx, []store.Publication{{To: k.Target(), Fields: k.Fields()}})[0]; err != nil {
		return nil, err
	}
	return map[string]string{"user": user}, nil
}

// parseFor reads a duration, in seconds if it says no unit.
func parseFor(text string) (time.Duration, error) {
	if seconds, err := strconv.ParseUint(text, 10, 32); err == nil {
		return time.Duration(seconds) * time.Second, nil
	}
	return time.ParseDuration(text)
}
