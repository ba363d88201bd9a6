package inproc_test

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// The flights of a worker, by what they are for.
var (
	isAppend = func(f flight) bool {
		return f.has(func(c command) bool { return c.is("XADD") && strings.Contains(c.args[1], ":history:") })
	}
	isClaim = func(f flight) bool {
		return f.has(func(c command) bool { return c.is("SET") && strings.Contains(c.args[1], ":idem:") })
	}
	isCommit = func(f flight) bool {
		return f.has(func(c command) bool { return c.is("XACK") && c.args[1] != "sluice:events" })
	}
	isIntakeCommit = func(f flight) bool {
		return f.has(func(c command) bool { return c.is("XACK") && c.args[1] == "sluice:events" })
	}
	isForward  = func(f flight) bool { return f.has(func(c command) bool { return c.script(":forwarded") }) }
	isTakeover = func(f flight) bool {
		return f.has(func(c command) bool { return c.script(":epoch") && c.script(":lease") })
	}
	isRenew = func(f flight) bool {
		return f.has(func(c command) bool { return c.is("GETEX") && strings.HasSuffix(c.args[1], "lease") })
	}
	isTrim = func(f flight) bool { // a script whose only key is a stream
		return f.has(func(c command) bool { return c.script("events") && c.args[2] == "1" })
	}
	isPublish = func(f flight) bool {
		return f.has(func(c command) bool { return c.is("XADD") && strings.HasSuffix(c.args[1], ":events") })
	}
	isSession = func(f flight) bool { return f.hasName("HSET") }
)

// TestDeposedOwner stalls a worker's link at every place of its work for longer than
// its lease, and then lets everything through that was on it: by then another worker
// has gone on.
func TestDeposedOwner(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name  string
		at    func(flight) bool
		keyed bool
	}{
		{"append", isAppend, false},
		{"append with claims", isAppend, true},
		{"claim", isClaim, true},
		{"commit", isCommit, false},
		{"forward", isForward, false},
		{"intake commit", isIntakeCommit, false},
		{"renew", isRenew, false},
		{"trim", isTrim, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			g1, g2 := r.gateway(), r.gateway()
			w1 := r.worker()
			r.waitOwners(patience, map[string]int{w1.name: 16})
			sources := fourSources(r)
			clients := watchers(t, sources, g1, g2)
			stalled := w1.via.on(freezeAt, tc.at)
			var p *producer
			if tc.keyed {
				p = r.produceKeyed(100, sources...)
			} else {
				p = r.produce(200, 0, sources...)
			}
			stalled.wait(t)
			begin := time.Now()
			w2 := r.worker()
			r.waitOwners(5*time.Second, map[string]int{w2.name: 16})
			t.Logf("the successor had all partitions after %v", time.Since(begin).Round(time.Millisecond))
			flows(p, clients)
			w1.via.thaw()
			// The sleeper comes to life, finds out, and gets its share again.
			r.waitOwners(patience, map[string]int{w1.name: 8, w2.name: 8})
			flows(p, clients)
			p.settle(patience, clients...)
			r.noDead()
		})
	}
}

// flows waits until something that is added from now on has come to all clients.
func flows(p *producer, clients []*client) {
	p.r.t.Helper()
	for i, s := range p.sources {
		n := p.sent(i) + 1
		for _, c := range clients {
			c.waitEvents(patience, s.target, n)
		}
	}
}

// TestDeposedInTheMiddle moves the term between two commands of one flight of the
// owner, by taking the lease from it as if it had expired.
func TestDeposedInTheMiddle(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		at   func(flight) bool
		next func(command) bool // the takeover comes just before it
	}{
		{"before MULTI of the append", isAppend, func(c command) bool { return c.is("MULTI") }},
		{"before the first append", isAppend, func(c command) bool { return c.is("XADD") }},
		{"before EXEC", isAppend, func(c command) bool { return c.is("EXEC") }},
		{"before PUBLISH", isCommit, func(c command) bool { return c.is("PUBLISH") }},
		{"before XACK", isCommit, func(c command) bool { return c.is("XACK") }},
		{"before WATCH", isCommit, func(c command) bool { return c.is("WATCH") }},
		{"before the read", isCommit, func(c command) bool { return c.is("XREADGROUP") }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, onePartition)
			g1, g2 := r.gateway(), r.gateway()
			w1 := r.worker()
			r.waitOwners(patience, map[string]int{w1.name: 1})
			sources := []source{{"direct", "topic:a"}, {"direct", "topic:b"}}
			clients := watchers(t, sources, g1, g2)
			p := r.produce(200, 0, sources...)
			flows(p, clients)
			reached, proceed := make(chan struct{}), make(chan struct{})
			met := false
			moved := w1.via.between(tc.at, func(_ int, c command) {
				if !met && tc.next(c) {
					met = true
					close(reached)
					<-proceed
				}
			})
			if _, came := await(reached, patience); !came {
				t.Fatal("the command did not come")
			}
			w2 := r.worker()
			r.rdb.Del(ctx, r.keyOf(0, "lease"))
			eventually(t, patience, "the successor owns the partition", func() error {
				if owner := r.rdb.Get(ctx, r.keyOf(0, "lease")).Val(); owner != w2.name {
					return fmt.Errorf("%q does", owner)
				}
				return nil
			})
			flows(p, clients)
			close(proceed)
			moved.wait(t)
			flows(p, clients)
			p.settle(patience, clients...)
			r.noDead()
		})
	}
}

// TestSleeperAfterKeyExpired: an owner sleeps before it claims the key of an event.
// Its successor answers the event as a duplicate, and then the key expires. The
// sleeper must not take the key, nor append the event.
func TestSleeperAfterKeyExpired(t *testing.T) {
	t.Parallel()
	r := newRig(t, onePartition)
	g := r.gateway()
	w1 := r.worker()
	r.waitOwners(patience, map[string]int{w1.name: 1})
	c := join(t, g, "alice")
	r.add("direct", "user:alice", 0, 1, "id", "k")
	c.mustHave(patience, "user:alice", 0, 1)
	held := w1.via.on(freezeAt, isClaim)
	r.add("direct", "user:alice", 99, 1, "id", "k")
	held.wait(t)
	r.rdb.Del(ctx, r.keyOf(0, "lease"))
	w2 := r.worker()
	eventually(t, patience, "the successor answers the duplicate", func() error {
		if n := w2.metric("sluice_worker_duplicates_total"); n != 1 {
			return fmt.Errorf("%v duplicates", n)
		}
		return pendingOf(r)
	})
	r.rdb.Del(ctx, r.keyOf(0, "idem:user:alice:k")) // as if it had expired
	w1.via.thaw()
	eventually(t, patience, "the sleeper knows", func() error {
		if w1.metric("sluice_worker_failures_total") == 0 {
			return fmt.Errorf("it does not")
		}
		return nil
	})
	r.add("direct", "user:alice", 1, 1)
	c.mustHave(patience, "user:alice", 0, 2)
	if n := r.rdb.Exists(ctx, r.keyOf(0, "idem:user:alice:k")).Val(); n != 0 {
		t.Error("the sleeper has taken the key")
	}
}
