package store

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	// anyWorker is the workers' group on streams whose order does not count, acks and
	// slow: any worker reads any of them.
	anyWorker = "workers"
	// anyConsumer is one name for all workers: what is abandoned is known by its age, and
	// names of workers that are gone would pile up.
	anyConsumer = "worker"
	// claimBatch bounds the entries that are claimed from a partition at once.
	claimBatch = 100
)

// GroupReader reads the streams of some partitions for the group of all workers, over
// connections of its own: it blocks. Each entry goes to one of those who read. One
// goroutine uses it.
type GroupReader struct {
	s          *Store
	rdb        redis.UniversalClient
	what       string // is read, for errors
	key        func(p int) string
	partitions []int

	apart   map[int]struct{} // their keys hold no stream; they are not read
	checkAt time.Time
}

// checkApart is how often streams that are set apart are looked at again.
const checkApart = 2 * time.Second

// NewAckReader makes a reader of the acks of some partitions; on a Cluster of one. Close
// ends it.
func (s *Store) NewAckReader(partitions []int) (*GroupReader, error) {
	return s.newGroupReader("acks", s.keys.acks, partitions)
}

// NewSlowReader makes a reader of the reports about slow clients of some partitions; on a
// Cluster of one. Close ends it.
func (s *Store) NewSlowReader(partitions []int) (*GroupReader, error) {
	return s.newGroupReader("reports about slow clients", s.keys.slow, partitions)
}

func (s *Store) newGroupReader(what string, key func(int) string, partitions []int) (*GroupReader, error) {
	rdb, err := s.cfg.connect(s.nodes, 1, false)
	if err != nil {
		return nil, err
	}
	return &GroupReader{s: s, rdb: rdb, what: what, key: key, partitions: partitions}, nil
}

// Close ends the reader's connections.
func (r *GroupReader) Close() error { return r.rdb.Close() }

// Apart are the partitions whose key holds no stream. They are not read until it is
// deleted; that is looked at from time to time.
func (r *GroupReader) Apart() []int { return slices.Sorted(maps.Keys(r.apart)) }

// setApart looks which keys hold no stream.
func (r *GroupReader) setApart(ctx context.Context) error {
	pipe := r.rdb.Pipeline()
	types := make([]*redis.StatusCmd, len(r.partitions))
	for i, p := range r.partitions {
		types[i] = pipe.Type(ctx, r.key(p))
	}
	cmds, err := exec(ctx, pipe)
	if err := firstFailure(cmds, err); err != nil {
		return r.failed("look for the streams of", err)
	}
	r.apart = make(map[int]struct{})
	for i, p := range r.partitions {
		if holds := types[i].Val(); holds != "stream" && holds != "none" {
			r.apart[p] = struct{}{}
		}
	}
	r.checkAt = time.Now().Add(checkApart)
	return nil
}

// reading are the partitions that are not apart.
func (r *GroupReader) reading() []int {
	if len(r.apart) == 0 {
		return r.partitions
	}
	return slices.DeleteFunc(slices.Clone(r.partitions), func(p int) bool { _, bad := r.apart[p]; return bad })
}

// Read waits for up to count new entries of each partition. Groups that are not there
// are made, from the begin of their streams.
func (r *GroupReader) Read(ctx context.Context, count int, block time.Duration) ([]Entry, error) {
	if len(r.apart) > 0 && time.Now().After(r.checkAt) {
		if err := r.setApart(ctx); err != nil {
			return nil, err
		}
	}
	partitions := r.reading()
	if r.s.maxBlock > 0 { // else the link has no time limit
		block = min(block, r.s.maxBlock)
		// The client would wait ten seconds longer than the block for a node that is lost.
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, block+2*r.s.maxBlock)
		defer cancel()
	}
	block = max(block, time.Millisecond)
	if len(partitions) == 0 {
		time.Sleep(block)
		return nil, nil
	}
	streams := make([]string, 0, 2*len(partitions))
	for _, p := range partitions {
		streams = append(streams, r.key(p))
	}
	for range partitions {
		streams = append(streams, ">")
	}
	got, err := r.rdb.XReadGroup(ctx, &redis.XReadGroupArgs{
		Group: anyWorker, Consumer: anyConsumer, Streams: streams, Count: int64(count), Block: block,
	}).Result()
	switch {
	case errors.Is(err, redis.Nil):
		return nil, nil
	case isNoGroup(err):
		return nil, r.makeGroups(ctx)
	case isWrongType(err):
		return nil, r.setApart(ctx)
	case err != nil:
		return nil, r.failed("read", err)
	}
	var entries []Entry
	for _, stream := range got {
		for _, p := range r.partitions {
			if r.key(p) == stream.Stream {
				if entries, err = r.entries(entries, p, stream.Messages); err != nil {
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
func (r *GroupReader) Claim(ctx context.Context, idle time.Duration) (entries []Entry, lost int, more bool, err error) {
	pipe := r.rdb.Pipeline()
	claims := make([]*redis.XAutoClaimWithDeletedCmd, len(r.partitions))
	for i, p := range r.partitions {
		claims[i] = pipe.XAutoClaimWithDeleted(ctx, &redis.XAutoClaimArgs{
			Stream: r.key(p), Group: anyWorker, Consumer: anyConsumer, MinIdle: idle, Start: "0-0", Count: claimBatch,
		})
	}
	cmds, err := exec(ctx, pipe)
	if err := firstFailure(cmds, err, isNoGroup, isWrongType); err != nil {
		return nil, 0, false, r.failed("claim", err)
	}
	for i, c := range claims {
		messages, next, deleted := c.Val()
		if entries, err = r.entries(entries, r.partitions[i], messages); err != nil {
			return nil, 0, false, err
		}
		lost += len(deleted)
		more = more || (len(messages) > 0 && next != "0-0")
	}
	return entries, lost, more, nil
}

// Done acknowledges entries to the group.
func (r *GroupReader) Done(ctx context.Context, entries []Entry) error {
	if len(entries) == 0 {
		return nil
	}
	byPartition := make(map[int][]string)
	for _, e := range entries {
		byPartition[e.Partition] = append(byPartition[e.Partition], e.ID.String())
	}
	pipe := r.rdb.Pipeline()
	for p, ids := range byPartition {
		pipe.XAck(ctx, r.key(p), anyWorker, ids...)
	}
	cmds, err := exec(ctx, pipe)
	if err := firstFailure(cmds, err, isWrongType); err != nil {
		return r.failed("acknowledge", err)
	}
	return nil
}

func (r *GroupReader) makeGroups(ctx context.Context) error {
	pipe := r.rdb.Pipeline()
	for _, p := range r.partitions {
		pipe.XGroupCreateMkStream(ctx, r.key(p), anyWorker, "0")
	}
	cmds, err := exec(ctx, pipe)
	if err := firstFailure(cmds, err, isBusyGroup, isWrongType); err != nil {
		return r.failed("create the group of the", err)
	}
	return nil
}

func (r *GroupReader) failed(did string, err error) error {
	return fmt.Errorf("cannot %s %s: %w", did, r.what, err)
}

func (r *GroupReader) entries(into []Entry, partition int, messages []redis.XMessage) ([]Entry, error) {
	for _, m := range messages {
		id, err := parseRedisID(m.ID)
		if err != nil {
			return nil, fmt.Errorf("partition %d gave %s with the id %q: %w", partition, r.what, m.ID, err)
		}
		into = append(into, Entry{Partition: partition, ID: id, Fields: m.Values})
	}
	return into, nil
}
