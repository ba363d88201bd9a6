package store

import (
	"context"
	"fmt"

	"github.com/redis/go-redis/v9"

	"sluice/shared/wire"
)

// Session is one field of a target's session Hash.
type Session struct {
	Target string
	Field  string // connection id for users, the gateway's id for topics and all
}

// SessionField is the field of a connection's session for a target.
func SessionField(target, conn, server string) string {
	if wire.IsUser(target) {
		return conn
	}
	return server
}

// Register writes session fields, in one pipeline, and reports for each whether
// it was not there before. The value ends at expiresMs. Repeatable. When the error is a
// RefusedSessions, all others were written.
func (s *Store) Register(ctx context.Context, server string, expiresMs int64, sessions []Session) (added []bool, err error) {
	pipe := s.rdb.Pipeline()
	value := sessionValue(server, expiresMs)
	cmds := make([]*redis.IntCmd, len(sessions))
	for i, x := range sessions {
		key := s.keys.session(s.keys.partition(x.Target), x.Target)
		cmds[i] = pipe.HSet(ctx, key, x.Field, value)
		pipe.PExpire(ctx, key, s.cfg.SessionTTL)
	}
	all, err := exec(ctx, pipe)
	if err := firstFailure(all, err, isWrongType); err != nil {
		return nil, fmt.Errorf("cannot write sessions: %w", err)
	}
	added = make([]bool, len(sessions))
	refused := make(RefusedSessions)
	for i, c := range cmds {
		x := sessions[i]
		if bad := badKey(s.keys.session(s.keys.partition(x.Target), x.Target), c.Err()); bad != nil {
			refused[x] = bad
		}
		added[i] = c.Val() > 0
	}
	if len(refused) > 0 {
		return added, refused
	}
	return added, nil
}

// RefusedSessions are session fields that cannot be written, each with its *BadKey.
type RefusedSessions map[Session]error

func (r RefusedSessions) Error() string {
	for _, err := range r {
		return fmt.Sprintf("%d sessions cannot be written, the first: %v", len(r), err)
	}
	return "no session was refused"
}

// Unregistration is a session field to be removed if it ends at Expires or earlier.
type Unregistration struct {
	Session
	Expires int64
}

// Unregister removes session fields, in one pipeline. A field that has been written
// anew since stays. Repeatable.
func (s *Store) Unregister(ctx context.Context, server string, gone []Unregistration) error {
	calls := make([]call, len(gone))
	for i, u := range gone {
		calls[i] = call{
			[]string{s.keys.session(s.keys.partition(u.Target), u.Target)},
			[]any{u.Field, server, u.Expires},
		}
	}
	if _, err := runAll(ctx, s.rdb, unregister, calls); err != nil {
		return fmt.Errorf("cannot remove sessions: %w", err)
	}
	return nil
}

// Sweep removes the expired fields of session Hashes.
func (s *Store) Sweep(ctx context.Context, targets []string) (removed int64, err error) {
	calls := make([]call, len(targets))
	for i, t := range targets {
		calls[i] = call{[]string{s.keys.session(s.keys.partition(t), t)}, []any{s.NowMs()}}
	}
	cmds, err := runAll(ctx, s.rdb, sweep, calls)
	if err != nil {
		return 0, fmt.Errorf("cannot sweep sessions: %w", err)
	}
	for _, c := range cmds {
		n, _ := c.Int64()
		removed += n
	}
	return removed, nil
}
