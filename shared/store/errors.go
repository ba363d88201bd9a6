package store

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/redis/go-redis/v9"
)

// ErrFenced says that the term is over: another worker has moved it, or the group
// is gone. What is held in memory has been read again by the successor.
var ErrFenced = errors.New("the partition has another owner now (NOGROUP)")

// A BadKey is a key that cannot be used as it is: it holds another type, or a stream
// that ends at the highest id of all. Only a person can mend it; nothing else stops for it.
type BadKey struct {
	Key string
	Why string // what Redis says
}

func (b *BadKey) Error() string { return b.Key + " cannot be used: " + b.Why }

// badKey is the *BadKey that an answer of Redis tells of; nil: it tells of none.
func badKey(key string, err error) error {
	if err == nil || !IsReply(err) || (!isWrongType(err) && !isNotAbove(err)) {
		return nil
	}
	return &BadKey{key, err.Error()}
}

// ErrNotStream says that the key of a history, or of acks, holds another type.
var ErrNotStream = errors.New("the key does not hold a stream")

// IsReply reports whether the server answered with an error, so that it is known
// that the command had no effect. Otherwise the link failed, and the command may
// have run, or may still run.
func IsReply(err error) bool {
	var r redis.Error
	return errors.As(err, &r) && !errors.Is(err, redis.Nil)
}

func isNoGroup(err error) bool {
	return err != nil && (strings.Contains(err.Error(), "NOGROUP") ||
		strings.Contains(err.Error(), "UNBLOCKED"))
}

func isBusyGroup(err error) bool { return err != nil && strings.HasPrefix(err.Error(), "BUSYGROUP") }

func isNoScript(err error) bool { return err != nil && strings.HasPrefix(err.Error(), "NOSCRIPT") }

// isWrongType: within a script the embedded Redis puts words of its own before it.
func isWrongType(err error) bool { return err != nil && strings.Contains(err.Error(), "WRONGTYPE ") }

func isNoKey(err error) bool { return err != nil && strings.Contains(err.Error(), "no such key") }

// IsFull reports whether Redis refused to write, it seems for lack of memory: of a
// transaction it says only that it was discarded.
func IsFull(err error) bool {
	return err != nil && (strings.Contains(err.Error(), "OOM command not allowed") || strings.Contains(err.Error(), "EXECABORT"))
}

// isNoMark: what lua/forward.lua says of a mark that is none.
func isNoMark(err error) bool { return err != nil && strings.Contains(err.Error(), "holds no id") }

// isMarkGone: what lua/forward.lua says of a mark that there was. The embedded Redis puts
// words of its own before it.
func isMarkGone(err error) bool { return err != nil && strings.Contains(err.Error(), "GONE ") }

// isNotAbove: a stream that ends at the highest id of all says so in other words.
func isNotAbove(err error) bool {
	return err != nil && (strings.Contains(err.Error(), "equal or smaller") ||
		strings.Contains(err.Error(), "exhausted the last possible ID"))
}

// exec sends a pipeline. Afterwards every command has an answer or an error of its own:
// whoever looks at one command need not know how the pipeline failed.
func exec(ctx context.Context, pipe redis.Pipeliner) ([]redis.Cmder, error) {
	cmds, err := pipe.Exec(ctx)
	settle(cmds, err)
	return cmds, err
}

// settle gives the error of a pipeline to its commands when none of them has one. The
// client leaves them as if they had succeeded when the server refuses the connection
// itself, before it has seen a command (WRONGPASS, NOAUTH, LOADING, NOPERM).
func settle(cmds []redis.Cmder, err error) {
	if err == nil || slices.ContainsFunc(cmds, func(c redis.Cmder) bool { return c.Err() != nil }) {
		return
	}
	for _, c := range cmds {
		c.SetErr(err)
	}
}

// firstFailure is the failure of a pipeline: no nil replies, and no answers that one
// of expected knows. A failure of the link comes before any answer, since it leaves
// open which commands have run: on a Cluster one pipeline has a link to each node,
// and Exec tells of the first command that failed only.
func firstFailure(cmds []redis.Cmder, execErr error, expected ...func(error) bool) error {
	var answer error
	for _, c := range cmds {
		err := c.Err()
		if err == nil || errors.Is(err, redis.Nil) {
			continue
		}
		if !IsReply(err) {
			return err
		}
		if answer == nil && !slices.ContainsFunc(expected, func(is func(error) bool) bool { return is(err) }) {
			answer = err
		}
	}
	if answer == nil && execErr != nil && !IsReply(execErr) && !errors.Is(execErr, redis.Nil) {
		return execErr
	}
	return answer
}
