package store

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"sluice/shared/wire"
)

// Answers to calls without a connection are kept for who asks again: for so long, so many of a user, and so many bytes of them.
const (
	answersTTL   = 10 * time.Minute
	answersKept  = 1024
	answersBytes = 1 << 20
)

// PostedCall is what is known of a call without a connection.
type PostedCall struct {
	Full     bool // it was not added, since too many calls of the user wait
	Waits    bool
	Answered bool
	Answer   string // JSON; "": without data
}

func parsePosted(known string) PostedCall {
	_, answer, answered := strings.Cut(known, " ")
	switch {
	case known == "-":
		return PostedCall{Full: true}
	case answered && known[0] == '=':
		return PostedCall{Answered: true, Answer: answer}
	}
	return PostedCall{Waits: true}
}

// PostCall adds a call without a connection. One of the same user and key that waits, or was answered not long ago, is the
// same call. Repeatable. A *BadKey: it cannot be added.
func (s *Store) PostCall(ctx context.Context, c *wire.Call) (PostedCall, error) {
	p := s.keys.partition(wire.UserTarget(c.User))
	args := []any{wire.CallKey(c.ID), callsWaiting, s.NowMs() - answersTTL.Milliseconds()}
	for _, word := range c.Fields() {
		args = append(args, word)
	}
	keys := []string{s.keys.events(s.CallsOf(p)), s.keys.calling(p, c.User), s.keys.answers(p, c.User)}
	cmds, err := runAll(ctx, s.rdb, addPost, []call{{keys, args}}, isWrongType, isNotAbove)
	if err != nil {
		return PostedCall{}, fmt.Errorf("cannot add a call: %w", err)
	}
	if bad := badKey("what functions are to hear", cmds[0].Err()); bad != nil {
		return PostedCall{}, bad
	}
	known, err := cmds[0].Text()
	if err != nil {
		return PostedCall{}, fmt.Errorf("cannot add a call: %w", err)
	}
	return parsePosted(known), nil
}

// PostedCall is what is known of one that was added. Nothing: it has failed, or it is too long ago.
func (s *Store) PostedCall(ctx context.Context, user, key string) (PostedCall, error) {
	p := s.keys.partition(wire.UserTarget(user))
	known, err := s.rdb.HGet(ctx, s.keys.answers(p, user), ":"+key).Result()
	switch {
	case errors.Is(err, redis.Nil):
		return PostedCall{}, nil
	case err != nil:
		return PostedCall{}, fmt.Errorf("cannot look for the answer to a call: %w", err)
	}
	return parsePosted(known), nil
}
