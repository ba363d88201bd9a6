package worker

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/hibiken/asynq"

	"sluice/shared/store"
	"sluice/shared/wire"
)

const (
	slowEntries  = 256              // reports of a partition read at once
	slowClaimAge = 10 * time.Second // a report that nobody has finished by then is taken from who read it
	slowAtOnce   = 8                // reports that are followed at once
)

// slowRole keeps the time for clients that do not keep up. The gateway serves them from
// the history by itself, as soon as their socket has room; the worker asks how far it is,
// again and again in growing distances, and decides when it is over.
//
// A chain of tries is one task, unique for the connection and target (redeliver.go). What
// the gateways report begins, restarts and ends chains. Every part may be done twice or get
// lost: gateways report again (gateway/slow), and the answer to a question for a client
// that is not slow any more ends its chain.
var slowRole = role{name: "slow", reads: store.SlowReports, tasks: []*taskType{redeliver}, parts: slowParts}

func slowParts(w *Worker) ([]part, error) {
	s := &slowReports{w: w, slots: make(chan struct{}, slowAtOnce)}
	return groupLoops(w, w.store.NewSlowReader, func([]int) *groupLoop {
		return &groupLoop{
			follower: s, what: "reports about slow clients", count: slowEntries, claimAge: slowClaimAge,
			failures: w.metrics.slow.WithLabelValues("failed"),
			lost:     w.metrics.slow.WithLabelValues("trimmed"), // they are made again
		}
	})
}

// slowReports follows what gateways report.
type slowReports struct {
	w     *Worker
	slots chan struct{} // of the reports that are followed at once
}

func (s *slowReports) upkeep(context.Context) error { return nil }

// follow does what reports ask for. Of several about one chain the last one counts.
// Those that fail are claimed later: the others shall not wait for them.
func (s *slowReports) follow(ctx context.Context, entries []store.Entry) (done, _ []store.Entry, err error) {
	chains := make([]string, len(entries)) // of each entry, "" if it is no report
	last := make(map[string]*wire.SlowReport)
	for i, e := range entries {
		report, ok := wire.ParseSlowReport(e.Fields)
		if !ok {
			s.w.metrics.slow.WithLabelValues("malformed").Inc()
			continue
		}
		chains[i] = chainID(&report)
		last[chains[i]] = &report
	}
	var mu sync.Mutex
	failed := make(map[string]error)
	var group sync.WaitGroup
	for id, report := range last {
		s.slots <- struct{}{}
		group.Go(func() {
			defer func() { <-s.slots }()
			if err := s.do(ctx, report); err != nil {
				mu.Lock()
				failed[id] = err
				mu.Unlock()
			}
		})
	}
	group.Wait()
	for i, e := range entries {
		if one := failed[chains[i]]; one != nil {
			err = one
			continue
		}
		done = append(done, e)
	}
	return done, nil, err
}

func (s *slowReports) do(ctx context.Context, report *wire.SlowReport) error {
	s.w.metrics.slow.WithLabelValues(report.State).Inc()
	switch report.State {
	case wire.SlowLagging:
		return s.begin(ctx, report)
	case wire.SlowProgress:
		if err := s.end(ctx, report); err != nil {
			return err
		}
		return s.begin(ctx, report)
	}
	return s.end(ctx, report)
}

// begin starts a chain, unless one is alive.
func (s *slowReports) begin(ctx context.Context, report *wire.SlowReport) error {
	payload, err := json.Marshal(chain{
		Server: report.Server, Conn: report.Conn, User: report.User, To: report.To, After: report.After.String(), Since: s.w.store.NowMs(),
	})
	if err != nil {
		return fmt.Errorf("cannot make a redelivery: %w", err)
	}
	return s.w.tasks.begin(ctx, redeliver, chainID(report), payload,
		asynq.ProcessIn(backoff(0)), asynq.MaxRetry(s.w.slow.Attempts-1), asynq.Timeout(slowClaimAge))
}

func (s *slowReports) end(ctx context.Context, report *wire.SlowReport) error {
	return s.w.tasks.end(ctx, redeliver, chainID(report))
}
