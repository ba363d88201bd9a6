package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/redis/go-redis/v9"

	"sluice/shared/wire"
)

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
// when a mark has gone: then the term over the intake has, too, or it must begin again.
func (s *Store) Forward(ctx context.Context, batch []*Forwarding) error {
	cmds, err := runAll(ctx, s.rdb, forward, s.forwardCalls(batch), refusesForward...)
	if err != nil {
		return fmt.Errorf("cannot forward the intake: %w", err)
	}
	return answered(batch, cmds)
}

// Forward is Store.Forward, and reads those of the batch's partitions that are among those of next
// in the same round trip: found are their entries, in order, also with an error. On a Cluster the
// partitions are elsewhere, and nothing is read.
func (l *Lane) Forward(ctx context.Context, batch []*Forwarding, next Read) (found []Entry, err error) {
	if l.s.PerPartition() {
		return nil, l.s.Forward(ctx, batch)
	}
	if len(batch) == 0 {
		return nil, nil
	}
	l.rights(next)
	conn, err := l.link(ctx)
	if err != nil {
		return nil, err
	}
	next.Block, next.From = 0, nil
	for _, f := range batch {
		if slices.Contains(next.Partitions, f.Partition) {
			next.From = append(next.From, f.Partition)
		}
	}
	var read *redis.XStreamSliceCmd
	cmds, err := runAllThen(ctx, conn, forward, l.s.forwardCalls(batch), func(pipe redis.Pipeliner) {
		if len(next.From) > 0 && next.Count > 0 {
			l.watchToRead(ctx, pipe)
			read = redis.NewXStreamSliceCmd(ctx, l.s.readWords(next)...)
			_ = pipe.Process(ctx, read) // Exec says what failed
		}
	}, append(refusesForward, isNoGroup)...)
	if mayHaveMoved(err) {
		l.lose()
	}
	if read != nil {
		l.watched = read.Err() == nil || errors.Is(read.Err(), redis.Nil)
		switch {
		case isNoGroup(read.Err()):
			return nil, ErrFenced
		case l.watched:
			var unread error
			if found, unread = l.s.entries(read, next, nil); unread != nil {
				return nil, unread
			}
		}
	}
	if err != nil {
		return found, fmt.Errorf("cannot forward the intake: %w", err)
	}
	return found, answered(batch, cmds)
}

// refusesForward are answers that are one partition's alone, or that answered judges.
var refusesForward = []func(error) bool{isWrongType, isNoMark, isMarkGone}

func (s *Store) forwardCalls(batch []*Forwarding) []call {
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
			_, keyed := e.Fields["id"]
			if _, control := e.Fields["control"]; keyed || control { // the partition gives it an id, and so a time, of its own
				c.args = append(c.args, wire.FieldAdded, e.ID.Ms)
			}
			c.args[n-1] = len(c.args) - n
		}
		calls[i] = c
	}
	return calls
}

// answered takes the answers of the scripts.
func answered(batch []*Forwarding, cmds []*redis.Cmd) error {
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

func (refusal) RedisError() {}

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
		return nil, fmt.Errorf("cannot look for the marks of forwarded entries: %w", err)
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
