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

// Moved is what MoveCursors did besides.
type Moved struct {
	Evicted int64    // cursors of devices that were silent for the longest, of users who have MaxCursors
	Read    int64    // events that wait to be acknowledged no more
	Failed  []string // users whose key holds no hash
}

// MoveCursors moves cursors forward, never back: a script for each user, in one
// pipeline. Repeatable. They live for ttl from now on.
func (s *Store) MoveCursors(ctx context.Context, acks []*Cursor, ttl time.Duration) (moved Moved, err error) {
	var users []string
	byUser := make(map[string][]*Cursor)
	for _, c := range acks {
		c.Moved, c.Full = false, false
		if byUser[c.User] == nil {
			users = append(users, c.User)
		}
		byUser[c.User] = append(byUser[c.User], c)
	}
	for len(users) > 0 {
		if users, err = s.moveCursors(ctx, users, byUser, ttl, &moved); err != nil {
			return moved, err
		}
	}
	return moved, nil
}

// readAtOnce is how many events of a user one run of lua/cursor.lua takes off those that wait.
const readAtOnce = 1000

// moveCursors does it once. again are users of whom more may wait.
func (s *Store) moveCursors(ctx context.Context, users []string, byUser map[string][]*Cursor, ttl time.Duration, moved *Moved) (again []string, err error) {
	calls := make([]call, len(users))
	for i, user := range users {
		target := wire.UserTarget(user)
		args := cursorArgs("move", 0, ttl, len(byUser[user]))
		var read wire.ID
		for _, c := range byUser[user] {
			args = append(args, c.Device+" "+c.To, c.ID.String())
			if c.To == target {
				read = wire.Later(read, c.ID)
			}
		}
		if !read.IsZero() {
			args[4] = wire.UnreadKey(user, read)
		}
		p := s.keys.partition(target)
		calls[i] = call{[]string{s.keys.cursors(user), s.keys.unread(p), s.keys.unreadOf(p)}, args}
	}
	cmds, err := runAll(ctx, s.rdb, cursors, calls)
	if err != nil {
		return nil, fmt.Errorf("cannot move cursors: %w", err)
	}
	for i, cmd := range cmds {
		user := users[i]
		results, err := cmd.Int64Slice()
		if err != nil {
			return nil, fmt.Errorf("cannot move the cursors of user %s: %w", user, err)
		}
		if len(results) != 2+len(byUser[user]) {
			moved.Failed = append(moved.Failed, user)
			continue
		}
		moved.Evicted, moved.Read = moved.Evicted+results[0], moved.Read+results[1]
		if results[1] == readAtOnce {
			again = append(again, user)
		}
		for j, c := range byUser[user] {
			c.Moved, c.Full = c.Moved || results[2+j] > 0, results[2+j] < 0
		}
	}
	return again, nil
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
	return append(make([]any, 0, 5+2*n), verb, ttl.Milliseconds(), MaxCursors, latestMs, "")
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
