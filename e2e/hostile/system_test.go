package hostile_test

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"sluice/shared/testkit"

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
	gateway *testkit.Process
	addr    string // of the gateway, for clients
	admin   string // for operators
}

// binaries are built as shipped: the race detector takes many times the memory.
var binaries = testkit.Build{Packages: []string{"./gateway/cmd/gateway", "./worker/cmd/worker"}, Env: []string{"CGO_ENABLED=0"}}

// start starts a system, and ends it with the test.
func start(t *testing.T) *system {
	t.Helper()
	bin := binaries.Dir(t)
	store, s := testkit.FreeAddr(t), &system{t: t, addr: testkit.FreeAddr(t), admin: testkit.FreeAddr(t)}
	_, port, _ := net.SplitHostPort(store)
	run(t, "redis-server", nil, "--port", port, "--bind", "127.0.0.1", "--save", "", "--dir", t.TempDir(), "--maxmemory", redisMemory)
	s.redis = redis.NewClient(&redis.Options{Addr: store})
	t.Cleanup(func() { _ = s.redis.Close() })
	s.await("redis-server answers", func() error { return s.redis.Ping(ctx).Err() })
	url := "SLUICE_REDIS_URL=redis://" + store
	run(t, filepath.Join(bin, "worker"), []string{url, "SLUICE_ADMIN_ADDR=" + testkit.FreeAddr(t)})
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
			highest = max(highest, resident(s.gateway.Pid()))
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

// run starts a program, and ends it with the test.
func run(t *testing.T, path string, env []string, args ...string) *testkit.Process {
	t.Helper()
	return testkit.Program{Path: path, Args: args, Env: env}.Start(t, t)
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
