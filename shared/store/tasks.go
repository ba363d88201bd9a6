package store

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"
)

// Tasks is where the task queues of an installation are. It is asynq's RedisConnOpt. This
// file is the only one that knows keys of asynq's own.
type Tasks struct {
	cfg   Config
	nodes *nodes
	until context.Context
}

// Tasks are the tasks of this installation.
func (s *Store) Tasks() Tasks { return Tasks{s.cfg, s.nodes, context.Background()} }

// Until are the same tasks for clients whose connections end with ctx.
func (t Tasks) Until(ctx context.Context) Tasks {
	t.until = ctx
	return t
}

// Queue is the full name of a queue. Two installations on one Redis have two. Braces would
// end the hash tag that asynq puts around it.
func (t Tasks) Queue(name string) string { return t.cfg.Prefix + name }

// MakeRedisClient makes a client with connections of its own, so that nothing else waits
// behind them.
func (t Tasks) MakeRedisClient() any {
	rdb, err := t.cfg.connect(t.nodes, 16, false)
	if err != nil {
		return err // no client; but the Store was opened with the same settings
	}
	rdb.AddHook(calm{})
	if cluster, ok := rdb.(*redis.ClusterClient); ok {
		cluster.OnNewNode(func(node *redis.Client) { node.AddHook(until{t.until}) })
	} else {
		rdb.AddHook(until{t.until})
	}
	return rdb
}

// AddQueue puts a queue on asynq's list. A client does that once, and would not notice
// when Redis has lost it.
func (s *Store) AddQueue(ctx context.Context, name string) error {
	if err := s.rdb.SAdd(ctx, "asynq:queues", s.Tasks().Queue(name)).Err(); err != nil {
		return fmt.Errorf("cannot put the task queue %s on the list: %w", name, err)
	}
	return nil
}

// TasksWait reports whether these queues have tasks that are being worked on, or will be.
func (s *Store) TasksWait(ctx context.Context, queues ...string) (bool, error) {
	pipe := s.rdb.Pipeline()
	counts := make([]*redis.IntCmd, len(queues))
	for i, queue := range queues {
		at := "asynq:{" + s.Tasks().Queue(queue) + "}:"
		counts[i] = pipe.Exists(ctx, at+"pending", at+"active", at+"scheduled", at+"retry")
	}
	cmds, err := exec(ctx, pipe)
	if err := firstFailure(cmds, err); err != nil {
		return false, fmt.Errorf("cannot read which tasks wait: %w", err)
	}
	return slices.ContainsFunc(counts, func(c *redis.IntCmd) bool { return c.Val() > 0 }), nil
}

// DropLostTask deletes a task of which Redis has lost a part: its message, or the place
// where it waits. asynq never works on one, and takes no other of its id. It reports
// whether it was so. The keys are asynq's own, as of v0.26 (internal/base).
func (s *Store) DropLostTask(ctx context.Context, queue, id string) (bool, error) {
	at := "asynq:{" + s.Tasks().Queue(queue) + "}:"
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

// until ends the connections of a node's client with a context: what waits for an answer
// fails then, and so does what comes after it. The client itself stays open: asynq takes
// the closed channel of a subscription for a message, and crashes.
type until struct{ ctx context.Context }

func (u until) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		if err := u.ctx.Err(); err != nil {
			return nil, err
		}
		conn, err := next(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return untilConn{conn, context.AfterFunc(u.ctx, func() { _ = conn.Close() })}, nil
	}
}

func (until) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }

func (until) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

// untilConn forgets the context when it is closed.
type untilConn struct {
	net.Conn
	forget func() bool
}

func (c untilConn) Close() error {
	c.forget()
	return c.Conn.Close()
}
