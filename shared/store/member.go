package store

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
)

// Kind is a kind of process: the name of the sorted set of its living members.
type Kind string

// The kinds.
const (
	Servers Kind = "servers"
	Workers Kind = "workers" // those that share the partitions
	Callers Kind = "callers" // workers that share the calls of the partitions
	Helpers Kind = "helpers" // workers that own none
)

// Announce says that a process lives for ttl from now on, forgets those whose
// time is over, and tells who lives. fresh means that it was not known: at its
// start, after it was silent for too long, or because Redis lost its data.
func (s *Store) Announce(ctx context.Context, kind Kind, id string, ttl time.Duration) (live []string, fresh bool, err error) {
	if err := s.SyncClock(ctx); err != nil {
		return nil, false, err
	}
	now := s.NowMs()
	key := s.keys.members(kind)
	pipe := s.rdb.Pipeline()
	pipe.ZRemRangeByScore(ctx, key, "-inf", strconv.FormatInt(now, 10))
	added := pipe.ZAdd(ctx, key, redis.Z{Score: float64(now + ttl.Milliseconds()), Member: id})
	members := pipe.ZRange(ctx, key, 0, -1)
	lost := s.writeVersion(ctx, pipe)
	cmds, err := exec(ctx, pipe)
	if err := firstFailure(cmds, err); err != nil {
		return nil, false, fmt.Errorf("cannot announce %s %s: %w", kind, id, err)
	}
	if lost.Val() { // the version, and so maybe all
		if _, err := s.makeMeta(ctx); err != nil {
			return nil, false, fmt.Errorf("cannot write %s again: %w", s.keys.meta(), err)
		}
	}
	return members.Val(), added.Val() > 0, nil
}

// Live are the living members of a kind.
func (s *Store) Live(ctx context.Context, kind Kind) ([]string, error) {
	live := redis.NewStringSliceCmd(ctx, "zrange", s.keys.members(kind), s.NowMs(), "+inf", "byscore")
	if err := s.rdb.Process(ctx, live); err != nil {
		return nil, fmt.Errorf("cannot read the list of living %s: %w", kind, err)
	}
	return live.Val(), nil
}

// Leave takes a process that ends off the list of the living. It takes a second at
// most.
func (s *Store) Leave(kind Kind, id string) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if err := s.rdb.ZRem(ctx, s.keys.members(kind), id).Err(); err != nil {
		return fmt.Errorf("cannot remove %s %s from the list: %w", kind, id, err)
	}
	return nil
}
