package gateway

import (
	"context"
	"fmt"

	"sluice/gateway/history"
	"sluice/gateway/live"
	"sluice/shared/store"
	"sluice/shared/wire"
)

// postAcks is POST /v1/acks. A request has no connection on which anything was sent, so an ack is good if its event is, or was, in
// the history of a target that the user may subscribe to. One that is not refuses all. They are in the acks streams when it is answered.
func (g *Gateway) postAcks(ctx context.Context, in *incoming) (any, error) {
	acks, wrong := wire.ParseAcks(in.body)
	if wrong != nil {
		g.metrics.acksRefused.Inc()
		return nil, wrong
	}
	g.metrics.acks.Add(float64(len(acks)))
	if err := g.charge(in, cost{frames: float64(len(acks)), bytes: float64(len(in.body))}); err != nil {
		return nil, err
	}
	for i := range acks {
		if !in.id.CanSubscribe(acks[i].To) {
			g.metrics.acksRefused.Inc()
			return nil, forbidden(acks[i].To + ": this token does not allow to subscribe to it")
		}
		acks[i].User = in.id.User
	}
	ctx, cancel := context.WithTimeout(ctx, live.RedisTimeout)
	defer cancel()
	if err := g.checkAcks(ctx, in.id.User, acks); err != nil {
		return nil, err
	}
	return struct {
		Acks int `json:"acks"`
	}{len(acks)}, g.writeAcks(ctx, acks)
}

// checkAcks refuses acks of what no history has had.
func (g *Gateway) checkAcks(ctx context.Context, user string, acks []wire.Ack) error {
	readings := make([]*history.Reading, len(acks))
	for i := range acks {
		readings[i] = &history.Reading{Query: store.Query{Target: acks[i].To, After: wire.MaxID, Edges: true}}
	}
	expired := g.store.NowMs() - g.store.HistoryTTLMs()
	if err := g.history.Read(ctx, user, readings...); err != nil {
		return err
	}
	for i, r := range readings {
		id := acks[i].ID
		// Of a history that has expired nothing younger than its time to live can have been sent.
		if !r.Got.Newest.Less(id) || r.Got.Empty && id.Ms < uint64(max(0, expired)) {
			continue
		}
		g.metrics.acksRefused.Inc()
		return &wire.FrameError{Code: wire.CodeBadRequest, Message: fmt.Sprintf("%s: no event up to the id %v was sent", acks[i].To, id)}
	}
	return nil
}

// writeAcks appends acks to their streams; those of the position before everything say nothing.
func (g *Gateway) writeAcks(ctx context.Context, acks []wire.Ack) error {
	written := acks[:0]
	for _, a := range acks {
		if !a.ID.IsZero() {
			written = append(written, a)
		}
	}
	if len(written) == 0 {
		return nil
	}
	errs, lost := g.store.AppendAcks(ctx, written, g.cfg.AcksSize)
	g.metrics.ackDrops.WithLabelValues(ackDropUnread).Add(float64(lost))
	for _, err := range errs {
		if err != nil {
			return err // those that were taken may come again
		}
		g.metrics.acksWritten.Inc()
	}
	return nil
}
