package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"sluice/shared/wire"
)

const (
	// slowKept bounds each stream of reports about slow clients, in entries. What falls
	// off is reported again by its gateway.
	slowKept = 4096
	// anyWorker is the group that reads them, and its one consumer: order does not matter,
	// and nobody has to clean up behind workers that are gone.
	anyWorker = "workers"
)

// ReportSlow adds reports about slow clients, in one pipeline. Repeatable: a report that
// stands there twice does no harm.
func (s *Store) ReportSlow(ctx context.Context, reports []wire.SlowReport) error {
	pipe := s.rdb.Pipeline()
	for i := range reports {
		pipe.XAdd(ctx, &redis.XAddArgs{
			Stream: s.keys.slow(s.keys.partition(reports[i].To)), MaxLen: slowKept, Approx: true, Values: reports[i].Fields(),
		})
	}
	cmds, err := pipe.Exec(ctx)
	if err := firstFailure(cmds, err); err != nil {
		return fmt.Errorf("cannot report slow clients: %w", err)
	}
	return nil
}

// SlowEntry is a report as it lies in a stream.
type SlowEntry struct {
	Partition int
	ID        string
	Report    wire.SlowReport
	OK        bool // it is a report; else somebody else wrote it
}

// SlowReader reads the reports about slow clients, of all partitions. Each entry goes to
// one of the workers that read. One goroutine uses it.
type SlowReader struct {
	s   *Store
	rdb redis.UniversalClient // of its own: reads wait
}

// NewSlowReader makes a reader.
func (s *Store) NewSlowReader() (*SlowReader, error) {
	rdb, err := s.cfg.connect(2, false)
	if err != nil {
		return nil, err
	}
	return &SlowReader{s, rdb}, nil
}

// Close ends its connections.
func (r *SlowReader) Close() error { return r.rdb.Close() }

// Read waits for reports, for at most block. On a Cluster, where a command cannot name
// the streams of several partitions, it only looks: the caller pauses.
func (r *SlowReader) Read(ctx context.Context, count int, block time.Duration) ([]SlowEntry, error) {
	entries, err := r.read(ctx, count, block)
	if !isNoGroup(err) {
		return entries, err
	}
	if err := r.makeGroups(ctx); err != nil {
		return nil, err
	}
	return r.read(ctx, count, block)
}

func (r *SlowReader) read(ctx context.Context, count int, block time.Duration) (entries []SlowEntry, err error) {
	pipe := r.rdb.Pipeline()
	var sent []*redis.XStreamSliceCmd
	var names, marks []string
	for p := range r.s.cfg.Partitions {
		names, marks = append(names, r.s.keys.slow(p)), append(marks, ">")
		if r.s.PerPartition() {
			sent = append(sent, pipe.XReadGroup(ctx, &redis.XReadGroupArgs{
				Group: anyWorker, Consumer: anyWorker, Streams: append(names, marks...), Count: int64(count), Block: -1,
			}))
			names, marks = nil, nil
		}
	}
	if len(names) > 0 {
		if r.s.maxBlock > 0 {
			block = min(block, r.s.maxBlock)
		}
		sent = append(sent, pipe.XReadGroup(ctx, &redis.XReadGroupArgs{
			Group: anyWorker, Consumer: anyWorker, Streams: append(names, marks...), Count: int64(count), Block: block,
		}))
	}
	cmds, err := pipe.Exec(ctx)
	if err := firstFailure(cmds, err); err != nil {
		return nil, fmt.Errorf("cannot read about slow clients: %w", err)
	}
	for _, cmd := range sent {
		for _, stream := range cmd.Val() {
			for p := range r.s.cfg.Partitions {
				if r.s.keys.slow(p) == stream.Stream {
					entries = slowEntries(entries, p, stream.Messages)
				}
			}
		}
	}
	return entries, nil
}

// Claim takes up to count entries of each partition that somebody read and did not
// finish within idle.
func (r *SlowReader) Claim(ctx context.Context, count int, idle time.Duration) (entries []SlowEntry, err error) {
	pipe := r.rdb.Pipeline()
	claims := make([]*redis.XAutoClaimCmd, r.s.cfg.Partitions)
	for p := range claims {
		claims[p] = pipe.XAutoClaim(ctx, &redis.XAutoClaimArgs{
			Stream: r.s.keys.slow(p), Group: anyWorker, Consumer: anyWorker, MinIdle: idle, Start: "0-0", Count: int64(count),
		})
	}
	cmds, err := pipe.Exec(ctx)
	if err := firstFailure(cmds, err, isNoGroup, isNoKey); err != nil { // the next Read makes it
		return nil, fmt.Errorf("cannot claim reports about slow clients: %w", err)
	}
	for p, cmd := range claims {
		if cmd.Err() == nil {
			messages, _ := cmd.Val()
			entries = slowEntries(entries, p, messages)
		}
	}
	return entries, nil
}

func slowEntries(to []SlowEntry, p int, messages []redis.XMessage) []SlowEntry {
	for _, m := range messages {
		e := SlowEntry{Partition: p, ID: m.ID}
		e.Report, e.OK = wire.ParseSlowReport(m.Values)
		to = append(to, e)
	}
	return to
}

// Done acknowledges entries.
func (r *SlowReader) Done(ctx context.Context, entries []SlowEntry) error {
	if len(entries) == 0 {
		return nil
	}
	pipe := r.rdb.Pipeline()
	for _, e := range entries {
		pipe.XAck(ctx, r.s.keys.slow(e.Partition), anyWorker, e.ID)
	}
	cmds, err := pipe.Exec(ctx)
	if err := firstFailure(cmds, err); err != nil {
		return fmt.Errorf("cannot acknowledge reports about slow clients: %w", err)
	}
	return nil
}

func (r *SlowReader) makeGroups(ctx context.Context) error {
	pipe := r.rdb.Pipeline()
	for p := range r.s.cfg.Partitions {
		pipe.XGroupCreateMkStream(ctx, r.s.keys.slow(p), anyWorker, "0")
	}
	cmds, err := pipe.Exec(ctx)
	if err := firstFailure(cmds, err, isBusyGroup); err != nil {
		return fmt.Errorf("cannot make the groups that read about slow clients: %w", err)
	}
	return nil
}

// Tasks is where the task queue of an installation is. It is asynq's RedisConnOpt.
type Tasks struct {
	cfg Config
}

// Tasks are the tasks of this installation.
func (s *Store) Tasks() Tasks { return Tasks{s.cfg} }

// Queue is the queue's name. Two installations on one Redis have two. Braces would end
// the hash tag that asynq puts around it.
func (t Tasks) Queue() string { return t.cfg.Prefix + "slow" }

// MakeRedisClient makes a client with connections of its own, so that nothing else waits
// behind them.
func (t Tasks) MakeRedisClient() any {
	rdb, err := t.cfg.connect(16, false)
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
		return fmt.Errorf("cannot put the task queue on the list: %w", err)
	}
	return nil
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
