package inproc_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"sluice/shared/store/storetest"
	"sluice/shared/wire"
	"sluice/worker"
)

// newClusterRig makes a rig on a Redis Cluster of three nodes, without proxies.
func newClusterRig(t *testing.T, change ...func(*config)) (*rig, []*storetest.Server) {
	t.Helper()
	takeTurn(t)
	nodes := storetest.Nodes(t, 3, "--appendonly", "yes")
	var addrs []string
	for _, n := range nodes {
		addrs = append(addrs, n.Addr())
	}
	rdb := redis.NewClusterClient(&redis.ClusterOptions{Addrs: addrs, Protocol: 2, DisableIdentity: true})
	t.Cleanup(func() { _ = rdb.Close() })
	r := &rig{
		t: t, rdb: rdb, bare: true, log: testLog(t), acks: worker.AckConfig{CursorTTL: time.Hour, Sync: true},
		cfg: usualConfig("redis://" + strings.Join(addrs, ",")),
	}
	for _, c := range change {
		c(&r.cfg)
	}
	return r, nodes
}

// TestCluster: the whole of it on a Redis Cluster. The partitions are on three nodes,
// workers and gateways come and go, and partitions move to other nodes.
func TestCluster(t *testing.T) {
	t.Parallel()
	r, nodes := newClusterRig(t, longHistory)
	g1, g2, w1, _ := r.pair()
	phone := dial(t, g1, "alice", topics("a", "b", "c"), asDevice("alice", "phone"))
	laptop := dial(t, g2, "alice", topics("a", "b", "c"), asDevice("alice", "laptop"))
	sources := []source{{"direct", "topic:a"}, {"intake", "topic:b"}, {"direct", "topic:c"}, {"intake", "all"}, {"direct", "user:alice"}}
	for _, c := range []*client{phone, laptop} {
		for _, s := range sources {
			c.waitSubscribed(s.target)
		}
	}
	sent := make([]int, len(sources))
	load := func(during func()) {
		var producers []*producer
		for i, s := range sources { // a transaction is for one slot
			producers = append(producers, r.produceFrom(sent[i], 40, s))
		}
		during()
		for i, p := range producers {
			if p.failed != nil {
				t.Fatalf("producer for %s: %v", sources[i].target, p.failed)
			}
			sent[i] = p.finish()[0]
		}
	}
	read := make([]int, len(sources)) // by the phone, and acknowledged
	load(func() {
		for i, s := range sources {
			phone.waitEvents(patience, s.target, 20)
			seen := phone.all(s.target)
			last := seen[len(seen)-1]
			read[i] = number(last) + 1
			phone.send(msg{"type": "ack", "to": s.target, "id": last.ID})
			laptop.wait("acked", func(f frame) bool { return f.Type == "acked" && f.To == s.target && f.ID == last.ID })
		}
		w1.stop()
		r.worker()
		g1.stop()
	})
	if code := phone.waitClose(patience); code != 1012 {
		t.Errorf("the gateway that stops closes with %d, want 1012", code)
	}
	again := dial(t, r.gateway(), "alice", asDevice("alice", "phone"))
	complete := func() {
		t.Helper()
		for i, s := range sources {
			laptop.mustHave(patience, s.target, 0, sent[i])
			again.mustHave(patience, s.target, read[i], sent[i])
		}
	}
	complete()
	for _, target := range []string{"topic:a", "all"} {
		storetest.Move(t, nodes, r.key(target, "events"))
		load(func() {
			laptop.send(msg{"type": "publish", "ref": target, "to": "topic:d", "data": 1, "id": target})
			if f := laptop.answer(target); f.Type != "published" {
				t.Errorf("publish is answered with %+v", f)
			}
			again.waitEvents(patience, target, events(again.everything(), target)+20)
		})
		complete()
	}
}

// TestClusterNodeRestarts: each of three nodes in turn goes and comes back with its data,
// and with it the channels of the gateways that were subscribed there.
func TestClusterNodeRestarts(t *testing.T) {
	t.Parallel()
	r, nodes := newClusterRig(t, longHistory)
	g1, g2, _, _ := r.pair()
	clients := []*client{join(t, g1, "alice", topics("a", "b", "c")), join(t, g2, "bob", topics("a", "b", "c"))}
	sources := []source{{"direct", "topic:a"}, {"intake", "topic:b"}, {"direct", "topic:c"}, {"intake", "all"}}
	var producers []*producer
	for _, s := range sources {
		producers = append(producers, r.produceKeyed(40, s))
	}
	for i, n := range nodes {
		n.Restart()
		for _, p := range producers {
			at := p.sent(0)
			for _, c := range clients {
				c.waitEvents(2*patience, p.sources[0].target, at+10)
			}
		}
		t.Logf("all goes on after node %d has restarted", i)
	}
	for _, p := range producers {
		p.settle(patience, clients...)
	}
}

// TestClusterSlowClient: redeliveries, and dead letters, on a Redis Cluster.
func TestClusterSlowClient(t *testing.T) {
	t.Parallel()
	r, _ := newClusterRig(t, longHistory)
	g := r.gateway(smallQueue)
	w := r.worker(slowly(3, time.Hour))
	r.stuck(g, "alice", "busy")
	g.waitGivenUp()
	if n := what(w, "redelivered"); n < 3 {
		t.Errorf("closed after %v attempts, want 3", n)
	}
	r.isDead("alice", "topic:busy")

	bob := join(t, g, "bob", topics("x"))
	elsewhere := r.targetOf((wire.Partition("topic:x", r.cfg.Partitions)+1)%r.cfg.Partitions, 0)
	err := r.rdb.XAdd(ctx, &redis.XAddArgs{Stream: r.key(elsewhere, "events"), Values: []string{"to", "topic:x", "data", "0"}}).Err()
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, patience, "an entry in the wrong partition is a dead letter", func() error {
		if dead := r.dead(); dead["wrong_partition"] != 1 {
			return fmt.Errorf("dead are %v", dead)
		}
		return nil
	})
	var out bytes.Buffer
	if err := worker.DeadLetters(ctx, r.cfg, []string{"requeue", "all"}, &out); err != nil {
		t.Fatal(err)
	}
	bob.mustHave(patience, "topic:x", 0, 1)
}
