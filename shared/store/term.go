package store

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"sluice/shared/wire"
)

// groupPrefix begins the names of the workers' consumer groups on ingress streams.
const groupPrefix = "workers-"

// Term is what a takeover gave.
type Term struct {
	Partition int
	Taken     bool
	Owner     string  // who holds the lease, if not taken
	Epoch     uint64  // number of this term
	Seen      wire.ID // entries up to here may have been worked on by earlier owners
	Err       error   // a *BadKey: nobody can take it
	Done      wire.ID // entries up to here are acknowledged: the term begins behind them
}

// TakeOver takes the leases of the partitions that are free or the worker's own
// and moves their terms to the consumer group of generation. One pipeline; each
// partition is atomic by itself and repeatable: a repeat only makes one more term. An
// epoch is above all that Redis and this process know of, and not below Redis's time in
// ms: a failover may have lost the last ones, but gateways have seen them.
func (s *Store) TakeOver(ctx context.Context, worker, generation string, lease time.Duration, partitions []int) ([]Term, error) {
	calls := make([]call, len(partitions))
	for i, p := range partitions {
		calls[i] = call{
			[]string{s.keys.lease(p), s.keys.epoch(p), s.keys.events(p)},
			[]any{worker, lease.Milliseconds(), groupPrefix + generation, groupPrefix, s.NowMs(), s.epochs.highest(p)},
		}
	}
	cmds, err := runAll(ctx, s.rdb, takeover, calls, isWrongType)
	if err != nil {
		return nil, fmt.Errorf("cannot take partitions over: %w", err)
	}
	out := make([]Term, len(partitions))
	for i, cmd := range cmds {
		r := Term{Partition: partitions[i]}
		if r.Err = badKey("a partition", cmd.Err()); r.Err != nil {
			out[i] = r
			continue
		}
		res, err := cmd.Slice()
		if err != nil || len(res) != 3 {
			return nil, fmt.Errorf("takeover of partition %d answered %v: %w", r.Partition, res, err)
		}
		epoch, _ := res[0].(int64)
		text, _ := res[1].(string)
		if epoch == 0 {
			r.Owner = text
		} else {
			r.Taken, r.Epoch = true, uint64(epoch)
			s.epochs.saw(r.Partition, r.Epoch)
			done, _ := res[2].(string)
			r.Seen, _ = parseRedisID(text)
			r.Done, _ = parseRedisID(done)
		}
		out[i] = r
	}
	return out, nil
}

// epochs are the highest ones that this process was given.
type epochs struct {
	mu   sync.Mutex
	seen map[int]uint64 // by partition
}

func (e *epochs) highest(p int) uint64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.seen[p]
}

func (e *epochs) saw(p int, epoch uint64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.seen == nil {
		e.seen = make(map[int]uint64)
	}
	e.seen[p] = max(e.seen[p], epoch)
}

// Free reports which of the partitions the worker can take: those without an
// owner, and those whose lease is still its own.
func (s *Store) Free(ctx context.Context, worker string, partitions []int) ([]int, error) {
	pipe := s.rdb.Pipeline()
	owners := make([]*redis.StringCmd, len(partitions))
	for i, p := range partitions {
		owners[i] = pipe.Get(ctx, s.keys.lease(p))
	}
	cmds, err := exec(ctx, pipe)
	if err := firstFailure(cmds, err, isWrongType); err != nil {
		return nil, fmt.Errorf("cannot read leases: %w", err)
	}
	var free []int
	for i, o := range owners { // of another type: TakeOver says so
		if errors.Is(o.Err(), redis.Nil) || isWrongType(o.Err()) || o.Val() == worker {
			free = append(free, partitions[i])
		}
	}
	return free, nil
}

// Renew renews the worker's leases and returns those that it no longer has. One that is another's by then lives longer
// by this, once: its owner has it longer, or is replaced later.
func (s *Store) Renew(ctx context.Context, worker string, lease time.Duration, partitions []int) (lost []int, err error) {
	pipe := s.rdb.Pipeline()
	owners := make([]*redis.StringCmd, len(partitions))
	for i, p := range partitions {
		owners[i] = pipe.GetEx(ctx, s.keys.lease(p), lease)
	}
	cmds, err := exec(ctx, pipe)
	if err := firstFailure(cmds, err, isWrongType); err != nil {
		return nil, fmt.Errorf("cannot renew leases: %w", err)
	}
	for i, o := range owners {
		if o.Val() != worker {
			lost = append(lost, partitions[i])
		}
	}
	return lost, nil
}

// CheckTerm returns ErrFenced if the term over a partition, or the intake, is over.
func (s *Store) CheckTerm(ctx context.Context, partition int, epoch uint64) error {
	now, err := s.rdb.Get(ctx, s.keys.epoch(partition)).Result()
	switch {
	case err != nil && !errors.Is(err, redis.Nil):
		return fmt.Errorf("cannot check whether the partition is still owned: %w", err)
	case now != strconv.FormatUint(epoch, 10):
		return ErrFenced
	}
	return nil
}

// Release gives leases up that are still the worker's own, so that others need not
// wait for them to expire.
func (s *Store) Release(ctx context.Context, worker string, partitions []int) error {
	calls := make([]call, len(partitions))
	for i, p := range partitions {
		calls[i] = call{[]string{s.keys.lease(p)}, []any{worker}}
	}
	if _, err := runAll(ctx, s.rdb, release, calls, isWrongType); err != nil {
		return fmt.Errorf("cannot release leases: %w", err)
	}
	return nil
}

// parseRedisID reads an id as Redis writes it, with "0-0" for the zero id.
func parseRedisID(s string) (wire.ID, error) {
	if s == "0-0" {
		return wire.ID{}, nil
	}
	return wire.ParseID(s)
}
