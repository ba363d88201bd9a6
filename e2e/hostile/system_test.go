package hostile_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/redis/go-redis/v9"
)

const (
	secret = "a-secret-of-the-hostile-suite-0123456789"

	memoryBound = 512 << 20 // of the gateway's resident memory, in bytes
	memoryLimit = "400MiB"  // what Go is told of it
	redisMemory = "640mb"
)

var ctx = context.Background()

// system is a gateway, a worker and a redis-server.
type system struct {
	t       *testing.T
	redis   *redis.Client
	gateway *process
	addr    string // of the gateway, for clients
	admin   string // for operators
}

// binaries builds the programs once, and returns the directory that holds them.
var binaries = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "sluice-hostile-")
	if err != nil {
		return "", err
	}
	build := exec.Command("go", "build", "-o", dir+string(filepath.Separator), "sluice/gateway/cmd/gateway", "sluice/worker/cmd/worker")
	build.Env = append(os.Environ(), "CGO_ENABLED=0") // as shipped: the race detector takes many times the memory
	if out, err := build.CombinedOutput(); err != nil {
		return dir, fmt.Errorf("%s: %w\n%s", build, err, out)
	}
	return dir, nil
})

// start starts a system, and ends it with the test.
func start(t *testing.T) *system {
	t.Helper()
	bin, err := binaries()
	if err != nil {
		t.Fatal(err)
	}
	store, s := freeAddr(t), &system{t: t, addr: freeAddr(t), admin: freeAddr(t)}
	_, port, _ := net.SplitHostPort(store)
	run(t, "redis-server", nil, "--port", port, "--bind", "127.0.0.1", "--save", "", "--dir", t.TempDir(), "--maxmemory", redisMemory)
	s.redis = redis.NewClient(&redis.Options{Addr: store})
	t.Cleanup(func() { _ = s.redis.Close() })
	s.await("redis-server answers", func() error { return s.redis.Ping(ctx).Err() })
	url := "SLUICE_REDIS_URL=redis://" + store
	run(t, filepath.Join(bin, "worker"), []string{url, "SLUICE_ADMIN_ADDR=" + freeAddr(t)})
	s.gateway = run(t, filepath.Join(bin, "gateway"), []string{
		url, "SLUICE_ADDR=" + s.addr, "SLUICE_ADMIN_ADDR=" + s.admin, "SLUICE_ADMIN_PPROF=true", "SLUICE_JWT_SECRET=" + secret, "GOMEMLIMIT=" + memoryLimit,
	})
	s.await("the gateway is ready", func() error {
		resp, err := http.Get("http://" + s.admin + "/readyz")
		if err != nil {
			return err
		}
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("status %d", resp.StatusCode)
		}
		return nil
	})
	return s
}

func (s *system) await(what string, check func() error) {
	s.t.Helper()
	if err := eventually(patience, check); err != nil {
		s.t.Fatalf("%s: not so after %v: %v", what, patience, err)
	}
}

// fill makes histories as large as they may be, and waits until they are there.
func (s *system) fill(topics, events, size int) {
	s.t.Helper()
	pad := strings.Repeat("x", size)
	for n := range events {
		pipe := s.redis.Pipeline()
		for i := range topics {
			pipe.XAdd(ctx, &redis.XAddArgs{Stream: "sluice:events", Values: []any{"to", "topic:" + largeTopic(i), "data", pad}})
		}
		if _, err := pipe.Exec(ctx); err != nil {
			s.t.Fatalf("event %d: %v", n, err)
		}
	}
	s.await("the histories are full", func() error {
		all := s.redis.Keys(ctx, "sluice:*:history:topic:large-*").Val()
		for _, key := range all {
			if n := s.redis.XLen(ctx, key).Val(); n < int64(events)*3/4 {
				return fmt.Errorf("%s has %d events", key, n)
			}
		}
		if len(all) != topics {
			return fmt.Errorf("%d of %d histories", len(all), topics)
		}
		return nil
	})
}

// state is what a gateway says of itself.
type state struct{ connections, goroutines, heap float64 }

// look reads the state after a collection, which a profile of the heap begins with.
func (s *system) look() (state, error) {
	if _, err := s.get("/debug/pprof/heap?gc=1"); err != nil {
		return state{}, err
	}
	text, err := s.get("/metrics")
	if err != nil {
		return state{}, err
	}
	value := func(name string) (v float64) {
		for line := range strings.Lines(string(text)) {
			if f := strings.Fields(line); len(f) == 2 && (f[0] == name || strings.HasPrefix(f[0], name+"{")) {
				n, _ := strconv.ParseFloat(f[1], 64)
				v += n
			}
		}
		return v
	}
	return state{value("sluice_gateway_connections") + value("sluice_gateway_pending_connections"), value("go_goroutines"), value("go_memstats_heap_alloc_bytes")}, nil
}

func (s *system) get(path string) ([]byte, error) {
	client := http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get("http://" + s.admin + path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	var text bytes.Buffer
	if _, err = text.ReadFrom(resp.Body); err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: status %d: %s", path, resp.StatusCode, text.Bytes())
	}
	return text.Bytes(), err
}

// watchMemory returns what the gateway's resident memory was at most until the call of most, in bytes; 0 where there is no
// /proc.
func (s *system) watchMemory() (most func() int) {
	stop, peak := make(chan struct{}), make(chan int)
	go func() {
		highest, tick := 0, time.NewTicker(20*time.Millisecond)
		defer tick.Stop()
		for {
			highest = max(highest, resident(s.gateway.cmd.Process.Pid))
			select {
			case <-tick.C:
			case <-stop:
				peak <- highest
				return
			}
		}
	}()
	return func() int { close(stop); return <-peak }
}

func resident(pid int) int {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if f := strings.Fields(string(text)); len(f) > 1 {
		pages, _ := strconv.Atoi(f[1])
		return pages * os.Getpagesize()
	}
	return 0
}

// process is a started program with the end of what it has printed.
type process struct {
	name string
	cmd  *exec.Cmd
	done chan struct{}

	mu   sync.Mutex
	said []string
}

// run starts a program, and ends it with the test.
func run(t *testing.T, path string, env []string, args ...string) *process {
	t.Helper()
	p := &process{name: filepath.Base(path), cmd: exec.Command(path, args...), done: make(chan struct{})}
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "SLUICE_") {
			p.cmd.Env = append(p.cmd.Env, v)
		}
	}
	p.cmd.Env = append(p.cmd.Env, env...)
	p.cmd.SysProcAttr = dieWithParent()
	out, in, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	p.cmd.Stdout, p.cmd.Stderr = in, in
	if err := p.cmd.Start(); err != nil {
		t.Fatalf("cannot start %s: %v", p.name, err)
	}
	_ = in.Close()
	go func() {
		defer close(p.done)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			p.mu.Lock()
			p.said = append(p.said[max(0, len(p.said)-50):], lines.Text())
			p.mu.Unlock()
		}
		_ = out.Close()
		_ = p.cmd.Wait() // its outcome is in ProcessState
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill() // already ended is as good
		<-p.done
		if t.Failed() {
			t.Logf("%s printed at last:\n%s", p.name, strings.Join(p.said, "\n"))
		}
	})
	return p
}

// ended reports whether the process has ended.
func (p *process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

// tokenOf is a token of a user who may do what clients do.
func tokenOf(user string) string {
	all := []string{"topic:*"}
	token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{
		"sub": user, "exp": time.Now().Add(time.Hour).Unix(), "sluice": map[string]any{"subscribe": all, "publish": all},
	}).SignedString([]byte(secret))
	if err != nil {
		panic(err) // a claim that is no JSON
	}
	return token
}
