package inproc_test

import (
	"fmt"
	"testing"
	"time"
)

// fourSources are targets in four partitions, by both ways.
func fourSources(r *rig) []source {
	return []source{
		{"intake", r.targetOf(1, 0)}, {"direct", r.targetOf(6, 0)},
		{"intake", r.targetOf(11, 0)}, {"direct", r.targetOf(14, 0)},
	}
}

// watchers are clients on every gateway that subscribe to all sources.
func watchers(t testing.TB, sources []source, gateways ...*gatewayProcess) (clients []*client) {
	t.Helper()
	for _, g := range gateways {
		var names []string
		for _, s := range sources {
			names = append(names, s.target)
		}
		clients = append(clients, join(t, g, "watcher-"+g.name, topics(names...)))
	}
	return clients
}

// TestOrderWhileWorkersChange moves partitions by adding, stopping and killing
// workers while events come. It is not parallel: it measures times.
func TestOrderWhileWorkersChange(t *testing.T) {
	r := newRig(t)
	g1, g2 := r.gateway(), r.gateway()
	w1 := r.worker()
	r.waitOwners(patience, map[string]int{w1.name: 16})
	sources := fourSources(r)
	clients := watchers(t, sources, g1, g2)
	p := r.produce(400, 0, sources...)
	flows := func(limit deadline, what string) {
		t.Helper()
		begin := time.Now()
		for i, s := range sources {
			n := p.sent(i) + 1
			for _, c := range clients {
				c.waitEventsBy(limit, s.target, n)
			}
		}
		t.Logf("events of all targets came %v after %s", time.Since(begin).Round(time.Millisecond), what)
	}
	flows(within(patience), "the start")

	w2 := r.worker()
	r.waitOwners(5*time.Second, map[string]int{w1.name: 8, w2.name: 8})
	flows(within(5*time.Second), "a worker was added")

	w3, w4 := r.worker(), r.worker()
	r.waitOwners(5*time.Second, map[string]int{w1.name: 4, w2.name: 4, w3.name: 4, w4.name: 4})
	flows(within(5*time.Second), "two workers were added")

	// Graceful: others own everything within a second.
	begin, limit := time.Now(), within(time.Second)
	w1.stop()
	limit.eventually(t, "others own the partitions of a worker that stops", func() error { return r.without(w1) })
	t.Logf("after a stop the others owned everything in %v", time.Since(begin).Round(time.Millisecond))
	flows(within(5*time.Second), "a worker stopped")

	// A crash: within five.
	begin = time.Now()
	w2.crash()
	eventually(t, 5*time.Second, "others own the partitions of a worker that died", func() error { return r.without(w2) })
	t.Logf("after a crash the others owned everything in %v", time.Since(begin).Round(time.Millisecond))
	flows(within(5*time.Second), "the takeover")

	// A link that is frozen for ever, and nobody tells.
	w3.via.freeze()
	limit = within(5 * time.Second)
	limit.eventually(t, "others own the partitions of a worker behind a frozen link", func() error { return r.without(w3) })
	flows(limit, "the takeover")

	p.settle(patience, clients...)
	r.noDead()
	w3.via.sever()
}

// without is nil when all partitions and the intake are owned, and none by that worker.
func (r *rig) without(dead *process) error {
	owned, intake := r.owners()
	n := 0
	for _, c := range owned {
		n += c
	}
	if n != r.cfg.Partitions || owned[dead.name] > 0 || intake == dead.name || intake == "" {
		return fmt.Errorf("partitions are owned as %v, the intake by %q", owned, intake)
	}
	return nil
}

// TestWorkerGivesBackAndTakesAgain: partitions go to a new worker that dies at once,
// and come back, over and over.
func TestWorkerGivesBackAndTakesAgain(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	g1, g2 := r.gateway(), r.gateway()
	w1 := r.worker()
	r.waitOwners(patience, map[string]int{w1.name: 16})
	sources := fourSources(r)
	clients := watchers(t, sources, g1, g2)
	p := r.produce(200, 0, sources...)
	for range 3 {
		w := r.worker()
		r.waitOwners(5*time.Second, map[string]int{w1.name: 8, w.name: 8})
		w.stop()
		r.waitOwners(5*time.Second, map[string]int{w1.name: 16})
		if n := w.metric("sluice_worker_failures_total"); n != 0 {
			t.Errorf("the new worker began %v generations again, want none: nothing has failed", n)
		}
	}
	if n := w1.metric("sluice_worker_failures_total"); n != 0 {
		t.Errorf("the old worker began %v generations again, want none: nothing has failed", n)
	}
	p.settle(patience, clients...)
	r.noDead()
}

// TestNoWorker: events wait while there is none.
func TestNoWorker(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	g1, g2 := r.gateway(), r.gateway()
	sources := fourSources(r)
	clients := watchers(t, sources, g1, g2)
	p := r.produce(400, 0, sources...)
	eventually(t, patience, "events wait", func() error {
		if p.sent(3) < 100 {
			return fmt.Errorf("%d sent", p.sent(3))
		}
		return nil
	})
	r.worker()
	eventually(t, patience, "more events", func() error {
		if p.sent(3) < 200 {
			return fmt.Errorf("%d sent", p.sent(3))
		}
		return nil
	})
	p.settle(patience, clients...)
	r.noDead()
}
