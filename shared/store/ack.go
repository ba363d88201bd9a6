package store

import (
	"context"
	"fmt"
	"slices"

	"github.com/redis/go-redis/v9"

	"sluice/shared/wire"
)

// AppendAcks appends acks to the streams of their targets' partitions, in one
// pipeline, and returns an error for each: ErrNotStream where the key holds something
// else, or a stream that takes no more. A repeat is a second entry that says the same.
//
// No stream grows much beyond keep entries, whoever does not read it: lost counts the
// oldest ones that had to go. 0 keeps all.
func (s *Store) AppendAcks(ctx context.Context, acks []wire.Ack, keep int) (errs []error, lost int64) {
	pipe := s.rdb.Pipeline()
	added := make([]*redis.StringCmd, len(acks))
	var partitions []int
	for i := range acks {
		p := s.keys.partition(acks[i].To)
		added[i] = pipe.XAdd(ctx, &redis.XAddArgs{Stream: s.keys.acks(p), Values: acks[i].Fields()})
		if !slices.Contains(partitions, p) {
			partitions = append(partitions, p)
		}
	}
	var trimmed []*redis.IntCmd
	if keep > 0 {
		for _, p := range partitions {
			trimmed = append(trimmed, pipe.XTrimMaxLenApprox(ctx, s.keys.acks(p), int64(keep), 0))
		}
	}
	_, _ = exec(ctx, pipe)
	errs = make([]error, len(acks))
	for i, c := range added {
		switch err := c.Err(); {
		case badKey("", err) != nil:
			errs[i] = fmt.Errorf("cannot append an ack of %s: %w", acks[i].To, ErrNotStream)
		case err != nil:
			errs[i] = fmt.Errorf("cannot append an ack of %s: %w", acks[i].To, err)
		}
	}
	for _, c := range trimmed {
		lost += c.Val()
	}
	return errs, lost
}

// TrimAcks removes from acks streams what every group has acknowledged, and returns
// the partitions in which some group is behind.
func (s *Store) TrimAcks(ctx context.Context, partitions []int) (behind []int, err error) {
	calls := make([]call, len(partitions))
	for i, p := range partitions {
		calls[i] = call{[]string{s.keys.acks(p)}, []any{anyWorker}}
	}
	cmds, err := runAll(ctx, s.rdb, trimAcks, calls, isWrongType)
	if err != nil {
		return nil, fmt.Errorf("cannot trim acks: %w", err)
	}
	for i, cmd := range cmds {
		if left, _ := cmd.Int64(); left > 1 {
			behind = append(behind, partitions[i])
		}
	}
	return behind, nil
}
