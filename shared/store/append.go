package store

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/redis/go-redis/v9"

	"sluice/shared/wire"
)

// Append is an event to be added to its target's history under its own id. If it has a
// prev, the history should be there. If that has ended meanwhile, it begins again with the
// event, which says so (Event.First), and gets an expiry.
type Append struct {
	Partition int
	Event     *wire.Event
	Sum       int64 // bytes of the history's entries up to this one; 0: it is not said
	Touch     bool  // also renew the history's expiry and trim what is too old; a result, too
	Trim      int64 // also trim the history, with all events of the call, to so many bytes; 0: not
	// Tried: this owner or one before it (Term.Seen) may have appended the event. If
	// the history is past it and no longer reaches back to it, it was trimmed since,
	// and is no ErrOrder.
	Tried bool
	Kick  *wire.Kick // in place of an event: it is kept for gateways, and in no history
	// Unread is how long the event of a user then waits to be acknowledged (TellUnread), in ms; 0: it does not wait. MostUnread is how many
	// of the partition may, MostOfUser how many of the user.
	Unread                 int64
	MostUnread, MostOfUser int

	// Results.
	Repeat bool  // an earlier try has appended it; Event.Prev is what stands there, or its own id if it was trimmed
	Err    error // it cannot be appended, now or later: ErrNotStream or ErrOrder; of a Kick a *BadKey: it is not kept
	Waits  Waiting
	Left   int64 // after Trim: the bytes of the history; 0: it was not trimmed, and is to be with the next event
}

// ErrOrder says that the history already ends above the event's id and does not
// hold it.
var ErrOrder = errors.New("the history is already past the event's id")

// add adds the commands for one event.
func (l *Lane) add(ctx context.Context, pipe redis.Pipeliner, a *Append) *redis.StringCmd {
	s, w := l.s, &l.words
	key := s.keys.history(a.Partition, a.Event.To)
	w.add("xadd")
	w.text(key)
	if a.continues() {
		w.add("nomkstream")
	}
	w.add("maxlen")
	if s.cfg.HistorySize >= approxFrom {
		w.add("~")
	}
	w.add(l.limit)
	w.text(a.Event.ID.String())
	historyFields(w, a.Event, a.Sum)
	added := redis.NewStringCmd(ctx, w.end()...)
	_ = pipe.Process(ctx, added) // Exec says what failed
	if a.Touch {
		s.touch(ctx, pipe, key, a.Event.ID)
	}
	return added
}

// continues reports whether its history should be there.
func (a *Append) continues() bool { return !a.Event.Prev.IsZero() && !a.Event.First }

// approxFrom is the history size from which Redis may keep up to one block of 100
// entries more than it must: exact trimming costs half as much again as the append.
const approxFrom = 500

// touchSlack is the part of the history's time to live by which it may live longer,
// so that its expiry need not be renewed at every event.
const touchSlack = 8

// TouchEvery is how often a target's history should be touched, in ms.
func (s *Store) TouchEvery() int64 { return s.cfg.HistoryTTL.Milliseconds() / touchSlack }

// touch renews a history's expiry and trims what is too old, but never its newest event,
// which may have waited long for a worker: a stream that is empty and there would look as
// if something had been trimmed from it when the next event comes.
func (s *Store) touch(ctx context.Context, pipe redis.Pipeliner, key string, newest wire.ID) {
	ttl := s.cfg.HistoryTTL
	pipe.PExpire(ctx, key, ttl+ttl/touchSlack)
	oldest := uint64(max(0, s.NowMs()-ttl.Milliseconds()))
	pipe.XTrimMinIDApprox(ctx, key, strconv.FormatUint(min(oldest, newest.Ms), 10), 0)
}

// stored reads what stands in the histories for events that were refused.
func (l *Lane) stored(ctx context.Context, repeats []*Append) error {
	if len(repeats) == 0 {
		return nil
	}
	conn, err := l.link(ctx)
	if err != nil {
		return err
	}
	pipe := conn.Pipeline()
	there := make([]*redis.XMessageSliceCmd, len(repeats))
	oldest := make([]*redis.XMessageSliceCmd, len(repeats))
	for i, a := range repeats {
		id, key := a.Event.ID.String(), l.s.keys.history(a.Partition, a.Event.To)
		there[i] = pipe.XRange(ctx, key, id, id)
		oldest[i] = pipe.XRangeN(ctx, key, "-", "+", 1)
	}
	cmds, err := exec(ctx, pipe)
	if err := l.failed(cmds, err); err != nil {
		return fmt.Errorf("cannot read what was appended before: %w", err)
	}
	for i, a := range repeats {
		if m := there[i].Val(); len(m) > 0 {
			e, err := historyEvent(a.Event.To, m[0], a.Event.ID)
			if err != nil {
				return err
			}
			a.Repeat, a.Event.Prev, a.Event.First = true, e.Prev, e.First
			continue
		}
		trimmed := a.Tried
		if m := oldest[i].Val(); len(m) > 0 {
			e, err := oldestEvent(a.Event.To, m[0])
			if err != nil {
				return err
			}
			// Without a prev it begins again, as after an eviction: what was before is not known.
			reaches := e.ID.Less(a.Event.ID) || (!e.Prev.IsZero() && e.Prev.Less(a.Event.ID))
			trimmed = trimmed && !reaches
		}
		if !trimmed {
			a.Err = ErrOrder
			continue
		}
		// Whoever lacks the event has not reached this prev, and looks into the history.
		a.Repeat, a.Event.Prev = true, a.Event.ID
	}
	return nil
}

// byteTrim is an append whose history is trimmed to its bound in bytes, behind all appends of
// the same transaction.
type byteTrim struct {
	of *Append
	call
	answer *redis.Cmd
}

func (l *Lane) trims(ctx context.Context, pipe redis.Pipeliner, appends []*Append) (trims []byteTrim) {
	for _, a := range appends {
		if a.Left = 0; a.Trim > 0 {
			c := l.s.trimCall(a.Partition, a.Event.To, a.Trim)
			trims = append(trims, byteTrim{a, c, trimHistory.EvalSha(ctx, pipe, c.keys, c.args...)})
		}
	}
	return trims
}

// trimmed takes the answers. Where the server did not know the script, it is sent; what
// fails then is trimmed with the next event.
func (s *Store) trimmed(ctx context.Context, trims []byteTrim) {
	var again []call
	for _, t := range trims {
		if isNoScript(t.answer.Err()) {
			again = append(again, t.call)
		}
	}
	answers, _ := runAll(ctx, s.rdb, trimHistory, again, isWrongType)
	for _, t := range trims {
		if isNoScript(t.answer.Err()) {
			t.answer, answers = answers[0], answers[1:]
		}
		if t.answer.Err() == nil {
			t.of.Left, _ = t.answer.Int64()
		}
	}
}
