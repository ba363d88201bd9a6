package store

import (
	"context"
	"fmt"

	"github.com/redis/go-redis/v9"

	"sluice/shared/wire"
)

// Publication is an event to be appended to its partition.
type Publication struct {
	To     string
	Fields []string // names and values, "to" among them
}

// Publish appends events to their partitions' streams in one pipeline, in order,
// and returns an error for each. An error that is no reply (IsReply) leaves open
// whether the event was appended: only an idempotency key makes a repeat safe.
func (s *Store) Publish(ctx context.Context, pubs []Publication) []error {
	pipe := s.rdb.Pipeline()
	cmds := make([]*redis.StringCmd, len(pubs))
	n := 0
	for i := range pubs {
		n += 3 + len(pubs[i].Fields)
	}
	w := words{args: make([]any, 0, n), texts: make([]string, 0, n)}
	for i := range pubs {
		w.add("xadd")
		w.text(s.keys.events(s.keys.partition(pubs[i].To)))
		w.add("*")
		for _, f := range pubs[i].Fields {
			w.text(f)
		}
		cmds[i] = redis.NewStringCmd(ctx, w.end()...)
		_ = pipe.Process(ctx, cmds[i]) // exec says what failed
	}
	_, _ = exec(ctx, pipe)
	errs := make([]error, len(pubs))
	for i, c := range cmds {
		if err := c.Err(); err != nil {
			errs[i] = fmt.Errorf("cannot append to the stream of %s: %w", pubs[i].To, err)
		}
	}
	return errs
}

// Trim removes the entries of ingress streams up to and with the given ids. They
// must have been acknowledged: what is trimmed is gone.
func (s *Store) Trim(ctx context.Context, acked map[int]wire.ID) error {
	if len(acked) == 0 {
		return nil
	}
	calls := make([]call, 0, len(acked))
	for p, id := range acked {
		calls = append(calls, call{[]string{s.keys.events(p)}, []any{id.String(), id.Next().String()}})
	}
	if _, err := runAll(ctx, s.rdb, trim, calls, isWrongType); err != nil { // its lane sets it apart
		return fmt.Errorf("cannot trim ingress streams: %w", err)
	}
	return nil
}

// Backlog is how many entries of a stream wait for workers.
type Backlog struct {
	Partition int   // or Intake, or one of CallsOf
	Lag       int64 // not yet read
	Pending   int64 // read, not yet acknowledged
	Bytes     int64 // of the stream, what was acknowledged in the last second included; 0: Redis does not tell
}

// sampledNodes are the nodes of a stream, of up to 4 KiB or one entry, by whose size Redis
// estimates that of the stream.
const sampledNodes = 1000

// Backlogs asks for the intake and all partitions. Where there never was a worker,
// everything in the stream is lag.
func (s *Store) Backlogs(ctx context.Context) ([]Backlog, error) {
	return s.backlogs(ctx, Intake, s.cfg.Partitions)
}

// CallBacklogs asks for what waits for functions: the calls of all partitions.
func (s *Store) CallBacklogs(ctx context.Context) ([]Backlog, error) {
	return s.backlogs(ctx, s.CallsOf(0), s.CallsOf(s.cfg.Partitions))
}

// backlogs looks closer at those streams only that hold something: most hold nothing.
func (s *Store) backlogs(ctx context.Context, from, to int) ([]Backlog, error) {
	pipe := s.rdb.Pipeline()
	out := make([]Backlog, to-from)
	lengths := make([]*redis.IntCmd, len(out))
	for i := range out {
		out[i].Partition = from + i
		lengths[i] = pipe.XLen(ctx, s.keys.events(from+i))
	}
	cmds, err := exec(ctx, pipe)
	if err := firstFailure(cmds, err, isWrongType); err != nil {
		return nil, fmt.Errorf("cannot read the backlog: %w", err)
	}
	var some []*Backlog
	for i := range out {
		if out[i].Lag = lengths[i].Val(); out[i].Lag > 0 {
			some = append(some, &out[i])
		}
	}
	return out, s.measure(ctx, some)
}

// measure adds to backlogs, of which the length is known, what is pending, and their bytes.
func (s *Store) measure(ctx context.Context, some []*Backlog) error {
	if len(some) == 0 {
		return nil
	}
	pipe := s.rdb.Pipeline()
	groups, sizes := make([]*redis.XInfoGroupsCmd, len(some)), make([]*redis.IntCmd, len(some))
	for i, b := range some {
		groups[i] = pipe.XInfoGroups(ctx, s.keys.events(b.Partition))
	}
	for i, b := range some {
		sizes[i] = pipe.MemoryUsage(ctx, s.keys.events(b.Partition), sampledNodes)
	}
	cmds, err := exec(ctx, pipe)
	needed := cmds[:len(groups)] // the embedded Redis does not tell sizes, and an ACL may forbid it
	if err := firstFailure(needed, err, isNoKey, isWrongType); err != nil {
		return fmt.Errorf("cannot read the backlog: %w", err)
	}
	for i, b := range some {
		b.Bytes = max(0, sizes[i].Val())
		for _, info := range groups[i].Val() {
			if len(info.Name) > len(groupPrefix) && info.Name[:len(groupPrefix)] == groupPrefix {
				// Redis does not know the lag after an XDEL by somebody, and after a failover it may
				// be wrong until the next takeover: never more than what is there.
				b.Pending = info.Pending
				if b.Lag = max(0, b.Lag-info.Pending); info.Lag >= 0 {
					b.Lag = min(b.Lag, info.Lag)
				}
			}
		}
	}
	return nil
}
