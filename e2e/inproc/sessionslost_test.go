package inproc_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"sluice/shared/store/storetest"
)

// registeredAgain is the promise: so long after Redis is back, a gateway has written what
// a failover has lost of its sessions, and its clients have what came meanwhile.
const registeredAgain = 3 * time.Second

// TestSessionsLostInAFailover: what takes the master's place lacks the sessions and cursors
// that were written last, but knows the gateway. One event is added before anybody can have
// registered again.
func TestSessionsLostInAFailover(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	g := r.gateway()
	w := r.worker()
	r.waitOwners(patience, map[string]int{w.name: 16})
	data := r.redis.copyData(t)
	var many []string
	for i := range 200 {
		many = append(many, fmt.Sprint("t", i))
	}
	c := dial(t, g, "alice", asDevice("alice", "phone"), topics(many...))
	targets := []string{"user:alice", "topic:t0", "topic:t199"}
	for _, target := range append(targets, "all") {
		c.waitSubscribed(target)
	}
	cursor := r.key("user:alice", "cursor") + ":user:alice"
	if r.rdb.HLen(ctx, cursor).Val() == 0 {
		t.Fatal("the device has no cursors")
	}
	r.redis.failOver(t, data)
	if n := r.rdb.Exists(ctx, r.key("user:alice", "session"), r.key("topic:t0", "session"), cursor).Val(); n != 0 {
		t.Fatal("nothing was lost")
	}
	back := within(registeredAgain)
	for _, target := range targets {
		r.add("direct", target, 0, 1)
	}
	for _, target := range targets {
		eventually(t, back.left(), "the session of "+target, func() error { return hasSession(r, target) })
	}
	eventually(t, back.left(), "cursors", func() error {
		if n := r.rdb.HLen(ctx, cursor).Val(); n != int64(len(many))+2 {
			return fmt.Errorf("%d cursors", n)
		}
		return nil
	})
	t.Logf("registered again after %v", back.elapsed().Round(time.Millisecond))
	r.waitOwners(patience, map[string]int{w.name: 16}) // that has a limit of its own
	owned := within(registeredAgain)
	for _, target := range targets {
		c.waitEventsBy(owned, target, 1)
		c.mustHave(patience, target, 0, 1)
	}
}

// TestSessionsLostWithANode: a node of a Cluster is lost with the last sessions of its
// partitions, while the gateway's channel, on another node, goes on.
func TestSessionsLostWithANode(t *testing.T) {
	t.Parallel()
	takeTurn(t)
	nodes := storetest.ReplicatedCluster(t, 3, "--appendonly", "yes", "--appendfsync", "no")
	r := newReplicatedRig(t, nodes)
	g, w := r.gateway(), r.worker()
	r.waitOwners(patience, map[string]int{w.name: 16})
	// Neither the channel nor the list of gateways tells of it.
	channel, members := nodes.ShardOf("sluice:server:"+g.name), nodes.ShardOf("sluice:servers")
	target, shard := "", channel
	for p := 0; shard == channel || shard == members; p++ {
		target = r.targetOf(p, 0)
		shard = nodes.ShardOf(r.key(target, "session"))
	}
	shard.Lag()
	c := join(t, g, "alice", topics(target[len("topic:"):]))
	shard.Failover()
	back := within(2 * registeredAgain) // the owner of the partition has to come back first
	eventually(t, back.left(), "the session of "+target, func() error { return hasSession(r, target) })
	t.Logf("registered again %v after the failover", back.elapsed().Round(time.Millisecond))
	r.add("direct", target, 0, 2)
	c.mustHave(patience, target, 0, 2)
}

func hasSession(r *rig, target string) error {
	n, err := r.rdb.HLen(ctx, r.key(target, "session")).Result()
	if err == nil && n == 0 {
		err = errors.New("none")
	}
	return err
}
