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

// End asks for the newest event of a target, and how large its history is.
type End struct {
	Partition int
	Target    string

	Newest     wire.ID // results
	Sum, Bytes int64   // Append.Sum of the newest event; of all entries, at most (those of a history above its bound may be more)
}

// Prepare does claims and looks up ends, in one round trip, or two when a key changes its
// holder (claim.go). The claims of a batch are one transaction: were one refused and a
// later one with the same key taken, the first event would count as a repeat of an event
// that is not there yet. Repeatable; ErrFenced when the term is over.
func (l *Lane) Prepare(ctx context.Context, claims []*Claim, ends []*End, keep time.Duration) error {
	conn, err := l.watching(ctx)
	if err != nil {
		return err
	}
	pipe := conn.Pipeline()
	var claimed *redis.Cmd
	var epochs []*redis.StringCmd
	if len(claims) > 0 {
		claimed = l.claim(ctx, pipe, claims, keep)
		epochs = l.watch(ctx, pipe) // the transaction has used the watch up
	}
	asked, answers := make([]call, len(ends)), make([]*redis.Cmd, len(ends))
	for i, e := range ends {
		asked[i] = l.s.endsOf(e.Partition, e.Target, nil, l.s.cfg.HistoryBytes)
		answers[i] = historyEnds.EvalSha(ctx, pipe, asked[i].keys, asked[i].args...)
	}
	l.watched = false
	cmds, err := exec(ctx, pipe)
	if err := l.failed(cmds, err, isWrongType, isNoScript); err != nil {
		return fmt.Errorf("cannot prepare a batch: %w", err)
	}
	var changed holders
	if claimed != nil {
		first, err := claimed.Slice() // nil: the watch saw a new term
		if errors.Is(err, redis.Nil) || !l.mine(epochs) {
			return ErrFenced
		}
		if err != nil || len(first) != len(claims) {
			return fmt.Errorf("cannot claim idempotency keys: %d answers for %d claims: %w", len(first), len(claims), err)
		}
		changed = l.s.hold(claims, first, keep)
	}
	l.watched = true
	if slices.ContainsFunc(answers, func(a *redis.Cmd) bool { return isNoScript(a.Err()) }) {
		if answers, err = runAll(ctx, conn, historyEnds, asked, isWrongType); err != nil {
			l.lose()
			return fmt.Errorf("cannot prepare a batch: %w", err)
		}
	}
	for i, e := range ends {
		got, err := parseEnds(e.Target, answers[i], wire.ID{}) // a wrong type shows at the append
		if err != nil {
			return err
		}
		e.Newest, e.Sum, e.Bytes = got.Newest, got.sum, max(0, got.bytes)
	}
	return l.keepHolders(ctx, changed, keep)
}

// AppendAndRoute appends the events and then reads the session Hashes, in one round
// trip: since a gateway writes the Hash before it reads the history, one of the two
// always sees the other. It is one transaction: were one append refused for now and a
// later one taken, the first could never be appended under its id any more.
// Repeatable: Redis refuses an id that it has. ErrFenced when the term is over.
//
// Histories that have ended begin again in a second round trip, all events of a target
// together.
func (l *Lane) AppendAndRoute(ctx context.Context, appends []*Append, routes []*Route) error {
	ended, err := l.append(ctx, appends, routes)
	if err != nil || len(ended) == 0 {
		return err
	}
	anew := make(map[string]wire.ID) // and the latest event, by target
	for _, a := range ended {
		before, begun := anew[a.Event.To]
		if !begun {
			a.Event.First, a.Touch = true, true
		}
		if !a.Event.Prev.Less(a.Event.ID) { // appended before, and the history has gone since
			a.Event.Prev = before
		}
		anew[a.Event.To] = a.Event.ID
	}
	var again []*Route // who has come since the first look may have read a history without them
	for _, r := range routes {
		if _, begun := anew[r.Target]; begun {
			again = append(again, r)
		}
	}
	_, err = l.append(ctx, ended, again)
	return err
}

// append is one transaction of AppendAndRoute. ended are those whose history is not there
// though their owner knows its newest event; nothing was done for them.
func (l *Lane) append(ctx context.Context, appends []*Append, routes []*Route) (ended []*Append, err error) {
	if len(appends) == 0 && len(routes) == 0 {
		return nil, nil
	}
	conn, err := l.watching(ctx)
	if err != nil {
		return nil, err
	}
	pipe := conn.TxPipeline()
	added, waits := make([]*redis.StringCmd, len(appends)), make(map[*Append]*redis.Cmd)
	l.words.reset(20*len(appends) + 2*len(routes))
	for i, a := range appends {
		if a.Unread > 0 {
			waits[a] = l.s.await(ctx, pipe, a)
		}
		if a.Kick == nil {
			added[i] = l.add(ctx, pipe, a)
		}
	}
	kept := l.s.keepKicks(ctx, pipe, appends)
	trims := l.trims(ctx, pipe, appends)
	sessions := make([]*redis.StringSliceCmd, len(routes))
	for i, r := range routes {
		sessions[i] = l.ask(ctx, pipe, r)
	}
	l.watched = false // used up by the transaction
	cmds, err := exec(ctx, pipe)
	if errors.Is(err, redis.TxFailedErr) {
		return nil, ErrFenced
	}
	l.armed = err != nil // a transaction that has run ends the watch
	// Any other answer than these says that the transaction was refused for now, or is
	// one that nobody thought of: an event is given up only for what is known to last.
	if err := l.failed(cmds, err, isNotAbove, isWrongType, isNoScript); err != nil {
		return nil, fmt.Errorf("cannot append a batch: %w", err)
	}
	l.s.trimmed(ctx, trims)
	for a, answer := range waits {
		a.Waits = waitingOf(answer)
	}
	var repeats []*Append
	for i, a := range appends {
		a.Repeat, a.Err = false, nil
		if a.Kick != nil {
			a.Err = badKey(l.s.keys.kicks(a.Partition), kept[a].Err())
			continue
		}
		switch err := added[i].Err(); {
		case isNotAbove(err):
			repeats = append(repeats, a)
		case isWrongType(err):
			a.Err = ErrNotStream
		case errors.Is(err, redis.Nil):
			ended = append(ended, a)
		}
	}
	for i, r := range routes {
		l.s.answered(r, sessions[i])
	}
	return ended, l.stored(ctx, repeats)
}
