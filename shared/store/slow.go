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

// Tasks is where the task queue of an installation is. It is asynq's RedisConnOpt.
type Tasks struct {
	cfg   Config
	nodes *nodes
}

// Tasks are the tasks of this installation.
func (s *Store) Tasks() Tasks { return Tasks{s.cfg, s.nodes} }

// Queue is the queue's name. Two installations on one Redis have two. Braces would end
// the hash tag that asynq puts around it.
func (t Tasks) Queue() string { return t.cfg.Prefix + "slow" }

// MakeRedisClient makes a client with connections of its own, so that nothing else waits
// behind them.
func (t Tasks) MakeRedisClient() any {
	rdb, err := t.cfg.connect(t.nodes, 16, false)
	if err != nil {
		return err // no client; but the Store was opened with the same settings
	}
	rdb.AddHook(calm{})
	return rdb
}

// AddQueue puts the queue on asynq's list. A client does that once, and would not notice
// when Redis has lost it.
func (s *Store) AddQueue(ctx context.Context) error {
	if err := s.rdb.SAdd(ctx, "asynq:queues", s.Tasks().Queue()).Err(); err != nil {
		return fmt.Errorf("cannot add the task queue to the list: %w", err)
	}
	return nil
}

// DropLostTask deletes a task of which Redis has lost a part: its message, or the place
// where it waits. asynq never works on one, and takes no other of its id. It reports
// whether it was so. The keys are asynq's own, as of v0.26 (internal/base).
func (s *Store) DropLostTask(ctx context.Context, id string) (bool, error) {
	at := "asynq:{" + s.Tasks().Queue() + "}:"
	sets, lists := []string{"scheduled", "retry", "archived", "lease"}, []string{"pending", "active"}
	pipe := s.rdb.TxPipeline()
	whole := pipe.HExists(ctx, at+"t:"+id, "msg")
	var scores []*redis.FloatCmd
	for _, set := range sets[:3] { // the lease is beside active
		scores = append(scores, pipe.ZScore(ctx, at+set, id))
	}
	var places []*redis.IntCmd
	for _, list := range lists {
		places = append(places, pipe.LPos(ctx, at+list, id, redis.LPosArgs{}))
	}
	cmds, err := exec(ctx, pipe)
	if err := firstFailure(cmds, err); err != nil {
		return false, fmt.Errorf("cannot look at task %s: %w", id, err)
	}
	waits := slices.ContainsFunc(scores, func(c *redis.FloatCmd) bool { return c.Err() == nil }) ||
		slices.ContainsFunc(places, func(c *redis.IntCmd) bool { return c.Err() == nil })
	if whole.Val() && waits {
		return false, nil
	}
	pipe = s.rdb.TxPipeline()
	pipe.Del(ctx, at+"t:"+id)
	for _, set := range sets {
		pipe.ZRem(ctx, at+set, id)
	}
	for _, list := range lists {
		pipe.LRem(ctx, at+list, 0, id)
	}
	cmds, err = exec(ctx, pipe)
	if err := firstFailure(cmds, err); err != nil {
		return false, fmt.Errorf("cannot delete task %s: %w", id, err)
	}
	return true, nil
}

// calm makes a command that fails take a while: asynq asks for the next task at once
// after a failure, and would do nothing else while Redis is away.
type calm struct{}

const calmFor = 200 * time.Millisecond

func (calm) DialHook(next redis.DialHook) redis.DialHook { return next }

func (calm) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		err := next(ctx, cmd)
		if err != nil && !errors.Is(err, redis.Nil) && !isNoScript(err) {
			select {
			case <-ctx.Done():
			case <-time.After(calmFor):
			}
		}
		return err
	}
}

func (calm) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}
