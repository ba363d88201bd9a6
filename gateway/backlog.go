package gateway

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"sluice/gateway/live"
	"sluice/shared/store"
)

// backlogEvery is how often the backlog and Redis's memory are read.
const backlogEvery = time.Second

// backlog is what waits for workers, in entries. Gateways tell it, since whoever
// scales workers must know it also when there is none.
type backlog struct {
	Total   int64 `json:"total"`
	Lag     int64 `json:"lag"`     // not yet read
	Pending int64 `json:"pending"` // read, not yet acknowledged
	Intake  int64 `json:"intake"`  // of Total, still in the intake
	Calls   int64 `json:"calls"`   // of Total, for functions, those that are to be tried again later included
	Bytes   int64 `json:"bytes"`   // of all streams, about
	// Partitions are the totals of the partitions, by number.
	Partitions []int64 `json:"partitions"`

	callBytes int64 // of Bytes, of calls
}

func (g *Gateway) readBacklog(ctx context.Context) (backlog, error) {
	all, err := g.store.Backlogs(ctx)
	if err != nil {
		return backlog{}, err
	}
	calls, err := g.store.CallBacklogs(ctx)
	if err != nil {
		return backlog{}, err
	}
	all = append(all, calls...)
	sum := backlog{Partitions: make([]int64, g.cfg.Store.Partitions)}
	for _, b := range all {
		sum.Lag += b.Lag
		sum.Pending += b.Pending
		sum.Bytes += b.Bytes
		switch {
		case b.Partition == store.Intake:
			sum.Intake = b.Lag + b.Pending
		case b.Partition < len(sum.Partitions):
			sum.Partitions[b.Partition] = b.Lag + b.Pending
		default:
			sum.Calls += b.Lag + b.Pending
			sum.callBytes += b.Bytes
		}
	}
	sum.Total = sum.Lag + sum.Pending
	return sum, nil
}

// Backlog answers with the backlog as JSON; for the admin address.
func (g *Gateway) Backlog(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), live.RedisTimeout)
	defer cancel()
	b, err := g.readBacklog(ctx)
	if err != nil {
		g.log.Warn("cannot read the backlog", "err", err)
		http.Error(w, `{"error":"Redis does not answer"}`, http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(b)
}

// watchBacklog keeps the metrics, and whether clients may publish, until ctx ends.
func (g *Gateway) watchBacklog(ctx context.Context) error {
	tick := time.NewTicker(backlogEvery)
	defer tick.Stop()
	for {
		if b, err := g.readBacklog(ctx); err == nil {
			g.metrics.backlog.Set(float64(b.Total))
			g.metrics.backlogBytes.Set(float64(b.Bytes))
			g.headroom.waits(&b)
		}
		g.headroom.look(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}
