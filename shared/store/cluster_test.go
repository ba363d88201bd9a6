package store_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"sluice/shared/store"
	"sluice/shared/store/storetest"
	"sluice/shared/wire"
)

// TestMovedPartition moves a partition from one node of a Cluster to another under its
// owner. Nobody is told; the next command says MOVED.
func TestMovedPartition(t *testing.T) {
	const partition = 0
	ctx := t.Context()
	nodes := storetest.Nodes(t, 2)
	s := storetest.Open(t, fmt.Sprintf("redis://%s,%s", nodes[0].Addr(), nodes[1].Addr()), nil)
	target := targetOf(s, partition)
	lane, err := s.NewLane(false)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = lane.Close() }()
	read := store.Read{Generation: "t", Consumer: "w", Partitions: []int{partition}, Count: 10, Block: 20 * time.Millisecond}
	take := func() error {
		terms, err := s.TakeOver(ctx, "w", read.Generation, time.Minute, []int{partition})
		if err == nil {
			read.Epochs = []uint64{terms[0].Epoch}
		}
		return err
	}
	if err := take(); err != nil {
		t.Fatal(err)
	}
	publish := func() error {
		return s.Publish(ctx, []store.Publication{{To: target, Fields: []string{"to", target, "data", "1"}}})[0]
	}
	// step reads what is there and appends it; prev goes with it.
	var prev wire.ID
	var acks []store.Ack
	step := func() error {
		entries, err := lane.Commit(ctx, nil, acks, read, nil)
		if err != nil {
			return err
		}
		acks = nil
		for _, e := range entries {
			a := &store.Append{Partition: partition, Event: &wire.Event{To: target, ID: e.ID, Prev: prev, Kind: wire.Text}}
			if err := lane.AppendAndRoute(ctx, []*store.Append{a}, nil); err != nil {
				return err
			}
			prev, acks = e.ID, []store.Ack{{Partition: partition, IDs: []string{e.ID.String()}, Last: e.ID}}
		}
		return nil
	}
	if err := errors.Join(publish(), step()); err != nil {
		t.Fatal(err)
	}

	storetest.Move(t, nodes, storetest.Key(partition, "events"))
	start := time.Now()
	if err := step(); !store.IsReply(err) {
		t.Fatalf("the owner's first command after the move: %v, want MOVED", err)
	}
	if err := step(); !errors.Is(err, store.ErrFenced) {
		t.Fatalf("the owner's next command after the move: %v, want ErrFenced: it could be on a node that lacks something", err)
	}
	acks, read.Generation = nil, "again"
	storetest.Eventually(t, take)
	storetest.Eventually(t, step)
	storetest.Eventually(t, publish)
	storetest.Eventually(t, step)
	q := &store.Query{Target: target, Limit: 10}
	storetest.Eventually(t, func() error { return s.History(ctx, q) })
	if took := time.Since(start); took > 3*time.Second {
		t.Errorf("it took %v to find the partition again", took)
	}
	if events := q.Page.Events; len(events) != 2 || events[1].Prev != events[0].ID {
		t.Fatalf("history after the move: %+v", events)
	}
}

func targetOf(s *store.Store, partition int) string {
	for i := 0; ; i++ {
		if target := fmt.Sprintf("topic:t%d", i); s.Partition(target) == partition {
			return target
		}
	}
}

// TestHistoriesWithoutANode: of a Cluster of which one node is away, dead or frozen, the histories on the others are read, together with
// those that cannot be.
func TestHistoriesWithoutANode(t *testing.T) {
	for name, leave := range map[string]func(*storetest.Server){"dead": (*storetest.Server).Stop, "frozen": (*storetest.Server).Pause} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			nodes := storetest.Nodes(t, 2, "--cluster-require-full-coverage", "no")
			s := storetest.Open(t, fmt.Sprintf("redis://%s,%s", nodes[0].Addr(), nodes[1].Addr()), nil)
			here := make([]bool, s.Config().Partitions) // of each partition, whether it is on the first node
			var queries []*store.Query
			for p := range here {
				q := &store.Query{Target: targetOf(s, p), Edges: true, Limit: 10}
				key := storetest.Key(p, "history:"+q.Target)
				add := func(n *storetest.Server) error {
					return n.Client().XAdd(t.Context(), &redis.XAddArgs{Stream: key, ID: "5-1", Values: []string{"data", "1"}}).Err()
				}
				if here[p] = add(nodes[0]) == nil; !here[p] {
					if err := add(nodes[1]); err != nil {
						t.Fatal(err)
					}
				}
				queries = append(queries, q)
			}
			if err := s.History(t.Context(), queries...); err != nil {
				t.Fatal(err)
			}
			leave(nodes[1])
			if err := s.History(t.Context(), queries...); err != nil {
				t.Fatal(err)
			}
			for p, q := range queries {
				if (q.Err == nil) != here[p] || here[p] && (len(q.Page.Events) != 1 || q.Got.Newest.Ms != 5) {
					t.Errorf("partition %d, on the first node %v: %+v", p, here[p], q)
				}
			}
			if name == "frozen" {
				nodes[1].Resume()
			}
		})
	}
}
