package storetest

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"sluice/shared/testkit"

	"github.com/redis/go-redis/v9"
)

// Server is a real redis-server of one test. It listens on a loopback port, keeps its
// files in the test's directory, and ends with the test.
type Server struct {
	tb      testing.TB
	dir     string
	port    int
	bus     int // of a Cluster's nodes among themselves
	args    []string
	cluster bool
	// monitors: it is a Sentinel of the redis-server on this port.
	monitors int
	silence  string           // of a node that counts as lost, in ms; empty: the server's own
	promoted time.Time        // from a replica to a master, the last time
	process  *testkit.Process // nil: not running
	frozen   bool
	client   *redis.Client
}

// Redis starts a redis-server. args are options of its command line and come after
// the helper's own, for example "--appendonly", "yes"; without them nothing
// survives a Restart.
func Redis(tb testing.TB, args ...string) *Server {
	tb.Helper()
	return launch(tb, &Server{args: args})
}

func launch(tb testing.TB, s *Server) *Server {
	tb.Helper()
	s.tb, s.dir = tb, tb.TempDir()
	tb.Cleanup(s.kill)
	for range 5 { // somebody else may take a port before the server does
		s.port, s.bus = testkit.FreePort(tb), testkit.FreePort(tb)
		if s.start() == nil {
			s.client = newClient(s.Addr())
			tb.Cleanup(func() { _ = s.client.Close() })
			if s.monitors == 0 {
				tb.Cleanup(func() { CheckRights(tb, s.client) })
			}
			return s
		}
	}
	tb.Fatalf("redis-server did not start:\n%s", s.log())
	return nil
}

const clusterSlots = 16384

// Cluster starts a Cluster of one node that has all slots. It refuses commands over
// several slots like any other, which is the point.
func Cluster(tb testing.TB, args ...string) *Server {
	tb.Helper()
	return Nodes(tb, 1, args...)[0]
}

// Nodes starts a Cluster of n nodes that share the slots. It takes a second or two
// until they know each other.
func Nodes(tb testing.TB, n int, args ...string) []*Server {
	tb.Helper()
	ctx := context.Background()
	nodes := make([]*Server, n)
	for i := range nodes {
		s := launch(tb, &Server{args: args, cluster: true})
		nodes[i] = s
		if err := s.client.ClusterAddSlotsRange(ctx, i*clusterSlots/n, (i+1)*clusterSlots/n-1).Err(); err != nil {
			tb.Fatal(err)
		}
		if i == 0 {
			continue
		}
		if err := nodes[0].client.Do(ctx, "CLUSTER", "MEET", "127.0.0.1", s.port, s.bus).Err(); err != nil {
			tb.Fatal(err)
		}
	}
	for _, s := range nodes {
		s.await()
		Eventually(tb, func() error {
			known, err := s.client.ClusterShards(ctx).Result()
			if err == nil && len(known) < n {
				err = fmt.Errorf("%s knows %d of %d nodes", s.Addr(), len(known), n)
			}
			return err
		})
	}
	return nodes
}

// Move moves the slot of a key, with all its keys, from the node that has it to
// another one of a Cluster.
func Move(tb testing.TB, nodes []*Server, key string) {
	tb.Helper()
	ctx := context.Background()
	at := slices.IndexFunc(nodes, func(s *Server) bool { return s.client.Exists(ctx, key).Err() == nil }) // the others say MOVED
	from, to := nodes[at], nodes[(at+1)%len(nodes)]
	slot := from.client.ClusterKeySlot(ctx, key).Val()
	ids := [2]string{from.client.ClusterMyID(ctx).Val(), to.client.ClusterMyID(ctx).Val()}
	migrate := []any{"MIGRATE", "127.0.0.1", to.port, "", 0, 5000, "KEYS"}
	for _, k := range from.client.ClusterGetKeysInSlot(ctx, int(slot), 1000).Val() {
		migrate = append(migrate, k)
	}
	for _, do := range []struct {
		on   *Server
		args []any
	}{
		{to, []any{"CLUSTER", "SETSLOT", slot, "IMPORTING", ids[0]}},
		{from, []any{"CLUSTER", "SETSLOT", slot, "MIGRATING", ids[1]}},
		{from, migrate},
		{to, []any{"CLUSTER", "SETSLOT", slot, "NODE", ids[1]}},
		{from, []any{"CLUSTER", "SETSLOT", slot, "NODE", ids[1]}},
	} {
		if err := do.on.client.Do(ctx, do.args...).Err(); err != nil {
			tb.Fatalf("%v: %v", do.args[:3], err)
		}
	}
}

// Addr is the server's address.
func (s *Server) Addr() string { return "127.0.0.1:" + strconv.Itoa(s.port) }

// Dir is the directory of the server's files.
func (s *Server) Dir() string { return s.dir }

// URL is the server's value for SLUICE_REDIS_URL.
func (s *Server) URL() string {
	if s.cluster {
		return "redis://" + s.Addr() + "?cluster=1"
	}
	return "redis://" + s.Addr()
}

// Client speaks with the server directly. It ends with the test.
func (s *Server) Client() *redis.Client { return s.client }

// Stop ends the server as an operator would, and waits.
func (s *Server) Stop() {
	s.tb.Helper()
	s.signal(syscall.SIGTERM)
	select {
	case <-s.process.Done():
		s.process = nil
	case <-time.After(patience):
		s.tb.Fatalf("redis-server does not end:\n%s", s.log())
	}
}

// Restart ends the server if it runs, starts it on the same port and waits until it
// answers.
func (s *Server) Restart() {
	s.tb.Helper()
	if s.process != nil {
		s.Stop()
	}
	if err := s.start(); err != nil {
		s.tb.Fatalf("redis-server did not start again: %v\n%s", err, s.log())
	}
	s.await()
}

// Pause freezes the server: it keeps its connections and does not answer.
func (s *Server) Pause() { s.tb.Helper(); s.signal(syscall.SIGSTOP); s.frozen = true }

// Resume lets a frozen server go on.
func (s *Server) Resume() { s.tb.Helper(); s.signal(syscall.SIGCONT); s.frozen = false }

func (s *Server) signal(sig syscall.Signal) {
	s.tb.Helper()
	if s.process == nil {
		s.tb.Fatalf("redis-server does not run: cannot send it %v", sig)
	}
	s.process.Signal(s.tb, sig)
}

// kill ends the server in any state.
func (s *Server) kill() {
	if s.process != nil {
		s.process.Kill()
		s.process = nil
	}
}

// options are those of the command line.
func (s *Server) options() ([]string, error) {
	if s.monitors != 0 { // a Sentinel writes what it learns into its file
		path := filepath.Join(s.dir, fmt.Sprintf("sentinel-%d.conf", s.port))
		if _, err := os.Stat(path); err == nil {
			return []string{path, "--sentinel"}, nil
		}
		conf := fmt.Sprintf("port %d\nbind 127.0.0.1\ndir %s\nlogfile redis.log\nsentinel monitor %s 127.0.0.1 %d 1\nsentinel failover-timeout %s 2000\n",
			s.port, s.dir, masterName, s.monitors, masterName)
		return []string{path, "--sentinel"}, os.WriteFile(path, []byte(conf), 0o600)
	}
	args := []string{
		"--port", strconv.Itoa(s.port), "--bind", "127.0.0.1", "--dir", s.dir, "--logfile", "redis.log",
		"--save", "", "--appendonly", "no", "--daemonize", "no",
	}
	args = append(args, UserOptions()...)
	if s.cluster {
		args = append(args, "--cluster-enabled", "yes", "--cluster-announce-ip", "127.0.0.1", "--cluster-port", strconv.Itoa(s.bus))
	}
	if s.silence != "" {
		args = append(args, "--cluster-node-timeout", s.silence)
	}
	return append(args, s.args...), nil
}

// start runs the server until it listens or ends.
func (s *Server) start() error {
	path, err := exec.LookPath("redis-server")
	if err != nil {
		s.tb.Fatal("these tests need redis-server on the PATH; `make test` installs it")
	}
	args, err := s.options()
	if err != nil {
		s.tb.Fatal(err)
	}
	s.process = testkit.Program{Path: path, Args: args, Dir: s.dir}.Start(s.tb, nil) // launch ends it
	s.frozen = false
	deadline := time.Now().Add(patience)
	for time.Now().Before(deadline) {
		select {
		case <-s.process.Done():
			err := fmt.Errorf("redis-server ended: %s", s.process.State())
			s.process = nil
			return err
		case <-time.After(pollEvery):
		}
		if s.answers() {
			return nil
		}
	}
	s.kill()
	return fmt.Errorf("redis-server does not listen on %s", s.Addr())
}

// answers reports whether this server answers on its port. Another one that was
// quicker may, for as long as this one takes to end.
func (s *Server) answers() bool {
	conn, err := net.DialTimeout("tcp", s.Addr(), time.Second)
	if err != nil {
		return false
	}
	_ = conn.Close()
	client := newClient(s.Addr())
	defer func() { _ = client.Close() }()
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	info, err := client.InfoMap(ctx, "server").Result()
	return err == nil && info["Server"]["process_id"] == strconv.Itoa(s.process.Pid())
}

// await waits until the server works: it may still load its data.
func (s *Server) await() {
	s.tb.Helper()
	Eventually(s.tb, s.works)
}

// works reports whether the server takes commands.
func (s *Server) works() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if err := s.client.Ping(ctx).Err(); err != nil || !s.cluster {
		return err
	}
	info, err := s.client.ClusterInfo(ctx).Result()
	if err == nil && !strings.Contains(info, "cluster_state:ok") {
		err = fmt.Errorf("%s knows the nodes\n%s%s", s.Addr(), s.client.ClusterNodes(ctx).Val(), info)
	}
	return err
}

func (s *Server) log() []byte {
	b, err := os.ReadFile(filepath.Join(s.dir, "redis.log"))
	if err != nil {
		return []byte(err.Error())
	}
	lines := bytes.SplitAfter(b, []byte("\n"))
	return bytes.Join(lines[max(0, len(lines)-20):], nil)
}

// newClient repeats nothing by itself, so that a check sees what happened.
func newClient(addr string) *redis.Client {
	return redis.NewClient(&redis.Options{
		Addr: addr, MaxRetries: -1, DialerRetries: 1, Protocol: 2, DisableIdentity: true, ContextTimeoutEnabled: true,
	})
}
