package api

import (
	"context"

	"sluice/shared/wire"
)

// postCall is POST /v1/calls. Repeated with the same id it is the same call, and has the same answer.
func (h *API) postCall(ctx context.Context, in *incoming) (any, error) {
	key, err := idempotencyKey(in.Header.Values("Idempotency-Key"))
	if err != nil {
		return nil, err
	}
	f, wrong := wire.ParseCallBody(in.body, key)
	if wrong != nil {
		return nil, wrong
	}
	if err := h.charge(in, cost{bytes: float64(len(in.body))}); err != nil {
		return nil, err
	}
	return h.o.Calls.Post(ctx, in.id, f)
}
