package store

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"sluice/shared/wire"
)

const (
	// kicksKept is for how long a partition keeps its kicks, at most mostKicks of them: for gateways that may have lost
	// the message.
	kicksKept = time.Hour
	mostKicks = 1000
)

// keepKicks adds the commands that keep the kicks among appends, and their users out. Repeatable: the same kick is kept
// once, and its end does not move.
func (s *Store) keepKicks(ctx context.Context, pipe redis.Pipeliner, appends []*Append) map[*Append]*redis.IntCmd {
	var kept map[*Append]*redis.IntCmd // most batches have none
	var partitions []int
	now := uint64(s.NowMs())
	for _, a := range appends {
		if a.Kick == nil {
			continue
		}
		if kept == nil {
			kept = make(map[*Append]*redis.IntCmd)
		}
		if !slices.Contains(partitions, a.Partition) {
			partitions = append(partitions, a.Partition)
		}
		kept[a] = pipe.ZAdd(ctx, s.keys.kicks(a.Partition), redis.Z{Score: float64(a.Kick.At), Member: wire.AppendKick(nil, a.Kick)})
		if a.Kick.For > 0 {
			s.keepOut(ctx, pipe, a.Kick, now)
		}
	}
	for _, p := range partitions {
		key := s.keys.kicks(p)
		pipe.ZRemRangeByScore(ctx, key, "-inf", strconv.FormatUint(now-uint64(kicksKept.Milliseconds()), 10))
		pipe.ZRemRangeByRank(ctx, key, 0, -mostKicks-1)
		pipe.PExpire(ctx, key, kicksKept)
	}
	return kept
}

// keepOut adds the command that keeps a user out from when it was asked for, however late that is done, unless something
// else was asked for later. Ids may be far in the future. The script goes in full, since what a server does not know in a
// transaction could not be made up for.
func (s *Store) keepOut(ctx context.Context, pipe redis.Pipeliner, k *wire.Kick, now uint64) {
	at := min(now, k.At)
	left := max(0, k.For-time.Duration(now-at)*time.Millisecond)
	bar.Eval(ctx, pipe, []string{s.keys.barred(k.User), s.keys.barredAt(k.User)}, at, left.Milliseconds(), k.Reason, kicksKept.Milliseconds())
}

// Kicks are those that partitions keep, in no order.
func (s *Store) Kicks(ctx context.Context, partitions []int) ([]*wire.Kick, error) {
	pipe := s.rdb.Pipeline()
	kept := make([]*redis.StringSliceCmd, len(partitions))
	for i, p := range partitions {
		kept[i] = pipe.ZRange(ctx, s.keys.kicks(p), 0, -1)
	}
	cmds, err := exec(ctx, pipe)
	if err := firstFailure(cmds, err, isWrongType); err != nil {
		return nil, fmt.Errorf("cannot read kicks: %w", err)
	}
	var all []*wire.Kick
	for _, of := range kept {
		for _, text := range of.Val() {
			if k, err := wire.ParseKick(text); err == nil {
				all = append(all, k)
			}
		}
	}
	return all, nil
}

// Barred says whether a kick keeps a user out, and the reason for the client. Ask after the session is written: a kick
// is kept before its worker looks who is there, so one of the two sees the other.
func (s *Store) Barred(ctx context.Context, user string) (reason string, barred bool, err error) {
	reason, err = s.rdb.Get(ctx, s.keys.barred(user)).Result()
	switch {
	case errors.Is(err, redis.Nil):
		return "", false, nil
	case err != nil:
		return "", false, fmt.Errorf("cannot ask whether user %s is kept out: %w", user, err)
	}
	return reason, true, nil
}

// Connection is one of a user.
type Connection struct {
	ID, Gateway string
	About       string // what its gateway said of it when it registered; "": it is not known
}

// Connections are those of a user whose sessions have not ended, by id.
func (s *Store) Connections(ctx context.Context, user string) ([]Connection, error) {
	target := wire.UserTarget(user)
	p := s.keys.partition(target)
	pipe := s.rdb.Pipeline()
	sessions := pipe.HGetAll(ctx, s.keys.session(p, target))
	about := pipe.HGetAll(ctx, s.keys.about(p, target))
	cmds, err := exec(ctx, pipe)
	if err := firstFailure(cmds, err); err != nil {
		return nil, fmt.Errorf("cannot read the sessions of user %s: %w", user, err)
	}
	var list []Connection
	now := s.NowMs()
	for _, id := range slices.Sorted(maps.Keys(sessions.Val())) {
		servers, _ := liveServers([]string{sessions.Val()[id]}, now, nil)
		if len(servers) > 0 {
			list = append(list, Connection{id, servers[0], about.Val()[id]})
		}
	}
	return list, nil
}
