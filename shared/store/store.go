package store

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"sluice/shared/settings"
)

// schemaVersion is of the keys and their contents. 2: the hash tags of partitions are
// wire.Tags; before they were the numbers of the partitions.
const schemaVersion = "2"

// Store is one process's way to Redis. Its methods may be called by any number of
// goroutines.
type Store struct {
	cfg  Config
	keys keys
	rdb  redis.UniversalClient

	nodes *nodes // of a Cluster

	epochs epochs

	fit atomic.Pointer[fitness] // as Ready saw it last; nil: it has not looked

	maxBlock time.Duration // a blocking read must end well before the link counts as dead

	start  time.Time    // with a monotonic reading
	offset atomic.Int64 // Redis's Unix time in ms at start
}

// Open makes a Store. Nothing is sent to Redis yet: call Ready before use.
func Open(cfg Config) (*Store, error) {
	if err := settings.Check(&cfg); err != nil {
		return nil, err
	}
	u, err := cfg.options()
	if err != nil {
		return nil, err
	}
	known := &nodes{}
	rdb, err := cfg.connect(known, 0, false)
	if err != nil {
		return nil, err
	}
	s := &Store{
		cfg: cfg, keys: newKeys(cfg.Prefix, cfg.Partitions), rdb: rdb, nodes: known,
		maxBlock: u.ReadTimeout / 2, start: time.Now(),
	}
	s.offset.Store(s.start.UnixMilli())
	return s, nil
}

// Before lets f be called in the caller's goroutine before each command; for checks in tests, before the first command.
func (s *Store) Before(f func()) { s.rdb.AddHook(before(f)) }

type before func()

func (before) DialHook(next redis.DialHook) redis.DialHook { return next }

func (f before) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		f()
		return next(ctx, cmd)
	}
}

func (f before) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		f()
		return next(ctx, cmds)
	}
}

// Close ends all connections; commands under way fail.
func (s *Store) Close() error { return s.rdb.Close() }

// Config is what the Store was opened with.
func (s *Store) Config() Config { return s.cfg }

// Partition is the partition of a target.
func (s *Store) Partition(target string) int { return s.keys.partition(target) }

// ErrMeta says that this Redis holds an installation of another shape. It is of no
// use to try again.
var ErrMeta = errors.New("the settings do not match the installation in Redis")

// Ready asks Redis for its clock and checks that sluice:meta fits the
// configuration, writing it at the first start, and that Redis fits us (ErrUnfit).
func (s *Store) Ready(ctx context.Context) error {
	meta, err := s.rdb.HGetAll(ctx, s.keys.meta()).Result()
	if err == nil && len(meta) == 0 {
		meta, err = s.makeMeta(ctx)
	}
	if err != nil {
		return fmt.Errorf("cannot read %s: %w", s.keys.meta(), err)
	}
	if v := meta["version"]; v != schemaVersion {
		return fmt.Errorf("%w: %s has version %q and this program needs %q; run the version of Sluice that made it, or use another SLUICE_PREFIX",
			ErrMeta, s.keys.meta(), v, schemaVersion)
	}
	if p := meta["partitions"]; p != strconv.Itoa(s.cfg.Partitions) {
		return fmt.Errorf("%w: SLUICE_PARTITIONS=%d, but %s was made with %s partitions; set SLUICE_PARTITIONS=%s, or use another SLUICE_PREFIX",
			ErrMeta, s.cfg.Partitions, s.keys.meta(), p, p)
	}
	if err := s.fits(ctx); err != nil {
		return err
	}
	return s.SyncClock(ctx)
}

// makeMeta writes sluice:meta. Of several processes that start at once the first one's
// stands, whole; it returns what stands.
func (s *Store) makeMeta(ctx context.Context) (map[string]string, error) {
	pipe := s.rdb.TxPipeline()
	s.writeMeta(ctx, pipe)
	meta := pipe.HGetAll(ctx, s.keys.meta())
	cmds, err := exec(ctx, pipe)
	return meta.Val(), firstFailure(cmds, err)
}

// writeMeta writes what sluice:meta lacks.
func (s *Store) writeMeta(ctx context.Context, pipe redis.Pipeliner) {
	key := s.keys.meta()
	s.writeVersion(ctx, pipe)
	pipe.HSetNX(ctx, key, "partitions", s.cfg.Partitions)
	pipe.HSetNX(ctx, key, "tags", strings.Join(s.keys.tags, " ")) // for programs that do not compute them
}

// writeVersion writes the field that tells whether sluice:meta is there.
func (s *Store) writeVersion(ctx context.Context, pipe redis.Pipeliner) (lost *redis.BoolCmd) {
	return pipe.HSetNX(ctx, s.keys.meta(), "version", schemaVersion)
}

// Await calls Ready until Redis answers; processes may be started in any order.
// It gives up when ctx ends or nothing but a change of the configuration helps.
// failed is told of failures: of the first one, and then less and less often, at last twice a minute.
func (s *Store) Await(ctx context.Context, failed func(error)) error {
	var told time.Time
	quiet := 50 * time.Millisecond
	for wait := quiet; ; wait = min(2*wait, time.Second) {
		err := s.Ready(ctx)
		if err == nil || errors.Is(err, ErrMeta) || ctx.Err() != nil {
			return err
		}
		if now := time.Now(); now.Sub(told) >= quiet {
			failed(err)
			told, quiet = now, min(2*quiet, 30*time.Second)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
		}
	}
}

// SyncClock measures how far Redis's clock is from this process's.
func (s *Store) SyncClock(ctx context.Context) error {
	before := time.Since(s.start)
	t, err := s.rdb.Time(ctx).Result()
	if err != nil {
		return fmt.Errorf("cannot ask Redis for its time: %w", err)
	}
	middle := (before + time.Since(s.start)) / 2
	s.offset.Store(t.UnixMilli() - middle.Milliseconds())
	return nil
}

// NowMs is Redis's clock in Unix milliseconds, as far as known. Everything that
// expires is compared with it, so that a process with a wrong clock harms nobody.
func (s *Store) NowMs() int64 {
	return s.offset.Load() + time.Since(s.start).Milliseconds()
}

// Check reports whether Redis answers within a second, and is one that can be used, as Ready saw it last; for readiness. On a Cluster it is
// the node of sluice:meta that must, and not whichever: the answer shall not be another one
// each time while one node is lost.
func (s *Store) Check() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if err := s.rdb.HGet(ctx, s.keys.meta(), "version").Err(); err != nil && !errors.Is(err, redis.Nil) {
		return fmt.Errorf("no answer from Redis: %w", err)
	}
	if f := s.fit.Load(); f != nil {
		return f.err
	}
	return nil
}
