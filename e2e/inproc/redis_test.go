package inproc_test

import (
	"errors"
	"fmt"
	"net"
	"os"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"sluice/e2e/clock"
	"sluice/shared/store/storetest"
	"sluice/shared/testkit"
)

// redisServer is a real redis-server whose data survive stop and start.
type redisServer struct {
	addr string
	dir  string
	env  []string
	rdb  *redis.Client // past every proxy; repeats nothing by itself

	process *testkit.Process // nil: not running
}

// startRedis starts a server on a free loopback port. Its clock is ahead of the processes'
// by a time.
func startRedis(t testing.TB, ahead time.Duration) *redisServer {
	t.Helper()
	dir, err := os.MkdirTemp("", "sluice-inproc-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	r := &redisServer{dir: dir, env: clock.Shift(t, dir, ahead)}
	t.Cleanup(r.stop)
	for range 5 { // another process may be quicker to take the port
		r.addr = testkit.FreeAddr(t)
		err := r.start(t)
		if err == nil {
			break
		}
		t.Logf("redis-server did not start on %s: %v", r.addr, err)
	}
	if r.process == nil {
		t.Fatal("no redis-server; these tests need one on the PATH (Debian's package: redis-server)")
	}
	r.rdb = redis.NewClient(&redis.Options{Addr: r.addr, MaxRetries: -1, Protocol: 2, DisableIdentity: true})
	t.Cleanup(func() { _ = r.rdb.Close() })
	t.Cleanup(func() { storetest.CheckRights(t, r.rdb) })
	return r
}

// start starts the server, the first time or again with the data that it had. The
// process dies, not the machine, so nothing needs to be forced to the disk; and no
// test waits for that.
func (r *redisServer) start(t testing.TB) error {
	_, port, _ := net.SplitHostPort(r.addr)
	args := append([]string{"--port", port, "--bind", "127.0.0.1", "--dir", r.dir,
		"--appendonly", "yes", "--appendfsync", "no", "--save", "", "--loglevel", "warning"}, storetest.UserOptions()...)
	p := testkit.Program{Path: "redis-server", Args: args, Env: r.env}.Start(t, nil) // stop ends it
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if p.Ended() {
			return fmt.Errorf("it ended: %s", p.Printed())
		}
		if ping(r.addr) {
			r.process = p
			return nil
		}
	}
	p.Kill()
	return fmt.Errorf("it does not answer: %s", p.Printed())
}

func ping(addr string) bool {
	c, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		return false
	}
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(time.Second))
	_, _ = c.Write([]byte("PING\r\n"))
	b := make([]byte, 7)
	n, _ := c.Read(b)
	return string(b[:n]) == "+PONG\r\n"
}

// stop kills the server: what it acknowledged is in its append-only file.
func (r *redisServer) stop() {
	if r.process != nil {
		r.process.Kill()
		r.process = nil
	}
}

// copyData keeps the data as they are now: what a replica has that lags from here on.
func (r *redisServer) copyData(t testing.TB) (dir string) {
	t.Helper()
	dir = t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(r.dir+"/appendonlydir")); err != nil {
		t.Fatal(err)
	}
	return dir
}

// failOver ends the server, and starts what has only the data of a copy in its place.
func (r *redisServer) failOver(t testing.TB, data string) {
	t.Helper()
	r.stop()
	own := r.dir + "/appendonlydir"
	if err := errors.Join(os.RemoveAll(own), os.CopyFS(own, os.DirFS(data))); err != nil {
		t.Fatal(err)
	}
	if err := r.start(t); err != nil {
		t.Fatal(err)
	}
}

func (r *redisServer) signal(s os.Signal) {
	if r.process != nil {
		r.process.TrySignal(s)
	}
}
