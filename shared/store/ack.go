package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"

	"sluice/shared/wire"
)

const (
	// ackGroup is the workers' group on acks streams. Order does not count, so any
	// worker reads any of them.
	ackGroup = "workers"
	// ackConsumer is one name for all workers: what is abandoned is known by its age, and
	// names of workers that are gone would pile up.
	ackConsumer = "worker"
	// claimBatch bounds the entries that are claimed from a partition at once.
	claimBatch = 100
)

// AppendAcks appends acks to the streams of their targets' partitions, in one
// pipeline, and returns an error for each: ErrNotStream where the key holds something
// else. A repeat is a second entry that says the same.
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
	_, _ = pipe.Exec(ctx) // each command has its own error
	errs = make([]error, len(acks))
	for i, c := range added {
		switch err := c.Err(); {
		case isWrongType(err):
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

// AckReader reads acks streams for the workers' group, over connections of its own: it
// blocks. One goroutine uses it.
type AckReader struct {
	s          *Store
	rdb        redis.UniversalClient
	partitions []int
}

// NewAckReader makes a reader of some partitions; on a Cluster of one. Close ends it.
func (s *Store) NewAckReader(partitions []int) (*AckReader, error) {
	rdb, err := s.cfg.connect(1, false)
	if err != nil {
		return nil, err
	}
	return &AckReader{s: s, rdb: rdb, partitions: partitions}, nil
}

// Close ends the reader's connections.
func (r *AckReader) Close() error { return r.rdb.Close() }

// Read waits for up to count new entries of each partition. Groups that are not there
// are made, from the begin of their streams.
func (r *AckReader) Read(ctx context.Context, count int, block time.Duration) ([]Entry, error) {
	streams := make([]string, 0, 2*len(r.partitions))
	for _, p := range r.partitions {
		streams = append(streams, r.s.keys.acks(p))
	}
	for range r.partitions {
		streams = append(streams, ">")
	}
	if r.s.maxBlock > 0 { // else the link has no time limit
		block = min(block, r.s.maxBlock)
	}
	got, err := r.rdb.XReadGroup(ctx, &redis.XReadGroupArgs{
		Group: ackGroup, Consumer: ackConsumer, Streams: streams, Count: int64(count), Block: max(block, time.Millisecond),
	}).Result()
	switch {
	case errors.Is(err, redis.Nil):
		return nil, nil
	case isNoGroup(err):
		return nil, r.makeGroups(ctx)
	case err != nil:
		return nil, r.failed("cannot read acks", err)
	}
	var entries []Entry
	for _, stream := range got {
		for _, p := range r.partitions {
			if r.s.keys.acks(p) == stream.Stream {
				if entries, err = ackEntries(entries, p, stream.Messages); err != nil {
					return nil, err
				}
			}
		}
	}
	return entries, nil
}

// Claim takes entries that were read at least idle ago and are not done: whoever read
// them has died. lost counts those that were trimmed before anybody was done with them.
// more: there may be more.
func (r *AckReader) Claim(ctx context.Context, idle time.Duration) (entries []Entry, lost int, more bool, err error) {
	pipe := r.rdb.Pipeline()
	claims := make([]*redis.XAutoClaimWithDeletedCmd, len(r.partitions))
	for i, p := range r.partitions {
		claims[i] = pipe.XAutoClaimWithDeleted(ctx, &redis.XAutoClaimArgs{
			Stream: r.s.keys.acks(p), Group: ackGroup, Consumer: ackConsumer, MinIdle: idle, Start: "0-0", Count: claimBatch,
		})
	}
	cmds, err := pipe.Exec(ctx)
	if err := firstFailure(cmds, err, isNoGroup); err != nil {
		return nil, 0, false, r.failed("cannot claim acks", err)
	}
	for i, c := range claims {
		messages, next, deleted := c.Val()
		if entries, err = ackEntries(entries, r.partitions[i], messages); err != nil {
			return nil, 0, false, err
		}
		lost += len(deleted)
		more = more || (len(messages) > 0 && next != "0-0")
	}
	return entries, lost, more, nil
}

// Done acknowledges entries to the group.
func (r *AckReader) Done(ctx context.Context, entries []Entry) error {
	byPartition := make(map[int][]string)
	for _, e := range entries {
		byPartition[e.Partition] = append(byPartition[e.Partition], e.ID.String())
	}
	pipe := r.rdb.Pipeline()
	for p, ids := range byPartition {
		pipe.XAck(ctx, r.s.keys.acks(p), ackGroup, ids...)
	}
	cmds, err := pipe.Exec(ctx)
	if err := firstFailure(cmds, err); err != nil {
		return r.failed("cannot acknowledge acks", err)
	}
	return nil
}

func (r *AckReader) makeGroups(ctx context.Context) error {
	pipe := r.rdb.Pipeline()
	for _, p := range r.partitions {
		pipe.XGroupCreateMkStream(ctx, r.s.keys.acks(p), ackGroup, "0")
	}
	cmds, err := pipe.Exec(ctx)
	isThere := func(err error) bool { return redis.HasErrorPrefix(err, "BUSYGROUP") }
	if err := firstFailure(cmds, err, isThere); err != nil {
		return r.failed("cannot create the group of the acks", err)
	}
	return nil
}

func (r *AckReader) failed(what string, err error) error {
	if cluster, ok := r.rdb.(*redis.ClusterClient); ok {
		cluster.ReloadState(context.Background()) // in the background: where is the partition now?
	}
	return fmt.Errorf("%s: %w", what, err)
}

func ackEntries(into []Entry, partition int, messages []redis.XMessage) ([]Entry, error) {
	for _, m := range messages {
		id, err := parseRedisID(m.ID)
		if err != nil {
			return nil, fmt.Errorf("the acks of partition %d gave the id %q: %w", partition, m.ID, err)
		}
		into = append(into, Entry{Partition: partition, ID: id, Fields: m.Values})
	}
	return into, nil
}

// TrimAcks removes from acks streams what every group has acknowledged, and returns
// the partitions in which some group is behind.
func (s *Store) TrimAcks(ctx context.Context, partitions []int) (behind []int, err error) {
	calls := make([]call, len(partitions))
	for i, p := range partitions {
		calls[i] = call{[]string{s.keys.acks(p)}, []any{ackGroup}}
	}
	cmds, err := runAll(ctx, s.rdb, trimAcks, calls)
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
