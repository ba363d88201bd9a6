package storetest

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"sluice/shared/store"
)

// Everybody is a user that has the rights of all tiers together: the suite's store is
// gateway, worker and producer at once.
const Everybody = "everybody"

// password is that of all users of the tests.
const password = "of-the-tests"

// UserOptions are options of a redis-server that give it the users of shared/store/acl.conf
// and Everybody, for the usual prefix. The default user may still do anything.
func UserOptions() []string {
	var args, all []string
	for _, u := range store.Users("sluice:") {
		args = append(append(args, "--user", u.Name, "on", ">"+password), u.Rules...)
		// Selectors have none inside: here theirs count for all keys of the tier.
		all = append(all, "("+strings.NewReplacer("(", "", ")", "").Replace(strings.Join(u.Rules, " "))+")")
	}
	return append(append(args, "--user", Everybody, "on", ">"+password), all...)
}

// As is a URL of Redis with the login of a user; one that has a login already stays as it is.
func As(user, url string) string {
	if strings.Contains(url, "@") {
		return url
	}
	return strings.Replace(url, "://", "://"+user+":"+password+"@", 1)
}

// CheckRights fails the test if a server refused something to one of the users for lack of
// a right since it started, or since the last look.
func CheckRights(tb testing.TB, rdb *redis.Client) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	log, err := rdb.ACLLog(ctx, 100).Result()
	if err != nil { // it is stopped, or paused, or not that old
		return
	}
	for _, e := range log {
		if e.Reason != "auth" && e.Username != "default" { // to that one tests forbid things
			tb.Errorf("the user %q lacks a right: it was refused the %s %q (%s), %d times, the last time to %q: "+
				"add it to shared/store/acl.conf, if this tier needs it", e.Username, e.Reason, e.Object, e.Context, e.Count, commandOf(e.ClientInfo))
		}
	}
	_ = rdb.ACLLogReset(ctx).Err()
}

// commandOf is what the client was doing.
func commandOf(info *redis.ClientInfo) string {
	if info == nil {
		return "?"
	}
	return fmt.Sprint(info.LastCmd)
}
