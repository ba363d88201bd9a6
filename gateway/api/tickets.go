package api

import (
	"context"
	"crypto/rand"
	"sync"
	"time"

	"sluice/gateway/live"
	"sluice/shared/wire"
)

const (
	ticketLife = 30 * time.Second
	// ticketsOfUser is how many tickets a user gets from a gateway within ticketLife: each takes up to 8 KiB in Redis,
	// and as much as a function may say of a client where one does.
	ticketsOfUser = 64
)

// tickets counts those that were given lately. They are kept in Redis, and work on any gateway.
type tickets struct {
	mu    sync.Mutex
	since time.Time // the begin of the count
	given map[string]int
}

// take counts one more ticket of a user; false: it is one too many.
func (t *tickets) take(user string, now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.given == nil || now.Sub(t.since) >= ticketLife {
		t.since, t.given = now, make(map[string]int)
	}
	t.given[user]++
	return t.given[user] <= ticketsOfUser
}

// giveTicket is POST /v1/tickets: a ticket stands for the claims and the end of the token that was shown.
func (h *API) giveTicket(ctx context.Context, in *incoming) (any, error) {
	if !h.tickets.take(in.id.User, time.Now()) {
		return nil, &wire.FrameError{Code: wire.CodeRateLimited, Message: "too many tickets; use those that you have, or try again later"}
	}
	ctx, cancel := context.WithTimeout(ctx, live.RedisTimeout)
	defer cancel()
	text := rand.Text()
	expires := time.UnixMilli(h.o.Store.NowMs()).Add(ticketLife).UTC().Truncate(time.Second)
	if err := h.o.Store.KeepTicket(ctx, text, in.id.Ticket(), ticketLife); err != nil {
		return nil, err
	}
	return struct {
		Ticket  string    `json:"ticket"`
		Expires time.Time `json:"expires"`
	}{text, expires}, nil
}
