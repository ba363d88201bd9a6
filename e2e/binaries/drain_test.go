package binaries_test

import (
	"net/http"
	"syscall"
	"testing"
	"time"
)

// TestDrain: on SIGTERM a gateway is not ready at once, takes nobody in, removes its sessions, says goaway, closes with
// 1012 spread over the drain window, and exits 0. What comes meanwhile is not lost.
func TestDrain(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	g := c.startGateway(t, "SLUICE_DRAIN_TIMEOUT=3s")
	topic := "topic:" + unique("drained")
	var clients []*client
	for range 8 {
		s := join(t, g, unique("drained"))
		s.subscribe(topic, "")
		clients = append(clients, s)
		own := "user:" + s.welcome.User
		c.send(t, own, number(0))
		s.waitEvents(own, 1)
	}

	start := time.Now()
	g.Signal(t, syscall.SIGTERM)
	unready, ended := false, false
	for !unready && !ended {
		ended = g.Ended()
		status, _ := g.get("/readyz")
		unready = status == http.StatusServiceUnavailable
		if time.Since(start) > patience {
			t.Fatalf("still ready %v after SIGTERM", patience)
		}
	}
	if !unready {
		t.Error("it never said that it is not ready")
	}
	if late, err := tryDial(t, g.addr, withBearer("dev:late")); err == nil {
		late.waitClose()
		if len(late.frames) > 0 && late.frames[0].Type == "welcome" {
			t.Error("a draining gateway took a new connection in")
		}
	}
	for _, s := range clients {
		c.send(t, "user:"+s.welcome.User, number(1))
	}

	var first, last time.Duration
	pauses := map[int64]bool{}
	for _, s := range clients {
		s.mustClose(1012)
		f := s.waitType("goaway")
		if f.AfterMS == nil || *f.AfterMS < 0 || f.Reason == "" {
			t.Fatalf("goaway does not say when to come back and why: %s", f)
		}
		pauses[*f.AfterMS] = true
		at := s.endAt.Sub(start)
		if first == 0 || at < first {
			first = at
		}
		last = max(last, at)
	}
	if len(pauses) == 1 {
		t.Errorf("all 8 are to come back after the same time: %v", pauses)
	}
	if last-first < time.Second {
		t.Errorf("8 connections were closed within %v of a drain window of 3s: they come back all at once", last-first)
	}
	if code := g.ExitCode(t, patience); code != 0 {
		t.Errorf("it exits with %d on SIGTERM\n%s", code, g.Tail())
	}
	if d := time.Since(start); d > 10*time.Second {
		t.Errorf("it took %v to exit with a drain window of 3s", d)
	}
	for _, s := range clients {
		own := "user:" + s.welcome.User
		if err := c.gone(t, own, s.welcome.Conn); err != nil {
			t.Error(err)
		}
		back := connect(t, c.gateways[0], s.welcome.User, msg{"resume": msg{own: s.last(own)}})
		seen := len(s.targets[own]) // 1, or 2 when the second one came before the close
		back.waitEvents(own, 2-seen)
		requireNumbers(t, own, back.syncEvents(own), seen, 2)
	}
	for _, target := range []string{topic, "all"} {
		if err := c.gone(t, target, g.id); err != nil {
			t.Error(err)
		}
	}
}

// TestWorkerStops: SIGTERM ends a worker with 0, and its leases are free for another at once.
func TestWorkerStops(t *testing.T) {
	t.Parallel()
	c := newCluster(t, t, 1, 1)
	s := join(t, c.gateways[0], "reader")
	own := "user:reader"
	c.send(t, own, number(0))
	s.waitEvents(own, 1)
	c.workers[0].Signal(t, syscall.SIGTERM)
	if code := c.workers[0].ExitCode(t, patience); code != 0 {
		t.Errorf("it exits with %d on SIGTERM\n%s", code, c.workers[0].Tail())
	}
	for p := range c.partitions {
		key := c.partitionKey(p, "lease")
		if owner, err := c.Get(ctx, key).Result(); err == nil {
			t.Errorf("%s is still held by %s", key, owner)
		}
	}
	c.send(t, own, number(1))
	c.startWorker(t)
	s.waitEvents(own, 2)
	requireNumbers(t, own, s.syncEvents(own), 0, 2)
}
