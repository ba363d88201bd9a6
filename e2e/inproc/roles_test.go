package inproc_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"sluice/worker"
)

func as(roles ...string) func(*worker.Config) {
	return func(c *worker.Config) { c.Roles = roles }
}

// TestRoles: a worker without the role events owns nothing and leaves the other ones their
// share; events, acks and slow clients are looked after, each by who has the role.
func TestRoles(t *testing.T) {
	t.Parallel()
	r := newRig(t, longHistory)
	g := r.gateway(smallQueue)
	helper := r.worker(as("acks", "slow"), slowly(3, time.Hour))
	owner := r.worker(as("events"))
	r.waitOwners(patience, map[string]int{owner.name: 16})
	listed := func(key string, want ...string) {
		t.Helper()
		eventually(t, patience, "who lives", func() error {
			if got := r.rdb.ZRange(ctx, key, 0, -1).Val(); !slices.Equal(got, want) {
				return fmt.Errorf("%s holds %q, want %q", key, got, want)
			}
			return nil
		})
	}
	listed("sluice:workers", owner.name)
	listed("sluice:helpers", helper.name)

	phone := dial(t, g, "bob", asDevice("bob", "phone"))
	phone.waitSubscribed("user:bob")
	r.add("intake", "user:bob", 0, 3)
	phone.mustHave(patience, "user:bob", 0, 3)
	phone.send(msg{"type": "ack", "to": "user:bob", "id": phone.last("user:bob")})
	eventually(t, patience, "the cursor moves", func() error {
		if id := r.rdb.HGet(ctx, r.key("user:bob", "cursor")+":user:bob", "phone user:bob").Val(); id != phone.last("user:bob") {
			return fmt.Errorf("it stands at %q", id)
		}
		return nil
	})

	_, p := r.stuck(g, "alice", "busy")
	g.waitGivenUp()
	p.finish()
	for name, got := range map[string][2]float64{
		"acks":            {helper.metric("sluice_worker_cursors_moved_total"), owner.metric("sluice_worker_acks_total")},
		"slow clients":    {what(helper, "given_up"), what(owner, "redelivered")},
		"partitions":      {owner.metric("sluice_worker_owned"), helper.metric("sluice_worker_owned")},
		"events appended": {owner.metric("sluice_worker_events_total"), helper.metric("sluice_worker_events_total")},
	} {
		if got[0] == 0 || got[1] != 0 {
			t.Errorf("%s: %v by who has the role, %v by who has not", name, got[0], got[1])
		}
	}

	// An owner takes its half, as if the helper were not there, and the last one everything.
	second := r.worker(as("events"))
	r.waitOwners(patience, map[string]int{owner.name: 8, second.name: 8})
	owner.stop()
	r.waitOwners(patience, map[string]int{second.name: 16})
	helper.stop()
	listed("sluice:helpers")
	again := r.worker(as("all"))
	r.waitOwners(patience, map[string]int{second.name: 8, again.name: 8})
	listed("sluice:helpers")
}
