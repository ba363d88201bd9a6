package auth

import (
	"slices"
	"strings"
	"time"

	"sluice/shared/pattern"
)

const (
	userPrefix = "user:"
	allTarget  = "all"

	// maxUserBytes is the protocol's limit for the name in a target: a user's id is the name of their own target.
	maxUserBytes = 128
	// maxTargetBytes bounds the work that a target which nobody has checked yet can cause.
	maxTargetBytes = 256
)

// Identity is a connected user and what they may do. The zero Identity may do nothing.
type Identity struct {
	// User is the id: 1 to 128 characters of A-Z a-z 0-9 . _ - : @ / + =.
	User string
	// Expires is the token's end, zero for one without end. A connection may go on until Expires plus Leeway, which
	// is as long as Verify would take its token.
	Expires time.Time
	// Granted is what a function gives besides, nil: nothing.
	Granted *Granted

	rights
}

// rights are patterns of targets.
type rights struct {
	subscribe, publish, manage, call []string

	everything bool // dev mode
}

// CanSubscribe says whether events for target may be given to this user. Their own user: target and all always may,
// another user's user: target never may, whatever the token says. It does not check that target is well formed.
func (id Identity) CanSubscribe(target string) bool {
	if id.User == "" || len(target) > maxTargetBytes {
		return false
	}
	if user, ok := strings.CutPrefix(target, userPrefix); ok {
		return user == id.User
	}
	return target == allTarget || id.everything || matchAny(id.subscribe, target)
}

// CanPublish says whether this user may send events to target. It does not check that target is well formed.
func (id Identity) CanPublish(target string) bool {
	if id.User == "" || len(target) > maxTargetBytes {
		return false
	}
	return id.everything || matchAny(id.publish, target)
}

// CanCall says whether this user may ask for a call of this name.
func (id Identity) CanCall(name string) bool {
	return id.User != "" && len(name) <= maxTargetBytes && (id.everything || matchAny(id.call, name))
}

// CanManage says whether this user may list and end the connections of a user other than themselves.
func (id Identity) CanManage(user string) bool {
	return id.User != "" && validUser(user) && (id.everything || matchAny(id.manage, userPrefix+user))
}

func matchAny(patterns []string, target string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return pattern.Match(p, target) })
}

// validUser says whether s can be a user's id.
func validUser(s string) bool {
	if s == "" || len(s) > maxUserBytes {
		return false
	}
	for _, c := range []byte(s) {
		if !isAlphanumeric(c) && strings.IndexByte("._-:@/+=", c) < 0 {
			return false
		}
	}
	return true
}

func isAlphanumeric(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}
