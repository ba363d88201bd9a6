package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"sluice/shared/wire"
)

// CallOf says what an event for functions is to its connection.
type CallOf string

// What it is.
const (
	CallBegin CallOf = "begin" // the connection is there
	CallEvent CallOf = "call"  // it asks for something
	CallEnd   CallOf = "end"   // it has ended
)

// Presence says what functions hear of the coming and going of users.
type Presence string

// What they hear.
const (
	NoPresence   Presence = ""
	NotePresence Presence = "note" // not that they come
	TellPresence Presence = "tell"
)

// PresenceOf is what functions hear that take these kinds of events.
func PresenceOf(kinds []string) Presence {
	switch {
	case slices.Contains(kinds, wire.OnlineKind):
		return TellPresence
	case slices.Contains(kinds, wire.OfflineKind):
		return NotePresence
	}
	return NoPresence
}

// Calling is an event for functions that is to be added.
type Calling struct {
	Of       CallOf
	Call     wire.Call // its Seq is given by Redis
	Silent   bool      // no function wants it: it is only noted that the connection is there, or not any more
	Begun    bool      // a call is refused if the connection is not known to be there
	State    string    // JSON with which the connection begins; "": none
	Presence Presence  // of a begin or an end

	// Results.
	Done bool // false: nothing was done, since it was before, or the connection's end has been told
	Full bool // nothing was done, since too many calls of the user wait
	Err  error
}

// callsWaiting is how many calls of one user may wait for functions, so that a user whose function fails takes a share of
// Redis and no more.
const callsWaiting = 256

// watchSlack is how much later than the end of its session a connection is looked for: its gateway may be about to tell.
const watchSlack = 2 * time.Second

// AddCalls adds events for functions, in one pipeline and in order. Err is the same for all, and leaves open what was done,
// or a *BadKey of one, which cannot be added. Begin and end may be repeated; a call that is repeated after an error that is no reply may be there twice, with one ID.
func (s *Store) AddCalls(ctx context.Context, list []*Calling) {
	calls := make([]call, len(list))
	next := s.NowMs() + s.cfg.SessionTTL.Milliseconds()
	for i, x := range list {
		c := &x.Call
		p := s.keys.partition(wire.UserTarget(c.User))
		begun := ""
		if x.Begun {
			begun = "1"
		}
		args := []any{string(x.Of), c.Conn, watchedAs(c), next, begun, callsWaiting, string(x.Presence), s.NowMs(), x.State, c.Trace}
		if !x.Silent {
			fields := c.Fields()
			for j := 0; j < len(fields); j += 2 {
				if fields[j] != "seq" {
					args = append(args, fields[j], fields[j+1])
				}
			}
		}
		calls[i] = call{[]string{s.keys.events(s.CallsOf(p)), s.keys.calling(p, c.User), s.keys.watched(p), s.keys.leaving(p)}, args}
	}
	cmds, err := runAll(ctx, s.rdb, addCall, calls, isWrongType, isNotAbove)
	for i, x := range list {
		x.Done, x.Full, x.Err = false, false, err
		if err != nil {
			continue
		}
		if x.Err = badKey("what functions are to hear", cmds[i].Err()); x.Err != nil {
			continue
		}
		var n int64
		n, x.Err = cmds[i].Int64()
		x.Done, x.Full = n > 0, n < 0
	}
}

// watchedAs is how a connection is watched: everything that is said of it should its gateway die. No name has a space.
func watchedAs(c *wire.Call) string {
	return strings.Join([]string{c.User, c.Conn, c.Server, c.Transport, c.Device}, " ")
}

// Lost are the connections of a partition, at most count, whose gateways have died: their sessions have ended, and nobody
// said so. looked is how many were looked for. A *BadKey: of some, or of all, it cannot be known.
func (s *Store) Lost(ctx context.Context, partition, count int) (lost []wire.Call, looked int, err error) {
	now := s.NowMs()
	due, err := s.rdb.ZRangeArgs(ctx, redis.ZRangeArgs{
		Key: s.keys.watched(partition), ByScore: true, Start: "-inf", Stop: now, Count: int64(count),
	}).Result()
	if bad := badKey(s.keys.watched(partition), err); bad != nil {
		return nil, 0, bad
	}
	if err != nil {
		return nil, 0, fmt.Errorf("cannot look for connections that were lost: %w", err)
	}
	calls := make([]call, len(due))
	parsed := make([]wire.Call, len(due))
	for i, as := range due {
		x := strings.SplitN(as, " ", 5)
		x = append(x, make([]string, max(0, 5-len(x)))...)
		parsed[i] = wire.Call{User: x[0], Conn: x[1], Server: x[2], Transport: x[3], Device: x[4]}
		calls[i] = call{
			[]string{s.keys.session(partition, wire.UserTarget(x[0])), s.keys.watched(partition)},
			[]any{x[1], as, now, watchSlack.Milliseconds()},
		}
	}
	cmds, err := runAll(ctx, s.rdb, lostConn, calls, isWrongType)
	if err != nil {
		return nil, 0, fmt.Errorf("cannot look for connections that were lost: %w", err)
	}
	for i, c := range cmds {
		if bad := badKey(calls[i].keys[0], c.Err()); bad != nil {
			err = bad
		}
		if n, _ := c.Int64(); n > 0 {
			lost = append(lost, parsed[i])
		}
	}
	return lost, len(due), err
}

// Gone looks for users of a partition, at most count, who have had no connection since a time, Redis's clock in Unix ms, and
// adds their events if functions hear of that. A *BadKey: of some, or of all, it cannot be known, or not be told.
func (s *Store) Gone(ctx context.Context, partition int, since int64, count int, told bool) (gone int, err error) {
	users, err := s.rdb.ZRangeArgs(ctx, redis.ZRangeArgs{
		Key: s.keys.leaving(partition), ByScore: true, Start: "-inf", Stop: since, Count: int64(count),
	}).Result()
	if bad := badKey(s.keys.leaving(partition), err); bad != nil {
		return 0, bad
	}
	if err != nil {
		return 0, fmt.Errorf("cannot look for users that have left: %w", err)
	}
	tell := ""
	if told {
		tell = "1"
	}
	calls := make([]call, len(users))
	for i, user := range users {
		calls[i] = call{
			[]string{s.keys.events(s.CallsOf(partition)), s.keys.calling(partition, user), s.keys.leaving(partition)},
			[]any{user, since, tell, wire.NewTrace()},
		}
	}
	cmds, err := runAll(ctx, s.rdb, tellGone, calls, isWrongType, isNotAbove)
	if err != nil {
		return 0, fmt.Errorf("cannot tell that users have left: %w", err)
	}
	for i, c := range cmds {
		if bad := badKey("what is known of user "+users[i], c.Err()); bad != nil {
			err = bad
		}
		n, _ := c.Int64()
		gone += int(n)
	}
	return gone, err
}

// StateChange is what becomes of a connection's state.
type StateChange struct {
	Drop bool
	Set  string // JSON; "": it stays

	// Answer is that to a call without a connection, JSON or "", kept for who asks again; nil: there is none.
	Answer *string
}

// FinishCall ends an event for functions. first: nobody has before. What is nobody's any more stays undone.
func (s *Store) FinishCall(ctx context.Context, partition int, id wire.ID, c *wire.Call, state StateChange) (first bool, err error) {
	verb := "keep"
	switch {
	case state.Drop:
		verb = "drop"
	case state.Set != "":
		verb = "set"
	}
	isCall, key, answer := "", "", ""
	if c.Kind == wire.CallKind {
		isCall = "1"
	}
	if c.Transport == wire.TransportHTTP {
		key = wire.CallKey(c.ID)
		if state.Answer != nil {
			answer = fmt.Sprintf("=%d %s", s.NowMs(), *state.Answer)
		}
	}
	cmds, err := runAll(ctx, s.rdb, finishCall, []call{{
		[]string{s.keys.events(s.CallsOf(partition)), s.keys.calling(partition, c.User), s.keys.answers(partition, c.User)},
		[]any{id.String(), c.Conn, verb, state.Set, isCall, key, answer, answersTTL.Milliseconds(), answersKept, answersBytes},
	}})
	if err != nil {
		return false, fmt.Errorf("cannot end an event for functions: %w", err)
	}
	n, err := cmds[0].Int64()
	return n > 0, err
}

// CallState is what functions have set for a connection, "" for nothing; there says whether the event is.
func (s *Store) CallState(ctx context.Context, partition int, id wire.ID, c *wire.Call) (state string, there bool, err error) {
	pipe := s.rdb.Pipeline()
	get := pipe.HGet(ctx, s.keys.calling(partition, c.User), c.Conn+" state")
	entry := pipe.XRangeN(ctx, s.keys.events(s.CallsOf(partition)), id.String(), id.String(), 1)
	cmds, err := exec(ctx, pipe)
	if err := firstFailure(cmds, err); err != nil {
		return "", false, fmt.Errorf("cannot read what functions keep of a connection: %w", err)
	}
	return get.Val(), len(entry.Val()) > 0, nil
}

// AddDue says in a partition's calls that one of them is to be tried again.
func (s *Store) AddDue(ctx context.Context, partition int, due wire.Due) error {
	c := wire.Call{Due: &due}
	if err := s.rdb.XAdd(ctx, &redis.XAddArgs{Stream: s.keys.events(s.CallsOf(partition)), Values: c.Fields()}).Err(); err != nil {
		return fmt.Errorf("cannot say that an event for functions is due: %w", err)
	}
	return nil
}

// DropCalls deletes entries of calls that are no events. Repeatable. A key of another type is left to its lane.
func (s *Store) DropCalls(ctx context.Context, entries []Entry) error {
	if len(entries) == 0 {
		return nil
	}
	ids := make(map[int][]string)
	for _, e := range entries {
		ids[e.Partition] = append(ids[e.Partition], e.ID.String())
	}
	pipe := s.rdb.Pipeline()
	for p, of := range ids {
		pipe.XDel(ctx, s.keys.events(p), of...)
	}
	cmds, err := exec(ctx, pipe)
	if err := firstFailure(cmds, err, isWrongType); err != nil {
		return fmt.Errorf("cannot delete calls that are no events: %w", err)
	}
	return nil
}

// Ended says which of a user's connections have ended for functions: their ends were told, by whoever found them lost.
func (s *Store) Ended(ctx context.Context, user string, conns []string) ([]bool, error) {
	p := s.keys.partition(wire.UserTarget(user))
	known, err := s.rdb.HMGet(ctx, s.keys.calling(p, user), conns...).Result()
	if err != nil {
		return nil, fmt.Errorf("cannot ask whether connections have ended for functions: %w", err)
	}
	ended := make([]bool, len(conns))
	for i, value := range known {
		ended[i] = value == nil || value == callEnded
	}
	return ended, nil
}

// callEnded is what is known of a connection from its end on until functions have heard of that (lua/call.lua).
const callEnded = "-"

// FunctionsTTL is for how long it counts what functions take: without workers events wait for so long, and then, since there
// may be no functions any more, gateways add no calls and no new connections.
const FunctionsTTL = 24 * time.Hour

// SetFunctions says what the functions of this installation take (functions.Config.Kinds), until somebody says otherwise.
func (s *Store) SetFunctions(ctx context.Context, kinds []string) error {
	var err error
	if len(kinds) == 0 {
		err = s.rdb.Del(ctx, s.keys.functions()).Err()
	} else {
		err = s.rdb.Set(ctx, s.keys.functions(), strings.Join(kinds, " "), FunctionsTTL).Err()
	}
	if err != nil {
		return fmt.Errorf("cannot say what functions take: %w", err)
	}
	return nil
}

// Functions is what was said last.
func (s *Store) Functions(ctx context.Context) ([]string, error) {
	text, err := s.rdb.Get(ctx, s.keys.functions()).Result()
	if err != nil && !errors.Is(err, redis.Nil) {
		return nil, fmt.Errorf("cannot read what functions take: %w", err)
	}
	return strings.Fields(text), nil
}
