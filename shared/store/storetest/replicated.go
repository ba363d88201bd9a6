package storetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// Replicated is a Redis that outlives the loss of a node: each master has a replica,
// which Sentinel or the Cluster promotes by itself. It ends with the test.
type Replicated struct {
	tb       testing.TB
	shards   []*Shard
	sentinel *Server               // nil: a Cluster
	asked    *redis.SentinelClient // by it
	// detection is how long a node may be silent until it counts as lost.
	detection time.Duration
	client    redis.UniversalClient
	mu        sync.Mutex // guards the roles: the client asks for them beside the test
}

// Shard is a master and its replica. A failover changes their roles.
type Shard struct {
	of              *Replicated
	master, replica *Server
}

const (
	masterName = "sluice"
	// detection is how long a node may be silent until it counts as lost, unless Detect
	// says something else. A failover takes one to two seconds more.
	detection = 1500 * time.Millisecond
)

// Sentinel starts a redis-server with a replica, and a Sentinel that watches them. args
// are options of both redis-servers, as for Redis.
func Sentinel(tb testing.TB, args ...string) *Replicated {
	tb.Helper()
	r := &Replicated{tb: tb}
	args = replicating(args)
	master := launch(tb, &Server{args: args})
	replica := launch(tb, &Server{args: append(args, "--replicaof", "127.0.0.1", strconv.Itoa(master.port))})
	r.shards = []*Shard{{r, master, replica}}
	r.shards[0].CatchUp()
	r.sentinel = launch(tb, &Server{monitors: master.port})
	r.asked = redis.NewSentinelClient(&redis.Options{
		Addr: r.sentinel.Addr(), MaxRetries: -1, DialerRetries: 1, Protocol: 2, DisableIdentity: true,
	})
	tb.Cleanup(func() { _ = r.asked.Close() })
	r.Detect(detection)
	// Tests lose nodes more often than it asks usually. It promotes by command only a replica
	// that has answered within three of these periods, and asks one that lags once a second.
	// How long it leaves an old master alone that is back stays as it is: eight seconds in
	// which that one takes writes.
	if err := r.sentinel.client.Do(context.Background(), "SENTINEL", "DEBUG", "INFO-PERIOD", 500).Err(); err != nil {
		tb.Fatal(err)
	}
	r.shards[0].awaitSentinel()
	r.client = redis.NewFailoverClient(&redis.FailoverOptions{
		MasterName: masterName, SentinelAddrs: []string{r.sentinel.Addr()},
		MaxRetries: -1, DialerRetries: 1, Protocol: 2, DisableIdentity: true, ContextTimeoutEnabled: true,
	})
	tb.Cleanup(func() { _ = r.client.Close() })
	return r
}

// replicating are options of a node that has a replica or is one. It does not wait five
// seconds for more replicas that want everything.
func replicating(args []string) []string {
	return slices.Clip(append(slices.Clip(args), "--repl-diskless-sync-delay", "0"))
}

// ReplicatedCluster starts a Cluster of n masters that share the slots, with a replica
// each. Below three masters it promotes none by itself. args are options of all nodes.
func ReplicatedCluster(tb testing.TB, n int, args ...string) *Replicated {
	tb.Helper()
	ctx := context.Background()
	r := &Replicated{tb: tb}
	// The age of a replica's data is no reason not to promote it: tests make it lag.
	args = append(replicating(args), "--cluster-replica-validity-factor", "0")
	masters := Nodes(tb, n, args...)
	for _, master := range masters {
		replica := launch(tb, &Server{args: args, cluster: true})
		if err := masters[0].client.Do(ctx, "CLUSTER", "MEET", "127.0.0.1", replica.port, replica.bus).Err(); err != nil {
			tb.Fatal(err)
		}
		id := master.client.ClusterMyID(ctx).Val()
		Eventually(tb, func() error { return replica.client.Do(ctx, "CLUSTER", "REPLICATE", id).Err() })
		r.shards = append(r.shards, &Shard{r, master, replica})
	}
	for _, s := range r.shards {
		s.CatchUp()
	}
	for _, node := range r.nodes() { // whoever does not know a replica does not vote for it
		node.await()
		Eventually(tb, func() error {
			known, err := node.client.ClusterNodes(ctx).Result()
			if got := strings.Count(known, "slave "); err == nil && got != n {
				err = fmt.Errorf("%s knows %d of %d replicas", node.Addr(), got, n)
			}
			return err
		})
	}
	r.Detect(detection)
	r.client = redis.NewClusterClient(&redis.ClusterOptions{
		ClusterSlots: r.slots, DialerRetries: 1, Protocol: 2, DisableIdentity: true, ContextTimeoutEnabled: true,
	})
	tb.Cleanup(func() { _ = r.client.Close() })
	return r
}

// URL is the value for SLUICE_REDIS_URL.
func (r *Replicated) URL() string {
	if r.sentinel != nil {
		return "redis://" + r.sentinel.Addr() + "?master_name=" + masterName
	}
	addrs := make([]string, 0, len(r.shards))
	for _, node := range r.nodes() {
		addrs = append(addrs, node.Addr())
	}
	return "redis://" + strings.Join(addrs, ",")
}

// Client speaks with the masters. With Sentinel it repeats nothing by itself; on a Cluster
// it may repeat what a node that died has left open. It ends with the test.
func (r *Replicated) Client() redis.UniversalClient { return r.client }

// Sentinel is the Sentinel, nil on a Cluster.
func (r *Replicated) Sentinel() *Server { return r.sentinel }

// Shards are all of them; with Sentinel one.
func (r *Replicated) Shards() []*Shard { return r.shards }

// ShardOf is the shard that has a key, or a channel.
func (r *Replicated) ShardOf(key string) *Shard {
	r.tb.Helper()
	if r.sentinel != nil {
		return r.shards[0]
	}
	slot, err := r.client.ClusterKeySlot(context.Background(), key).Result()
	if err != nil {
		r.tb.Fatal(err)
	}
	for i, s := range r.shards {
		if int(slot) < (i+1)*clusterSlots/len(r.shards) {
			return s
		}
	}
	panic("a slot beyond the last one")
}

// slots tells the client of the tests where the slots are.
func (r *Replicated) slots(context.Context) ([]redis.ClusterSlot, error) {
	n := len(r.shards)
	all := make([]redis.ClusterSlot, n)
	for i, s := range r.shards {
		all[i] = redis.ClusterSlot{
			Start: i * clusterSlots / n, End: (i+1)*clusterSlots/n - 1, Nodes: []redis.ClusterNode{{Addr: s.Master().Addr()}},
		}
	}
	return all, nil
}

// Detect says how long a node may be silent until it counts as lost.
func (r *Replicated) Detect(silence time.Duration) {
	r.tb.Helper()
	r.detection = silence
	ms := strconv.FormatInt(silence.Milliseconds(), 10)
	if r.sentinel != nil {
		if err := r.sentinel.client.Do(context.Background(), "SENTINEL", "SET", masterName, "down-after-milliseconds", ms).Err(); err != nil {
			r.tb.Fatal(err)
		}
		return
	}
	for _, node := range r.nodes() {
		node.silence = ms
		if node.process == nil {
			continue
		}
		if err := node.client.ConfigSet(context.Background(), "cluster-node-timeout", ms).Err(); err != nil {
			r.tb.Fatal(err)
		}
	}
}

func (r *Replicated) nodes() (all []*Server) {
	for _, s := range r.shards {
		all = append(all, s.master, s.replica)
	}
	return all
}

// Master is the node that is the master now.
func (s *Shard) Master() *Server {
	s.of.mu.Lock()
	defer s.of.mu.Unlock()
	return s.master
}

// Replica is the other node; after a failover the old master, in whatever state it is.
func (s *Shard) Replica() *Server {
	s.of.mu.Lock()
	defer s.of.mu.Unlock()
	return s.replica
}

// Lag cuts the replica's link, until CatchUp: what the master takes from here on is lost
// by a failover. Everything before it is there.
func (s *Shard) Lag() {
	s.of.tb.Helper()
	ctx := context.Background()
	s.CatchUp()
	// A wrong password keeps it from connecting again, and leaves it reachable for
	// Sentinel, the Cluster and clients.
	err := s.replica.client.ConfigSet(ctx, "masterauth", "wrong").Err()
	if err = errors.Join(err, s.master.client.Do(ctx, "CLIENT", "KILL", "TYPE", "replica").Err()); err != nil {
		s.of.tb.Fatal(err)
	}
	s.await("the replica's link to be down", func() error {
		return replication(s.replica, map[string]string{"role": "slave", "master_link_status": "down"})
	})
}

// CatchUp mends the replica's link and waits until it has everything.
func (s *Shard) CatchUp() {
	s.of.tb.Helper()
	ctx := context.Background()
	if err := s.replica.client.ConfigSet(ctx, "masterauth", "").Err(); err != nil {
		s.of.tb.Fatal(err)
	}
	s.await("the replica to have everything", func() error {
		info, err := s.master.client.InfoMap(ctx, "replication").Result()
		if err != nil {
			return err
		}
		return replication(s.replica, map[string]string{
			"role": "slave", "master_link_status": "up", "slave_repl_offset": info["Replication"]["master_repl_offset"],
		})
	})
}

// Kill ends the master from one moment to the next. Promoted waits for the failover.
func (s *Shard) Kill() { s.of.tb.Helper(); s.master.Kill() }

// Failover promotes the replica by command, the way an operator would: as it is, if it
// lags. It returns when the replica is the master.
func (s *Shard) Failover() {
	s.of.tb.Helper()
	ctx := context.Background()
	command := func() error { return s.of.asked.Failover(ctx, masterName).Err() }
	if s.of.sentinel == nil {
		words := []any{"CLUSTER", "FAILOVER"}
		if replication(s.replica, map[string]string{"master_link_status": "up"}) != nil {
			words = append(words, "TAKEOVER")
		}
		command = func() error { return s.replica.client.Do(ctx, words...).Err() }
	}
	var given time.Time
	s.await("the failover by command", func() error {
		if time.Since(given) > commandFor { // it is given up silently when the replica was not ready
			if err := command(); err != nil {
				return err
			}
			given = time.Now()
		}
		return promoted(s.replica)
	})
	s.Promoted()
}

// commandFor is longer than a failover by command takes until it is done or given up.
const commandFor = 6 * time.Second

func promoted(s *Server) error { return replication(s, map[string]string{"role": "master"}) }

// Promoted waits until the replica is the master and those who are asked say so.
func (s *Shard) Promoted() {
	r := s.of
	r.tb.Helper()
	s.await("the replica to be promoted", func() error { return promoted(s.replica) })
	r.mu.Lock()
	s.master, s.replica = s.replica, s.master
	r.mu.Unlock()
	s.master.promoted = time.Now()
	if r.sentinel == nil {
		for _, other := range r.shards {
			s.await("the Cluster to be whole", other.master.works)
		}
		// The client asks again at once, and not when a command has failed.
		err := r.client.(*redis.ClusterClient).ForEachMaster(context.Background(), func(context.Context, *redis.Client) error { return nil })
		if err != nil {
			r.tb.Fatal(err)
		}
		return
	}
	s.await("Sentinel to name the new master", func() error {
		at, err := s.of.asked.GetMasterAddrByName(context.Background(), masterName).Result()
		if err == nil && at[1] != strconv.Itoa(s.master.port) {
			err = fmt.Errorf("it names %v", at)
		}
		return err
	})
}

// Demote makes the old master a replica, if it lives: after a failover by command, Sentinel tells it only later, and
// until then it takes writes of whoever has not heard of the new one. These are lost.
func (s *Shard) Demote() {
	s.of.tb.Helper()
	if s.of.sentinel == nil || s.replica.process == nil || s.replica.frozen {
		return
	}
	Eventually(s.of.tb, func() error {
		return s.replica.client.Do(context.Background(), "REPLICAOF", "127.0.0.1", s.master.port).Err()
	})
}

// Revive brings a master that was lost back, as a replica that has everything and can be
// promoted again.
func (s *Shard) Revive() {
	s.of.tb.Helper()
	if s.replica.process == nil {
		s.replica.Restart()
	} else {
		s.replica.Resume()
	}
	s.Demote() // Sentinel would do it, after up to twenty seconds
	s.CatchUp()
	if s.of.sentinel != nil {
		s.awaitSentinel()
		return
	}
	// Redis 7.0 counts the votes of a node's last election again for so long, and nobody
	// believes a master that was elected by them.
	s.await("the votes for the replica to be forgotten", func() error {
		if since := time.Since(s.replica.promoted); since < 5*s.of.detection {
			return fmt.Errorf("it was elected %v ago", since)
		}
		return nil
	})
}

// awaitSentinel waits until Sentinel would promote the replica.
func (s *Shard) awaitSentinel() {
	s.await("Sentinel to know the replica", func() error {
		replicas, err := s.of.asked.Replicas(context.Background(), masterName).Result()
		if err == nil && (len(replicas) != 1 || replicas[0]["flags"] != "slave" || replicas[0]["master-link-status"] != "ok" ||
			replicas[0]["master-port"] != strconv.Itoa(s.master.port)) {
			err = fmt.Errorf("it knows %v", replicas)
		}
		return err
	})
}

// tilt is how long a Sentinel does nothing after its machine has let it stand still.
const tilt = 30 * time.Second

// await is Eventually with room for two attempts at a failover.
func (s *Shard) await(what string, ok func() error) {
	s.of.tb.Helper()
	var err error
	limit := 2 * patience
	if s.of.sentinel != nil {
		limit += tilt
	}
	for deadline := time.Now().Add(limit); time.Now().Before(deadline); time.Sleep(pollEvery) {
		if err = ok(); err == nil {
			return
		}
	}
	logs := fmt.Sprintf("master:\n%s\nreplica:\n%s", s.master.log(), s.replica.log())
	if s.of.sentinel != nil {
		logs += fmt.Sprintf("\nSentinel:\n%s", s.of.sentinel.log())
	}
	s.of.tb.Fatalf("waited %v for %s: %v\n%s", limit, what, err, logs)
}

// replication compares what a server says of its role.
func replication(s *Server, want map[string]string) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	info, err := s.client.InfoMap(ctx, "replication").Result()
	if err != nil {
		return err
	}
	for name, value := range want {
		if got := info["Replication"][name]; got != value {
			return fmt.Errorf("%s has %s %s, want %s", s.Addr(), name, got, value)
		}
	}
	return nil
}

// Kill ends the server from one moment to the next.
func (s *Server) Kill() {
	s.tb.Helper()
	s.signal(syscall.SIGKILL)
	s.kill()
}
