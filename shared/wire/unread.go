package wire

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// How long an event may wait until one of its user's devices has acknowledged it.
const (
	LeastUnread = time.Second
	MostUnread  = 24 * time.Hour
)

// ErrUnread says that an event cannot wait to be acknowledged: its time is none, it is of no user, or it is live only.
var ErrUnread = errors.New("unread is a duration from 1s to 24h, of an event for user:<id> that is retained")

// CheckUnread says whether an event may have unread; "" always may.
func CheckUnread(to, unread string, live bool) (time.Duration, error) {
	if unread == "" {
		return 0, nil
	}
	d, err := time.ParseDuration(unread)
	if err != nil || d < LeastUnread || d > MostUnread || live || !strings.HasPrefix(to, userPrefix) {
		return 0, ErrUnread
	}
	return d, nil
}

// UnreadKey names an event of a user among those that wait to be acknowledged. Those of a user have the order of their ids, also as
// text. No user's name has a space.
func UnreadKey(user string, id ID) string { return fmt.Sprintf("%s %016x%016x", user, id.Ms, id.Seq) }

// ParseUnreadKey reads what UnreadKey made.
func ParseUnreadKey(key string) (user string, id ID, ok bool) {
	user, hex, _ := strings.Cut(key, " ")
	if !ValidName(user) || len(hex) != 32 {
		return "", ID{}, false
	}
	ms, err := strconv.ParseUint(hex[:16], 16, 64)
	seq, errSeq := strconv.ParseUint(hex[16:], 16, 64)
	return user, ID{ms, seq}, err == nil && errSeq == nil
}

// UnreadID is the id of the event for functions that tells of one that nobody has acknowledged: there is one.
func UnreadID(user string, id ID) string { return "unread:" + user + " " + id.String() }
