package binaries_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"testing"

	"sluice/shared/testkit"

	"github.com/redis/go-redis/v9"
)

// redisServer is a real redis-server with an append-only file, which survives stop and start.
type redisServer struct {
	*testkit.Process
	*redis.Client // of the default user, who may do everything
	producers     *redis.Client
	receivers     *redis.Client // of receipts
	keeper        keeper
	port          int
	dir           string
	password      string // of the default user, and of all
	tls           bool
	options       []string // more of redis-server's
}

// startRedis starts a server on a free loopback port and waits until it answers. password may be empty.
func startRedis(t testing.TB, k keeper, password string) *redisServer {
	t.Helper()
	dir, err := os.MkdirTemp("", "sluice-redis-")
	if err != nil {
		t.Fatal(err)
	}
	k.Cleanup(func() { _ = os.RemoveAll(dir) })
	r := &redisServer{keeper: k, port: testkit.FreePort(t), dir: dir, password: password}
	r.Client = newRedisClient(fmt.Sprintf("127.0.0.1:%d", r.port), password)
	k.Cleanup(func() { _ = r.Client.Close() })
	r.producers, r.receivers = r.clientAs("producer"), r.clientAs("receipts")
	r.start(t)
	k.Cleanup(r.checkRights)
	return r
}

// newRedisClient repeats nothing by itself: an XADD whose answer was lost would otherwise be two events.
func newRedisClient(addr, password string) *redis.Client {
	return redis.NewClient(&redis.Options{Addr: addr, Password: password, MaxRetries: -1, Protocol: 2, DisableIdentity: true})
}

// start starts the server, the first time or again with the data that it had.
func (r *redisServer) start(t testing.TB) {
	t.Helper()
	path, err := exec.LookPath("redis-server")
	if err != nil {
		t.Fatal("these tests need redis-server on the PATH (Debian's package: redis-server)")
	}
	args := []string{"--port", fmt.Sprint(r.port), "--bind", "127.0.0.1", "--dir", r.dir, "--appendonly", "yes", "--save", ""}
	if r.password != "" {
		args = append(args, "--requirepass", r.password)
	}
	args = append(append(args, r.options...), r.userOptions(t)...)
	r.Process = startProcess(t, r.keeper, "redis-server", path, args)
	eventually(t, func() error {
		if r.Ended() {
			t.Fatalf("redis-server did not start\n%s", r.Tail())
		}
		return r.Ping(context.Background()).Err()
	})
}

// url is the value for SLUICE_REDIS_URL.
func (r *redisServer) url() string {
	if r.password == "" {
		return fmt.Sprintf("redis://127.0.0.1:%d", r.port)
	}
	return fmt.Sprintf("redis://:%s@127.0.0.1:%d", r.password, r.port)
}
