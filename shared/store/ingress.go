package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"sluice/shared/wire"
)

// Entry is one entry of an ingress stream.
type Entry struct {
	Partition int // or Intake
	ID        wire.ID
	Fields    map[string]any // values are strings
}

// Size is how much an entry holds, in bytes, its bookkeeping included.
func (e *Entry) Size() int {
	const bookkeeping = 128 // for the entry, and about so much for its fields' headers
	n := bookkeeping
	for name, v := range e.Fields {
		text, _ := v.(string)
		n += len(name) + len(text)
	}
	return n
}

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
	for i, p := range pubs {
		stream := s.keys.events(s.keys.partition(p.To))
		cmds[i] = pipe.XAdd(ctx, &redis.XAddArgs{Stream: stream, Values: p.Fields})
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

// Forwarding are intake entries for one partition, in the order of the intake.
type Forwarding struct {
	Partition int
	Entries   []Entry
	Marked    bool // the partition is known to have a mark `forwarded`

	// Results.
	Appended int     // fewer than Entries when some had been forwarded before, or Err is set
	Last     wire.ID // entries up to here are forwarded
	Err      error   // a *BadKey: the later ones cannot be appended
	Full     bool    // they never can: the partition's stream ends at the highest id of all
}

// Forward appends intake entries to their partitions, once each: a transaction per
// partition appends and moves `forwarded` on, so it may be repeated, also by two
// owners at once. A partition that cannot take them harms only itself (Err). ErrFenced
// when a mark has gone: then the reign over the intake has, too, or it must begin again.
func (s *Store) Forward(ctx context.Context, batch []*Forwarding) error {
	calls := make([]call, len(batch))
	for i, f := range batch {
		c := call{keys: []string{s.keys.forwarded(f.Partition), s.keys.events(f.Partition)}, args: []any{""}}
		if f.Marked {
			c.args[0] = "1"
		}
		for _, e := range f.Entries {
			c.args = append(c.args, e.ID.String(), 0)
			n := len(c.args)
			for _, name := range wire.Fields { // Lua can unpack only so many
				if v, ok := e.Fields[name]; ok {
					c.args = append(c.args, name, v)
				}
			}
			if _, keyed := e.Fields["id"]; keyed { // the partition gives it an id, and so a time, of its own
				c.args = append(c.args, wire.FieldAdded, e.ID.Ms)
			}
			c.args[n-1] = len(c.args) - n
		}
		calls[i] = c
	}
	cmds, err := runAll(ctx, s.rdb, forward, calls, isWrongType, isNoMark, isMarkGone)
	if err != nil {
		return fmt.Errorf("cannot forward the intake: %w", err)
	}
	for i, cmd := range cmds {
		if isMarkGone(cmd.Err()) {
			return ErrFenced
		}
		if err := batch[i].answered(cmd); err != nil {
			return fmt.Errorf("cannot forward the intake to partition %d: %w", batch[i].Partition, err)
		}
	}
	return nil
}

// answered takes the answer of the script. An error that is no matter of this partition's
// keys alone is returned.
func (f *Forwarding) answered(cmd *redis.Cmd) error {
	f.Appended, f.Last, f.Err, f.Full = 0, wire.ID{}, nil, false
	what := "a partition's stream or its mark `forwarded`"
	if err := cmd.Err(); err != nil {
		f.Err = &BadKey{what, err.Error()}
		return nil //nolint:nilerr // it is this partition's
	}
	res, err := cmd.Slice()
	if err != nil || len(res) != 3 {
		return fmt.Errorf("the script answered %v: %w", res, err)
	}
	appended, _ := res[0].(int64)
	last, _ := res[1].(string)
	why, _ := res[2].(string)
	f.Appended = int(appended)
	f.Last, _ = parseRedisID(last)
	if why == "" {
		return nil
	}
	refused := refusal(why)
	if f.Err = badKey(what, refused); f.Err == nil {
		return refused
	}
	f.Full = isNotAbove(refused)
	return nil
}

// refusal is what Redis answered to a command within a script.
type refusal string

func (r refusal) Error() string { return string(r) }
func (refusal) RedisError()     {}

// NewestIntake is the newest entry of the intake, zero if there is none.
func (s *Store) NewestIntake(ctx context.Context) (wire.ID, error) {
	newest, err := s.rdb.XRevRangeN(ctx, s.keys.intake(), "+", "-", 1).Result()
	if err != nil || len(newest) == 0 {
		if err != nil {
			err = fmt.Errorf("cannot read the end of the intake: %w", err)
		}
		return wire.ID{}, err
	}
	return parseRedisID(newest[0].ID)
}

// Rewind lowers the partitions' marks of what was forwarded to the intake's entry base,
// where they are above it: entries beyond base were never read, so a higher mark is one of
// an intake that was deleted, or whose end Redis has lost, and entries below it would
// count as forwarded. A mark whose entry is still in the intake stays; kept is the highest
// of these. Only the owner of the intake may do it: ErrFenced when its epoch has moved.
// Repeatable.
func (s *Store) Rewind(ctx context.Context, epoch uint64, base wire.ID, partitions []int) (lowered []int, kept wire.ID, err error) {
	marks, err := s.marksAbove(ctx, base, partitions)
	if err != nil || len(marks) == 0 {
		return nil, kept, err
	}
	// The epoch is asked for after the marks: if it is ours, no later owner has set them.
	pipe := s.rdb.Pipeline()
	there := make([]*redis.XMessageSliceCmd, len(marks))
	for i, m := range marks {
		there[i] = pipe.XRangeN(ctx, s.keys.intake(), m.id.String(), m.id.String(), 1)
	}
	now := pipe.Get(ctx, s.keys.epoch(Intake))
	cmds, err := exec(ctx, pipe)
	if err := firstFailure(cmds, err); err != nil {
		return nil, kept, fmt.Errorf("cannot look for forwarded entries: %w", err)
	}
	if now.Val() != strconv.FormatUint(epoch, 10) {
		return nil, kept, ErrFenced
	}
	to := base.String()
	if base.IsZero() {
		to = "0-0"
	}
	var calls []call
	for i, m := range marks {
		if len(there[i].Val()) > 0 {
			kept = wire.Later(kept, m.id)
			continue
		}
		lowered = append(lowered, m.partition)
		calls = append(calls, call{[]string{s.keys.forwarded(m.partition)}, []any{m.text, to}})
	}
	if _, err := runAll(ctx, s.rdb, rewind, calls); err != nil {
		return nil, kept, fmt.Errorf("cannot lower the marks of forwarded entries: %w", err)
	}
	return lowered, kept, nil
}

// mark is what was forwarded to a partition last.
type mark struct {
	partition int
	id        wire.ID
	text      string // as Redis has it
}

// Marked are the partitions that have a mark of what was forwarded.
func (s *Store) Marked(ctx context.Context) (map[int]bool, error) {
	pipe := s.rdb.Pipeline()
	there := make([]*redis.IntCmd, s.cfg.Partitions)
	for p := range there {
		there[p] = pipe.Exists(ctx, s.keys.forwarded(p))
	}
	cmds, err := exec(ctx, pipe)
	if err := firstFailure(cmds, err); err != nil {
		return nil, fmt.Errorf("cannot look for what was forwarded: %w", err)
	}
	marked := make(map[int]bool)
	for p := range there {
		marked[p] = there[p].Val() > 0
	}
	return marked, nil
}

// marksAbove are those above an id. What holds no id is left to Forward, which refuses it.
func (s *Store) marksAbove(ctx context.Context, base wire.ID, partitions []int) ([]mark, error) {
	pipe := s.rdb.Pipeline()
	texts := make([]*redis.StringCmd, len(partitions))
	for i, p := range partitions {
		texts[i] = pipe.Get(ctx, s.keys.forwarded(p))
	}
	cmds, err := exec(ctx, pipe)
	if err := firstFailure(cmds, err, isWrongType); err != nil {
		return nil, fmt.Errorf("cannot read the marks of forwarded entries: %w", err)
	}
	var above []mark
	for i, p := range partitions {
		if id, err := parseRedisID(texts[i].Val()); err == nil && base.Less(id) {
			above = append(above, mark{p, id, texts[i].Val()})
		}
	}
	return above, nil
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
	Partition int   // or Intake
	Lag       int64 // not yet read
	Pending   int64 // read, not yet acknowledged
}

// Backlogs asks for all partitions and the intake. Where there never was a worker,
// everything in the stream is lag.
func (s *Store) Backlogs(ctx context.Context) ([]Backlog, error) {
	pipe := s.rdb.Pipeline()
	groups := make([]*redis.XInfoGroupsCmd, 0, s.cfg.Partitions+1)
	lengths := make([]*redis.IntCmd, 0, s.cfg.Partitions+1)
	for p := Intake; p < s.cfg.Partitions; p++ {
		groups = append(groups, pipe.XInfoGroups(ctx, s.keys.events(p)))
		lengths = append(lengths, pipe.XLen(ctx, s.keys.events(p)))
	}
	cmds, err := exec(ctx, pipe)
	if err := firstFailure(cmds, err, isNoKey, isWrongType); err != nil {
		return nil, fmt.Errorf("cannot read the backlog: %w", err)
	}
	out := make([]Backlog, 0, len(groups))
	for i, g := range groups {
		b := Backlog{Partition: i + Intake, Lag: lengths[i].Val()}
		for _, info := range g.Val() {
			if len(info.Name) > len(groupPrefix) && info.Name[:len(groupPrefix)] == groupPrefix {
				// Redis does not know the lag after an XDEL by somebody, and after a failover it may
				// be wrong until the next takeover: never more than what is there.
				b.Pending = info.Pending
				if b.Lag = max(0, b.Lag-info.Pending); info.Lag >= 0 {
					b.Lag = min(b.Lag, info.Lag)
				}
			}
		}
		out = append(out, b)
	}
	return out, nil
}

// read is XREADGROUP in a pipeline; its answer is taken apart by entries.
func (l *Lane) read(ctx context.Context, pipe redis.Pipeliner, r Read) *redis.XStreamSliceCmd {
	if of := &l.readOf; l.readWords == nil || of.Tenure != r.Tenure || of.Consumer != r.Consumer ||
		of.Count != r.Count || of.Block != r.Block || !slices.Equal(of.Partitions, r.Partitions) {
		l.readOf = r
		of.Partitions, of.Epochs = slices.Clone(r.Partitions), nil
		block := r.Block
		if l.s.maxBlock > 0 { // else the link has no time limit
			block = min(block, l.s.maxBlock)
		}
		l.readWords = []any{"xreadgroup", "group", groupPrefix + r.Tenure, r.Consumer, "count", r.Count}
		if block >= time.Millisecond { // 0 would be for ever
			l.readWords = append(l.readWords, "block", block.Milliseconds())
		}
		l.readWords = append(l.readWords, "streams")
		for _, p := range r.Partitions {
			l.readWords = append(l.readWords, l.s.keys.events(p))
		}
		for range r.Partitions {
			l.readWords = append(l.readWords, ">")
		}
	}
	cmd := redis.NewXStreamSliceCmd(ctx, l.readWords...)
	_ = pipe.Process(ctx, cmd) // Exec says what failed
	return cmd
}

func (s *Store) entries(cmd *redis.XStreamSliceCmd, r Read, buf []Entry) ([]Entry, error) {
	streams, err := cmd.Result()
	switch {
	case errors.Is(err, redis.Nil):
		return buf, nil
	case isNoGroup(err):
		return buf, ErrFenced
	case err != nil:
		return buf, fmt.Errorf("cannot read ingress streams: %w", err)
	}
	for _, st := range streams {
		p := Intake
		for _, candidate := range r.Partitions {
			if s.keys.events(candidate) == st.Stream {
				p = candidate
			}
		}
		for _, m := range st.Messages {
			id, err := parseRedisID(m.ID)
			if err != nil {
				return buf, fmt.Errorf("stream %s gave the id %q: %w", st.Stream, m.ID, err)
			}
			buf = append(buf, Entry{Partition: p, ID: id, Fields: m.Values})
		}
	}
	return buf, nil
}
