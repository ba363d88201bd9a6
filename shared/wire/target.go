package wire

import "errors"

// All is the target that every connection receives.
const All = "all"

const (
	userPrefix  = "user:"
	topicPrefix = "topic:"
	maxName     = 128
)

// ErrTarget says that a text names no target.
var ErrTarget = errors.New(`a target is "all", "user:<id>" or "topic:<name>", ` +
	"the name 1 to 128 characters of A-Z a-z 0-9 . _ - : @ / + =")

// CheckTarget returns ErrTarget unless s is a target. Targets are matched exactly.
func CheckTarget(s string) error {
	if s == All {
		return nil
	}
	name, ok := cutPrefix(s)
	if !ok || !ValidName(name) {
		return ErrTarget
	}
	return nil
}

func cutPrefix(s string) (name string, ok bool) {
	switch {
	case len(s) > len(userPrefix) && s[:len(userPrefix)] == userPrefix:
		return s[len(userPrefix):], true
	case len(s) > len(topicPrefix) && s[:len(topicPrefix)] == topicPrefix:
		return s[len(topicPrefix):], true
	}
	return "", false
}

// ValidName reports whether s can be the name in a target.
func ValidName(s string) bool {
	if s == "" || len(s) > maxName {
		return false
	}
	for i := range len(s) {
		if !nameChar[s[i]] {
			return false
		}
	}
	return true
}

var nameChar = func() (t [256]bool) {
	for _, c := range "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-:@/+=" {
		t[c] = true
	}
	return t
}()

// UserTarget is the target of one user's connections.
func UserTarget(user string) string { return userPrefix + user }

// TopicTarget is the target of a topic's subscribers.
func TopicTarget(name string) string { return topicPrefix + name }

// IsUser reports whether the target is a user's. Its sessions are kept per
// connection; those of topics and of All per gateway.
func IsUser(target string) bool {
	return len(target) > len(userPrefix) && target[:len(userPrefix)] == userPrefix
}
