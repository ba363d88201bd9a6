package store

import (
	"context"
	"fmt"

	"github.com/redis/go-redis/v9"

	"sluice/shared/wire"
)

// slowKept bounds each stream of reports about slow clients, in entries. What falls off
// is reported again by its gateway.
const slowKept = 4096

// ReportSlow adds reports about slow clients, in one pipeline. Repeatable: a report that
// stands there twice does no harm.
func (s *Store) ReportSlow(ctx context.Context, reports []wire.SlowReport) error {
	pipe := s.rdb.Pipeline()
	for i := range reports {
		pipe.XAdd(ctx, &redis.XAddArgs{
			Stream: s.keys.slow(s.keys.partition(reports[i].To)), MaxLen: slowKept, Approx: true, Values: reports[i].Fields(),
		})
	}
	cmds, err := exec(ctx, pipe)
	if err := firstFailure(cmds, err, isWrongType, isNotAbove); err != nil { // who reads it says so
		return fmt.Errorf("cannot report slow clients: %w", err)
	}
	return nil
}
