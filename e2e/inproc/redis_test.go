package inproc_test

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"sluice/e2e/clock"
	"sluice/shared/store/storetest"
)

// redisServer is a real redis-server whose data survive stop and start.
type redisServer struct {
	addr string
	dir  string
	env  []string
	rdb  *redis.Client // past every proxy; repeats nothing by itself

	cmd  *exec.Cmd
	out  *safeBuffer
	done chan struct{} // closed when the process has ended
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
	r := &redisServer{dir: dir, out: &safeBuffer{}, env: clock.Shift(t, dir, ahead)}
	t.Cleanup(r.stop)
	for range 5 { // another process may be quicker to take the port
		r.addr = fmt.Sprintf("127.0.0.1:%d", storetest.FreePort(t))
		err := r.start()
		if err == nil {
			break
		}
		t.Logf("redis-server did not start on %s: %v", r.addr, err)
	}
	if r.cmd == nil {
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
func (r *redisServer) start() error {
	_, port, _ := net.SplitHostPort(r.addr)
	args := append([]string{"--port", port, "--bind", "127.0.0.1", "--dir", r.dir,
		"--appendonly", "yes", "--appendfsync", "no", "--save", "", "--loglevel", "warning"}, storetest.UserOptions()...)
	cmd := exec.Command("redis-server", args...)
	cmd.Env = append(os.Environ(), r.env...)
	cmd.Stdout, cmd.Stderr = r.out, r.out
	cmd.SysProcAttr = dieWithParent()
	if err := cmd.Start(); err != nil {
		return err
	}
	done := make(chan struct{})
	go func() { _ = cmd.Wait(); close(done) }()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		select {
		case <-done:
			return fmt.Errorf("it ended: %s", r.out)
		default:
		}
		if ping(r.addr) {
			r.cmd, r.done = cmd, done
			return nil
		}
	}
	_ = cmd.Process.Kill()
	<-done
	return fmt.Errorf("it does not answer: %s", r.out)
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
	if r.cmd == nil {
		return
	}
	_ = r.cmd.Process.Kill()
	<-r.done
	r.cmd = nil
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
	if err := r.start(); err != nil {
		t.Fatal(err)
	}
}

func (r *redisServer) signal(s os.Signal) {
	if r.cmd != nil {
		_ = r.cmd.Process.Signal(s)
	}
}

type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *safeBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *safeBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}
