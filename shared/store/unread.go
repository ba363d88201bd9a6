package store

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"sluice/shared/wire"
)

// Waiting says whether an event with Append.Unread waits to be acknowledged.
type Waiting string

// What became of it.
const (
	NotWaiting Waiting = "" // an earlier try has let it wait, or it is in no history
	Waits      Waiting = "waiting"
	WaitsFull  Waiting = "full"    // it does not: Append.MostUnread wait, or MostOfUser
	WaitsBad   Waiting = "bad_key" // it does not: a key of the partition holds another type
)

const (
	// unreadKept is for how long they are kept after the last one has come, should no worker with functions look at them.
	unreadKept = wire.MostUnread + 7*24*time.Hour
	// ackSlack is how much later an event is due: gateways hold an acknowledgement for up to a second.
	ackSlack = 2 * time.Second
)

// await lets an event wait to be acknowledged, in the transaction that appends it, before the append. The script goes in full, since
// what a server does not know in a transaction could not be made up for.
func (s *Store) await(ctx context.Context, pipe redis.Pipeliner, a *Append) *redis.Cmd {
	p, user := a.Partition, strings.TrimPrefix(a.Event.To, wire.UserTarget(""))
	there := ""
	if a.continues() {
		there = "1"
	}
	return letWait.Eval(ctx, pipe, []string{s.keys.history(p, a.Event.To), s.keys.unread(p), s.keys.unreadOf(p)},
		a.Event.ID.String(), there, wire.UnreadKey(user, a.Event.ID), a.Unread+ackSlack.Milliseconds(), a.MostUnread, a.MostOfUser, unreadKept.Milliseconds())
}

func waitingOf(answer *redis.Cmd) Waiting {
	n, err := answer.Int()
	switch {
	case err != nil: // of the wrong type, or all would have failed
		return WaitsBad
	case n > 0:
		return Waits
	case n < 0:
		return WaitsFull
	}
	return NotWaiting
}

// TellUnread adds the events for functions of what no device of a partition's users has acknowledged in time, at most count. What is
// acknowledged and not yet worked off (MoveCursors) holds up what was due after that. A *BadKey: none is told.
func (s *Store) TellUnread(ctx context.Context, partition, count int) (told int64, err error) {
	due, err := s.rdb.ZRangeArgs(ctx, redis.ZRangeArgs{
		Key: s.keys.unread(partition), ByScore: true, Start: "-inf", Stop: s.NowMs(), Count: int64(count),
	}).Result()
	if bad := badKey(s.keys.unread(partition), err); bad != nil {
		return 0, bad
	}
	if err != nil {
		return 0, fmt.Errorf("cannot look for events that nobody has acknowledged: %w", err)
	}
	keys := []string{s.keys.events(s.CallsOf(partition)), s.keys.unread(partition), s.keys.unreadOf(partition), s.keys.acks(partition)}
	var calls []call
	for i, name := range due {
		if i%overdueAtOnce == 0 {
			calls = append(calls, call{keys, []any{anyWorker}})
		}
		c := &calls[len(calls)-1]
		user, id, ok := wire.ParseUnreadKey(name)
		if !ok {
			continue
		}
		c.args = append(c.args, name, user, id.String(), wire.UnreadID(user, id), wire.NewTrace())
	}
	cmds, err := runAll(ctx, s.rdb, tellUnread, calls)
	if bad := badKey(fmt.Sprintf("what waits to be acknowledged in partition %d", partition), err); bad != nil {
		return 0, bad
	}
	if err != nil {
		return 0, fmt.Errorf("cannot tell functions of events that nobody has acknowledged: %w", err)
	}
	for _, cmd := range cmds {
		n, _ := cmd.Int64()
		told += n
	}
	return told, nil
}

// overdueAtOnce are told by one run of the script.
const overdueAtOnce = 100

// Event is one of a target's history; nil: it is not there any more.
func (s *Store) Event(ctx context.Context, target string, id wire.ID) (*wire.Event, error) {
	list, err := s.rdb.XRange(ctx, s.keys.history(s.keys.partition(target), target), id.String(), id.String()).Result()
	if err != nil && !isWrongType(err) {
		return nil, fmt.Errorf("cannot read an event of %s: %w", target, err)
	}
	if len(list) == 0 {
		return nil, nil
	}
	e, err := historyEvent(target, list[0], wire.ID{})
	return &e, err
}
