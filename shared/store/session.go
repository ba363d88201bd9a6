package store

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

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
// RefusedSessions, all others were written. about is what Connections tells of each; "", or
// none at all: nothing.
func (s *Store) Register(ctx context.Context, server string, expiresMs int64, sessions []Session, about ...string) (added []bool, err error) {
	pipe := s.rdb.Pipeline()
	value := sessionValue(server, expiresMs)
	cmds := make([]*redis.IntCmd, len(sessions))
	for i, x := range sessions {
		p := s.keys.partition(x.Target)
		key := s.keys.session(p, x.Target)
		cmds[i] = pipe.HSet(ctx, key, x.Field, value)
		pipe.PExpire(ctx, key, s.cfg.SessionTTL)
		if i < len(about) && about[i] != "" {
			key = s.keys.about(p, x.Target)
			pipe.HSet(ctx, key, x.Field, about[i])
			pipe.PExpire(ctx, key, s.cfg.SessionTTL)
		}
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
// again since stays. Repeatable.
func (s *Store) Unregister(ctx context.Context, server string, gone []Unregistration) error {
	calls := make([]call, len(gone))
	for i, u := range gone {
		p := s.keys.partition(u.Target)
		calls[i] = call{
			[]string{s.keys.session(p, u.Target), s.keys.about(p, u.Target)},
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
		p := s.keys.partition(t)
		calls[i] = call{[]string{s.keys.session(p, t), s.keys.about(p, t)}, []any{s.NowMs()}}
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

// Route asks who holds a target.
type Route struct {
	Partition int
	Target    string

	Servers []string // result: gateways with a live session, once each
	Expired bool     // result: there are expired fields to be swept
	Bad     error    // result: a *BadKey, so that nobody counts as a holder
}

// ask adds the command for one route.
func (l *Lane) ask(ctx context.Context, pipe redis.Pipeliner, r *Route) *redis.StringSliceCmd {
	w := &l.words
	w.add("hvals", l.s.keys.session(r.Partition, r.Target))
	fields := redis.NewStringSliceCmd(ctx, w.end()...)
	_ = pipe.Process(ctx, fields) // Exec says what failed
	return fields
}

// answered takes the answer.
func (s *Store) answered(r *Route, fields *redis.StringSliceCmd) {
	r.Servers, r.Expired = liveServers(fields.Val(), s.NowMs(), r.Servers[:0])
	r.Bad = nil
	if err := fields.Err(); err != nil {
		r.Bad = badKey(s.keys.session(r.Partition, r.Target), err)
	}
}

// Holders reads which gateways hold each target, in one pipeline.
func (s *Store) Holders(ctx context.Context, targets []string) ([][]string, error) {
	pipe := s.rdb.Pipeline()
	sessions := make([]*redis.StringSliceCmd, len(targets))
	for i, t := range targets {
		sessions[i] = pipe.HVals(ctx, s.keys.session(s.keys.partition(t), t))
	}
	cmds, err := exec(ctx, pipe)
	if err := firstFailure(cmds, err, isWrongType); err != nil {
		return nil, fmt.Errorf("cannot read sessions: %w", err)
	}
	holders := make([][]string, len(targets))
	for i, c := range sessions {
		holders[i], _ = liveServers(c.Val(), s.NowMs(), nil)
	}
	return holders, nil
}

// liveServers reads session fields "<serverID> <expires-unix-ms>".
func liveServers(fields []string, nowMs int64, out []string) (servers []string, expired bool) {
	for _, f := range fields {
		server, exp, _ := strings.Cut(f, " ")
		if ms, err := strconv.ParseInt(exp, 10, 64); err != nil || ms < nowMs {
			expired = true
			continue
		}
		if !slices.Contains(out, server) {
			out = append(out, server)
		}
	}
	return out, expired
}

// sessionValue is the value of a session's field.
func sessionValue(server string, expiresMs int64) string {
	return server + " " + strconv.FormatInt(expiresMs, 10)
}
