package store

import (
	"context"
	"fmt"
	"strings"
	"time"

	"sluice/shared/wire"
)

// MaxCursors bounds the cursors of one user, over all devices.
const MaxCursors = 4096

// Cursor is an ack that is to move a device's cursor.
type Cursor struct {
	wire.Ack // with a device

	Moved bool // result: it was below, or was not there
	Full  bool // result: the device has all the cursors that a user may have
}

// MoveCursors moves cursors forward, never back: a script for each user, in one
// pipeline. Repeatable. They live for ttl from now on. When a user has MaxCursors, the
// devices that have been silent for the longest lose theirs: evicted counts them.
// failed are the users whose key holds no hash.
func (s *Store) MoveCursors(ctx context.Context, acks []*Cursor, ttl time.Duration) (evicted int64, failed []string, err error) {
	var users []string
	byUser := make(map[string][]*Cursor)
	for _, c := range acks {
		if byUser[c.User] == nil {
			users = append(users, c.User)
		}
		byUser[c.User] = append(byUser[c.User], c)
	}
	calls := make([]call, len(users))
	for i, user := range users {
		args := cursorArgs("move", 0, ttl, len(byUser[user]))
		for _, c := range byUser[user] {
			args = append(args, c.Device+" "+c.To, c.ID.String())
		}
		calls[i] = call{[]string{s.keys.cursors(user)}, args}
	}
	cmds, err := runAll(ctx, s.rdb, cursors, calls)
	if err != nil {
		return 0, nil, fmt.Errorf("cannot move cursors: %w", err)
	}
	for i, cmd := range cmds {
		results, err := cmd.Int64Slice()
		if err != nil {
			return 0, nil, fmt.Errorf("cannot move the cursors of user %s: %w", users[i], err)
		}
		if len(results) != 1+len(byUser[users[i]]) {
			failed = append(failed, users[i])
			continue
		}
		evicted += results[0]
		for j, c := range byUser[users[i]] {
			c.Moved, c.Full = results[1+j] > 0, results[1+j] < 0
		}
	}
	return evicted, failed, nil
}

// Cursors are a device's cursors, by target. full: the user has all that are kept, so
// the device may have acknowledged targets that have none.
func (s *Store) Cursors(ctx context.Context, user, device string) (byTarget map[string]string, full bool, err error) {
	all, err := s.rdb.HGetAll(ctx, s.keys.cursors(user)).Result()
	if err != nil && !isWrongType(err) {
		return nil, false, fmt.Errorf("cannot read the cursors of user %s: %w", user, err)
	}
	byTarget = make(map[string]string)
	for field, id := range all {
		if target, ok := strings.CutPrefix(field, device+" "); ok && !strings.HasSuffix(id, endedMark) {
			byTarget[target] = id
		}
	}
	return byTarget, len(all) >= MaxCursors, nil
}

// BeginCursors writes where a device begins with targets that have no cursor of it, or of
// which it was ended: what comes from then on it has not acknowledged. One script.
// Repeatable. full counts those for which there is no room; they are not an error. Nothing is done after the context's
// deadline, however late Redis gets it: the device may have unsubscribed elsewhere.
func (s *Store) BeginCursors(ctx context.Context, user, device string, at map[string]wire.ID, ttl time.Duration) (full int, err error) {
	return s.writeCursors(ctx, "begin", user, device, at, ttl)
}

// RestoreCursors writes cursors again that Redis may have lost, where there is none. One that its device has ended stays so.
// Otherwise it is as BeginCursors.
func (s *Store) RestoreCursors(ctx context.Context, user, device string, at map[string]wire.ID, ttl time.Duration) (full int, err error) {
	return s.writeCursors(ctx, "restore", user, device, at, ttl)
}

func (s *Store) writeCursors(ctx context.Context, verb, user, device string, at map[string]wire.ID, ttl time.Duration) (full int, err error) {
	args := cursorArgs(verb, s.until(ctx), ttl, len(at))
	for to, id := range at {
		args = append(args, device+" "+to, id.String())
	}
	results, err := s.changeCursors(ctx, user, args)
	if err == nil && len(results) == 1 && len(at) > 0 {
		err = context.DeadlineExceeded
	}
	if err != nil {
		return 0, fmt.Errorf("cannot write the cursors of user %s: %w", user, err)
	}
	for _, r := range results {
		if r < 0 {
			full++
		}
	}
	return full, nil
}

// EndCursor ends a device's cursor of a target that it has unsubscribed. No ack that is on
// its way brings the cursor back: neither of what was sent, nor of anything else that is
// older than this moment, as from an earlier connection. Repeatable. Nothing is done after
// the context's deadline, however late Redis gets it: the device may have subscribed again.
func (s *Store) EndCursor(ctx context.Context, user, device, to string, sent wire.ID, ttl time.Duration) error {
	now := s.NowMs()
	args := append(cursorArgs("end", s.until(ctx), ttl, 1), device+" "+to, wire.Later(sent, wire.ID{Ms: uint64(max(now, 0))}).String())
	results, err := s.changeCursors(ctx, user, args)
	if err == nil && len(results) == 1 {
		err = context.DeadlineExceeded
	}
	if err != nil {
		return fmt.Errorf("cannot end a cursor of user %s: %w", user, err)
	}
	return nil
}

// until is the deadline of a context by Redis's clock, 0 if there is none.
func (s *Store) until(ctx context.Context) int64 {
	by, ok := ctx.Deadline()
	if !ok {
		return 0
	}
	return s.NowMs() + time.Until(by).Milliseconds()
}

// cursorArgs are the arguments of lua/cursor.lua, with room for n cursors.
func cursorArgs(verb string, latestMs int64, ttl time.Duration, n int) []any {
	return append(make([]any, 0, 4+2*n), verb, ttl.Milliseconds(), MaxCursors, latestMs)
}

// changeCursors changes one user's cursors; a key that holds no hash has none.
func (s *Store) changeCursors(ctx context.Context, user string, args []any) ([]int64, error) {
	cmds, err := runAll(ctx, s.rdb, cursors, []call{{[]string{s.keys.cursors(user)}, args}})
	if err != nil {
		return nil, err
	}
	return cmds[0].Int64Slice()
}

// endedMark stands behind the id of a cursor that was ended (lua/cursor.lua).
const endedMark = " ended"
