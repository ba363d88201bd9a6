package api

import (
	"context"
	"fmt"

	"sluice/gateway/admit"
	"sluice/gateway/history"
	"sluice/gateway/live"
	"sluice/shared/store"
	"sluice/shared/wire"
)

// postAcks is POST /v1/acks. A request has no connection on which anything was sent, so an ack is good if its event is, or was, in
// the history of a target that the user may subscribe to. One that is not refuses all. They are in the acks streams when it is answered.
func (h *API) postAcks(ctx context.Context, in *incoming) (any, error) {
	acks, wrong := wire.ParseAcks(in.body)
	if wrong != nil {
		h.o.Metrics.Acks.Refused.Inc()
		return nil, wrong
	}
	h.o.Metrics.Acks.Acks.Add(float64(len(acks)))
	if err := h.charge(in, cost{frames: float64(len(acks)), bytes: float64(len(in.body))}); err != nil {
		return nil, err
	}
	for i := range acks {
		if !in.id.CanSubscribe(acks[i].To) {
			h.o.Metrics.Acks.Refused.Inc()
			return nil, admit.Forbidden(acks[i].To + ": this token does not allow to subscribe to it")
		}
		acks[i].User = in.id.User
	}
	ctx, cancel := context.WithTimeout(ctx, live.RedisTimeout)
	defer cancel()
	if err := h.checkAcks(ctx, in.id.User, acks); err != nil {
		return nil, err
	}
	return struct {
		Acks int `json:"acks"`
	}{len(acks)}, h.o.Acks.Post(ctx, acks)
}

// checkAcks refuses acks of what no history has had.
func (h *API) checkAcks(ctx context.Context, user string, acks []wire.Ack) error {
	readings := make([]*history.Reading, len(acks))
	for i := range acks {
		readings[i] = &history.Reading{Query: store.Query{Target: acks[i].To, After: wire.MaxID, Edges: true}}
	}
	expired := h.o.Store.NowMs() - h.o.Store.HistoryTTLMs()
	if err := h.o.History.Read(ctx, user, readings...); err != nil {
		return err
	}
	for i, r := range readings {
		id := acks[i].ID
		// Of a history that has expired nothing younger than its time to live can have been sent.
		if !r.Got.Newest.Less(id) || r.Got.Empty && id.Ms < uint64(max(0, expired)) {
			continue
		}
		h.o.Metrics.Acks.Refused.Inc()
		return &wire.FrameError{Code: wire.CodeBadRequest, Message: fmt.Sprintf("%s: no event up to the id %v was sent", acks[i].To, id)}
	}
	return nil
}

// postUnsubscribe is POST /v1/unsubscribe: the frame `unsubscribe` of a device that has an event stream, on which it can say nothing.
func (h *API) postUnsubscribe(ctx context.Context, in *incoming) (any, error) {
	device, to, wrong := wire.ParseUnsubscribe(in.body)
	if wrong != nil {
		return nil, wrong
	}
	if live.HasAlways(in.id.User, to) {
		return nil, live.ErrHasAlways
	}
	ctx, cancel := context.WithTimeout(ctx, live.RedisTimeout)
	defer cancel()
	newest := &history.Reading{Query: store.Query{Target: to, After: wire.MaxID, Edges: true}} // what may have been sent
	if err := h.o.History.Read(ctx, in.id.User, newest); err != nil {
		return nil, err
	}
	if err := h.o.Acks.EndCursor(ctx, in.id.User, device, to, newest.Got.Newest); err != nil {
		return nil, err
	}
	return map[string]string{"type": "unsubscribed", "to": to}, nil
}
