package binaries_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sluice/shared/testkit"

	"github.com/redis/go-redis/v9"
)

// ctx is for commands to Redis that have their own time limits.
var ctx = context.Background()

// cluster is a Redis with the gateways and workers that were started on it.
type cluster struct {
	*redisServer
	prefix     string
	partitions int
	env        []string // for every process of the cluster
	gateways   []*server
	workers    []*server

	mu    sync.Mutex // guards all
	all   []*server
	count int
}

// server is a gateway or a worker.
type server struct {
	*testkit.Process
	id    string
	addr  string // for clients; a gateway's
	admin string
}

// newCluster starts a Redis, gateways with dev tokens, and workers, all with the settings env.
func newCluster(t testing.TB, k keeper, gateways, workers int, env ...string) *cluster {
	t.Helper()
	binary(t, "gateway") // when it cannot be built, a Redis and its log would only be noise
	return clusterOn(t, k, startRedis(t, k, ""), gateways, workers, env...)
}

func clusterOn(t testing.TB, k keeper, r *redisServer, gateways, workers int, env ...string) *cluster {
	t.Helper()
	c := &cluster{redisServer: r, prefix: "sluice:", partitions: 16, env: env}
	for range gateways {
		c.gateways = append(c.gateways, c.launchGateway(t, k))
	}
	for range workers {
		c.workers = append(c.workers, c.launchWorker(t, k))
	}
	for _, s := range c.all {
		s.waitReady(t)
	}
	return c
}

// sharedClusterOnce holds the cluster of all tests that bring target names of their own and stop nothing.
var sharedClusterOnce struct {
	sync.Mutex
	tried bool
	*cluster
}

// sharedCluster is two gateways with dev tokens and two workers. Its history is longer than the default, so that a slow
// machine's replay is not overtaken by trimming.
func sharedCluster(t *testing.T) *cluster {
	t.Helper()
	sharedClusterOnce.Lock()
	defer sharedClusterOnce.Unlock()
	if !sharedClusterOnce.tried {
		sharedClusterOnce.tried = true
		sharedClusterOnce.cluster = newCluster(t, suite, 2, 2, "SLUICE_HISTORY_SIZE=5000")
	}
	c := sharedClusterOnce.cluster
	if c == nil {
		t.Fatal("the shared cluster did not start: see the test that tried it first")
	}
	t.Cleanup(func() {
		if t.Failed() {
			for _, s := range append(append([]*server(nil), c.gateways...), c.workers...) {
				t.Log(s.Tail())
			}
		}
	})
	return c
}

// launchGateway starts a gateway and does not wait for it. env is added to the cluster's.
func (c *cluster) launchGateway(t testing.TB, k keeper, env ...string) *server {
	t.Helper()
	return c.launch(t, k, "gateway", testkit.FreeAddr(t), append([]string{"SLUICE_AUTH=dev"}, env...))
}

func (c *cluster) launchWorker(t testing.TB, k keeper, env ...string) *server {
	t.Helper()
	return c.launch(t, k, "worker", "", env)
}

// startGateway starts one more gateway, for the test's time, and waits until it is ready.
func (c *cluster) startGateway(t *testing.T, env ...string) *server {
	t.Helper()
	s := c.launchGateway(t, t, env...)
	s.waitReady(t)
	return s
}

func (c *cluster) startWorker(t *testing.T, env ...string) *server {
	t.Helper()
	s := c.launchWorker(t, t, env...)
	s.waitReady(t)
	return s
}

func (c *cluster) launch(t testing.TB, k keeper, kind, addr string, env []string) *server {
	t.Helper()
	c.mu.Lock()
	c.count++
	s := &server{id: fmt.Sprintf("%s-%d", kind, c.count), addr: addr, admin: testkit.FreeAddr(t)}
	c.all = append(c.all, s)
	c.mu.Unlock()
	given := []string{"SLUICE_REDIS_URL=" + c.urlFor(kind), "SLUICE_SERVER_ID=" + s.id, "SLUICE_ADMIN_ADDR=" + s.admin}
	if addr != "" {
		given = append(given, "SLUICE_ADDR="+addr)
	}
	given = append(append(given, c.env...), env...)
	s.Process = startProcess(t, k, s.id, binary(t, kind), nil, given...)
	return s
}

// waitReady waits until /readyz says yes.
func (s *server) waitReady(t testing.TB) {
	t.Helper()
	eventually(t, func() error {
		if s.Ended() {
			t.Fatalf("%s exited with %d instead of getting ready\n%s", s.Name, s.ExitCode(t, 0), s.Tail())
		}
		if status, body := s.get("/readyz"); status != http.StatusOK {
			return fmt.Errorf("%s is not ready: /readyz gives %d %q\n%s", s.Name, status, body, s.Tail())
		}
		return nil
	})
}

// get asks the admin address and returns status and body; status 0 says that there was no answer.
func (s *server) get(path string) (int, string) {
	return httpGet("http://" + s.admin + path)
}

func httpGet(url string) (int, string) {
	hc := http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	answer, err := hc.Get(url)
	if err != nil {
		return 0, err.Error()
	}
	defer func() { _ = answer.Body.Close() }()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		return 0, err.Error()
	}
	return answer.StatusCode, string(body)
}

// The keys of the contract.

func (c *cluster) partitionKey(p int, rest string) string {
	return c.prefix + "{" + hashTag(p, c.partitions) + "}:" + rest
}
func (c *cluster) key(target, rest string) string {
	return c.partitionKey(int(crc16(target))%c.partitions, rest)
}
func (c *cluster) intake() string                { return c.prefix + "events" }
func (c *cluster) ingress(target string) string  { return c.key(target, "events") }
func (c *cluster) history(target string) string  { return c.key(target, "history:"+target) }
func (c *cluster) sessions(target string) string { return c.key(target, "session:"+target) }
func (c *cluster) dead() string                  { return c.prefix + "dead" }

// entry is a stream entry to add: fields and values alternate.
type entry struct {
	stream string
	fields []string
}

func fields(target, data string, more ...string) []string {
	return append([]string{"to", target, "data", data}, more...)
}

// send adds an event to the intake and returns the intake's id, which is not the event's.
func (c *cluster) send(t testing.TB, target, data string, more ...string) string {
	t.Helper()
	return c.addAll(t, entry{c.intake(), fields(target, data, more...)})[0]
}

// sendDirect adds an event to the stream of its partition and returns its id, which is the event's.
func (c *cluster) sendDirect(t testing.TB, target, data string, more ...string) string {
	t.Helper()
	return c.addAll(t, entry{c.ingress(target), fields(target, data, more...)})[0]
}

// addAll adds the entries in their order, pipelined, and returns their ids.
func (c *cluster) addAll(t testing.TB, entries ...entry) []string {
	t.Helper()
	ids, err := c.tryAddAll(entries)
	if err != nil {
		t.Fatalf("XADD: %v", err)
	}
	return ids
}

func (c *cluster) tryAddAll(entries []entry) ([]string, error) {
	const chunk = 500
	producers := c.producers
	if c.prefix != "sluice:" {
		producers = c.Client
	}
	var ids []string
	for len(entries) > 0 {
		now := entries[:min(chunk, len(entries))]
		entries = entries[len(now):]
		answers, err := producers.Pipelined(ctx, func(p redis.Pipeliner) error {
			for _, e := range now {
				p.XAdd(ctx, &redis.XAddArgs{Stream: e.stream, Values: e.fields})
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
		for _, a := range answers {
			ids = append(ids, a.(*redis.StringCmd).Val())
		}
	}
	return ids, nil
}

// numbered are events {"n":from} to {"n":to-1} for one stream.
func numbered(stream, target string, from, to int) []entry {
	var entries []entry
	for n := from; n < to; n++ {
		entries = append(entries, entry{stream, fields(target, number(n))})
	}
	return entries
}

func number(n int) string { return fmt.Sprintf(`{"n":%d}`, n) }

// waitHistory waits until a target's history ends with the event.
func (c *cluster) waitHistory(t testing.TB, target, id string) {
	t.Helper()
	eventually(t, func() error {
		last, err := c.XRevRangeN(ctx, c.history(target), "+", "-", 1).Result()
		if err != nil {
			return err
		}
		if len(last) == 0 || last[0].ID != id {
			return fmt.Errorf("%s ends with %v, not with %s", c.history(target), last, id)
		}
		return nil
	})
}

// pacer adds events at a steady rate, in a goroutine of its own, until it is stopped or has sent all.
type pacer struct {
	sent atomic.Int64
	stop func() // stops and waits
	done chan struct{}
	err  error // read after done
}

// pace adds build(0), build(1), ... up to total, rate of them a second.
func (c *cluster) pace(t *testing.T, rate, total int, build func(i int) entry) *pacer {
	t.Helper()
	p := &pacer{done: make(chan struct{})}
	quit, cancel := context.WithCancel(ctx)
	p.stop = func() { cancel(); <-p.done }
	t.Cleanup(p.stop)
	go func() {
		defer close(p.done)
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		start := time.Now()
		for sent := 0; sent < total; {
			select {
			case <-quit.Done():
				return
			case <-tick.C:
			}
			var batch []entry
			for due := int(time.Since(start).Seconds() * float64(rate)); sent < min(due, total); sent++ {
				batch = append(batch, build(sent))
			}
			if _, p.err = c.tryAddAll(batch); p.err != nil {
				return
			}
			p.sent.Store(int64(sent))
		}
	}()
	return p
}

// finish waits for the pacer and returns how many events it has added.
func (p *pacer) finish(t testing.TB) int {
	t.Helper()
	<-p.done
	if p.err != nil {
		t.Fatalf("the producer failed after %d events: %v", p.sent.Load(), p.err)
	}
	return int(p.sent.Load())
}
