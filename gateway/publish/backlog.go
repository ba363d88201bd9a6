package publish

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

func (p *Publisher) readBacklog(ctx context.Context) (backlog, error) {
	all, err := p.store.Backlogs(ctx)
	if err != nil {
		return backlog{}, err
	}
	calls, err := p.store.CallBacklogs(ctx)
	if err != nil {
		return backlog{}, err
	}
	all = append(all, calls...)
	sum := backlog{Partitions: make([]int64, p.store.Config().Partitions)}
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

// Backlog answers with the backlog as JSON.
func (p *Publisher) Backlog(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), live.RedisTimeout)
	defer cancel()
	b, err := p.readBacklog(ctx)
	if err != nil {
		p.log.Warn("cannot read the backlog", "err", err)
		http.Error(w, `{"error":"Redis does not answer"}`, http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(b)
}

// watch keeps the metrics, and whether clients may publish, until ctx ends.
func (p *Publisher) watch(ctx context.Context) error {
	tick := time.NewTicker(backlogEvery)
	defer tick.Stop()
	for {
		if b, err := p.readBacklog(ctx); err == nil {
			p.metrics.Backlog.Set(float64(b.Total))
			p.metrics.BacklogBytes.Set(float64(b.Bytes))
			p.headroom.waits(&b)
		}
		p.headroom.look(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}
