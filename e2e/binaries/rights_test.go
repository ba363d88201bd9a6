package binaries_test

import (
	"cmp"
	"fmt"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/redis/go-redis/v9"
)

// usersOnce is what `worker acl` prints: the users of Redis and what they may do, one for each tier.
var usersOnce struct {
	sync.Mutex
	lines []string
}

func userLines(t testing.TB) []string {
	t.Helper()
	usersOnce.Lock()
	defer usersOnce.Unlock()
	if usersOnce.lines == nil {
		out, err := exec.Command(binary(t, "worker"), "acl").Output()
		if err != nil {
			t.Fatalf("worker acl: %v", err)
		}
		usersOnce.lines = strings.Split(strings.TrimSpace(string(out)), "\n")
	}
	return usersOnce.lines
}

// userOptions are options of redis-server that give it these users.
func (r *redisServer) userOptions(t testing.TB) (args []string) {
	t.Helper()
	for _, line := range userLines(t) {
		words := strings.Fields(line) // user NAME RULE...
		args = append(append(args, "--user", words[1], "on", ">"+r.userPassword()), words[2:]...)
	}
	return args
}

func (r *redisServer) userPassword() string { return cmp.Or(r.password, "password-of-users") }

// as is the value for SLUICE_REDIS_URL with the user of a tier.
func (r *redisServer) as(user string) string {
	scheme := "redis"
	if r.tls {
		scheme = "rediss"
	}
	return fmt.Sprintf("%s://%s:%s@127.0.0.1:%d", scheme, user, r.userPassword(), r.port)
}

// clientAs is a client that has the rights of a tier only.
func (r *redisServer) clientAs(user string) *redis.Client {
	c := redis.NewClient(&redis.Options{
		Addr: fmt.Sprintf("127.0.0.1:%d", r.port), Username: user, Password: r.userPassword(), MaxRetries: -1, Protocol: 2, DisableIdentity: true,
	})
	r.keeper.Cleanup(func() { _ = c.Close() })
	return c
}

// urlFor is the value for SLUICE_REDIS_URL of a process. The users are those of the usual prefix.
func (c *cluster) urlFor(kind string) string {
	if c.prefix != "sluice:" {
		return c.url()
	}
	return c.as(kind)
}

// checkRights fails the test if Redis refused something to a user for lack of a right.
func (r *redisServer) checkRights() {
	log, err := r.ACLLog(ctx, 100).Result()
	if err != nil { // it does not run
		return
	}
	for _, e := range log {
		if e.Reason != "auth" && e.Username != "default" && !strings.HasPrefix(e.Username, "tenant-") {
			r.keeper.Errorf("the user %q lacks a right: it was refused the %s %q (%s), %d times: add it to shared/store/acl.conf, if this tier needs it",
				e.Username, e.Reason, e.Object, e.Context, e.Count)
		}
	}
}

// TestRights: the users of Redis for another prefix have nothing of ours, and with theirs a system works. A tier that
// lacks a right is told, and does nothing wrong.
func TestRights(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	out, err := exec.Command("env", "SLUICE_PREFIX=tenant*:", binary(t, "worker"), "acl").Output()
	if err != nil {
		t.Fatalf("worker acl: %v", err)
	}
	own := &cluster{redisServer: c.redisServer, prefix: "tenant*:", partitions: 16, env: []string{"SLUICE_PREFIX=tenant*:"}}
	for line := range strings.Lines(string(out)) {
		words := strings.Fields(line)
		if strings.Contains(line, "sluice:") {
			t.Errorf("rights to another prefix: %s", line)
		}
		rules := []any{"ACL", "SETUSER", "tenant-" + words[1], "on", ">tenant"}
		for _, rule := range words[2:] {
			rules = append(rules, rule)
		}
		if err := c.Do(ctx, rules...).Err(); err != nil {
			t.Fatal(err)
		}
	}
	url := func(kind string) string {
		return fmt.Sprintf("SLUICE_REDIS_URL=redis://tenant-%s:tenant@127.0.0.1:%d", kind, c.port)
	}
	g := own.startGateway(t, url("gateway"))
	own.startWorker(t, url("worker"))
	s := join(t, g, "anna")
	own.send(t, "user:anna", number(0))
	s.waitEvents("user:anna", 1)
	for _, key := range []string{"sluice:meta", "tenantx:meta"} {
		dry, err := c.Do(ctx, "ACL", "DRYRUN", "tenant-worker", "HGETALL", key).Text()
		if err != nil || dry == "OK" {
			t.Errorf("a worker of another prefix may read %s: %s, %v", key, dry, err)
		}
	}
	for user, commands := range map[string][][]any{
		"tenant-producer": {{"XRANGE", "tenant*:{1}:history:topic:a", "-", "+"}, {"GET", "tenant*:{1}:lease"}, {"DEL", "tenant*:events"}, {"XTRIM", "tenant*:events", "MAXLEN", "0"}},
		"tenant-receipts": {{"XADD", "tenant*:{1}:acks", "*", "a", "b"}, {"XADD", "tenant*:events", "*", "a", "b"}, {"XRANGE", "tenant*:{1}:events", "-", "+"}},
		"tenant-gateway":  {{"DEL", "tenant*:meta"}, {"XREADGROUP", "GROUP", "g", "c", "STREAMS", "tenant*:events", ">"}, {"SET", "tenant*:{1}:lease", "me"}, {"FLUSHALL"}, {"CONFIG", "GET", "*"}},
		"tenant-worker":   {{"FLUSHALL"}, {"CONFIG", "GET", "*"}, {"KEYS", "*"}, {"ACL", "LIST"}, {"SHUTDOWN"}},
	} {
		for _, command := range commands {
			dry, err := c.Do(ctx, append([]any{"ACL", "DRYRUN", user}, command...)...).Text()
			if err != nil || dry == "OK" {
				t.Errorf("%s may %v: %s, %v", user, command, dry, err)
			}
		}
	}
}
