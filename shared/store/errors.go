package store

import (
	"errors"
	"strings"

	"github.com/redis/go-redis/v9"
)

// ErrFenced says that the reign is over: another worker has moved it, or the group
// is gone. What is held in memory has been read again by the successor.
var ErrFenced = errors.New("the reign over a partition is over (NOGROUP)")

// ErrNotStream says that the key of a history holds another type.
var ErrNotStream = errors.New("the history's key holds no stream")

// IsReply reports whether the server answered with an error, so that it is known
// that the command had no effect. Otherwise the link failed, and the command may
// have run, or may still run.
func IsReply(err error) bool {
	var r redis.Error
	return errors.As(err, &r) && !errors.Is(err, redis.Nil)
}

// Answers of a server that cannot do the command now but may be able to later.
var transientPrefixes = []string{
	"OOM", "LOADING", "READONLY", "MISCONF", "BUSY", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN",
	"NOAUTH", "NOPERM", "WRONGPASS", "NOREPLICAS", "EXECABORT", "MOVED", "ASK",
	"ERR max number of clients", "ERR command is not allowed",
}

func isTransientReply(err error) bool {
	if !IsReply(err) {
		return false
	}
	for _, p := range transientPrefixes {
		if strings.Contains(err.Error(), p) {
			return true
		}
	}
	return false
}

func isNoGroup(err error) bool {
	return err != nil && (strings.Contains(err.Error(), "NOGROUP") ||
		strings.Contains(err.Error(), "UNBLOCKED"))
}

func isMoved(err error) bool {
	return strings.HasPrefix(err.Error(), "MOVED") || strings.HasPrefix(err.Error(), "ASK")
}

func isNoScript(err error) bool { return err != nil && strings.HasPrefix(err.Error(), "NOSCRIPT") }

func isWrongType(err error) bool { return err != nil && strings.HasPrefix(err.Error(), "WRONGTYPE") }

func isNotAbove(err error) bool {
	return err != nil && strings.Contains(err.Error(), "equal or smaller")
}

// firstFailure is the first error of a pipeline that is not a nil reply. Link
// failures come first: they say that any of the commands may not have run.
func firstFailure(cmds []redis.Cmder, execErr error) error {
	if execErr != nil && !IsReply(execErr) && !errors.Is(execErr, redis.Nil) {
		return execErr
	}
	for _, c := range cmds {
		if err := c.Err(); err != nil && !errors.Is(err, redis.Nil) {
			return err
		}
	}
	return nil
}
