package binaries_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"testing"
	"time"
)

// frozenTargets are those of the tests in this file, whose events are numbered in turn.
var frozenTargets = []string{"user:reader", "all", "topic:frozen"}

// steady appends numbered events for frozenTargets, each with an idempotency key and again until Redis says that it has
// it, as a producer does whose event must not get lost. stop returns how many there are.
func (c *cluster) steady(t *testing.T) (stop func() int) {
	t.Helper()
	quit, cancel := context.WithCancel(ctx)
	sent, done := 0, make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-quit.Done():
				return
			case <-tick.C:
			}
			target := frozenTargets[sent%len(frozenTargets)]
			e := entry{c.intake(), fields(target, number(sent/len(frozenTargets)), "id", fmt.Sprint(sent))}
			if target == "all" { // one of them directly
				e.stream = c.ingress(target)
			}
			if _, err := c.tryAddAll([]entry{e}); err == nil {
				sent++
			}
		}
	}()
	stop = func() int {
		cancel()
		<-done
		return sent
	}
	t.Cleanup(func() { stop() })
	return stop
}

// goesOn waits until ten more events of each target have come, and returns how long it took.
func (c *client) goesOn(limit time.Duration, when string) time.Duration {
	c.t.Helper()
	c.collect() // what had come before does not count
	begin, goal := time.Now(), map[string]int{}
	for _, target := range frozenTargets {
		goal[target] = len(c.targets[target]) + 10
	}
	c.untilWithin(limit, "events of each target "+when, func() bool {
		for target, n := range goal {
			if len(c.targets[target]) < n {
				return false
			}
		}
		return true
	})
	return time.Since(begin).Round(time.Millisecond)
}

// hasAll waits until the client has the first total events, each once and in order, on one connection and without a gap.
func (c *client) hasAll(total int) {
	c.t.Helper()
	events := func(i int) int { return (total + len(frozenTargets) - 1 - i) / len(frozenTargets) } // of a target
	for i, target := range frozenTargets {
		n := events(i)
		c.untilWithin(patience, fmt.Sprintf("all %d events of %s", n, target), func() bool { return len(c.targets[target]) >= n })
	}
	for _, f := range c.sync() {
		if f.Type == "gap" {
			c.t.Errorf("told of a gap: %s", f)
		}
	}
	for i, target := range frozenTargets {
		requireNumbers(c.t, target, c.targets[target], 0, events(i))
	}
}

// haveAll checks that each of the clients has all, and that nothing is a dead letter.
func (c *cluster) haveAll(t *testing.T, all []*client, total int) {
	t.Helper()
	for _, r := range all {
		r.hasAll(total)
	}
	if n := c.XLen(ctx, c.dead()).Val(); n != 0 {
		t.Errorf("there are %d dead letters", n)
	}
}

// readers are a client on each gateway that wants frozenTargets.
func readers(t *testing.T, c *cluster) []*client {
	t.Helper()
	var all []*client
	for _, g := range c.gateways {
		r := join(t, g, "reader")
		r.subscribe("topic:frozen", "")
		all = append(all, r)
	}
	return all
}

// TestRedisFrozen: Redis answers nobody for 20 s. Clients stay connected, and what producers have appended comes, once
// and in order.
func TestRedisFrozen(t *testing.T) {
	t.Parallel()
	c := newCluster(t, t, 2, 2, "SLUICE_HISTORY_SIZE=5000", "SLUICE_PING_INTERVAL=5s")
	all := readers(t, c)
	stop := c.steady(t)
	for _, r := range all {
		r.goesOn(patience, "at the start")
	}
	pinged := all[0].pinged()
	c.Signal(t, syscall.SIGSTOP)
	<-time.After(20 * time.Second)
	c.Signal(t, syscall.SIGCONT)
	if n := all[0].pinged() - pinged; n < 2 {
		t.Errorf("pinged %d times while Redis was frozen: a gateway that waits for Redis must not forget its clients", n)
	}
	for i, r := range all {
		t.Logf("client %d: the flow is back %v after Redis is", i, r.goesOn(patience, "after Redis was frozen"))
	}
	c.haveAll(t, all, stop())
}

// TestNoWorker: for 30 s there is no worker. Producers and clients notice nothing but that events come later.
func TestNoWorker(t *testing.T) {
	t.Parallel()
	c := newCluster(t, t, 2, 1, "SLUICE_HISTORY_SIZE=5000")
	all := readers(t, c)
	stop := c.steady(t)
	for _, r := range all {
		r.goesOn(patience, "at the start")
	}
	c.workers[0].Kill()
	<-time.After(30 * time.Second)
	for _, r := range all {
		r.collect()
	}
	c.startWorker(t)
	for i, r := range all {
		t.Logf("client %d: the flow is back %v after the worker was ready", i, r.goesOn(patience, "with a worker again"))
	}
	c.haveAll(t, all, stop())
}

// TestWorkerFrozen: a worker sleeps through its leases, and wakes up with a batch in its hands. Another one has taken
// over; what the first one still does has no effect, and it takes part again.
func TestWorkerFrozen(t *testing.T) {
	t.Parallel()
	c := newCluster(t, t, 2, 2, "SLUICE_HISTORY_SIZE=5000")
	all := readers(t, c)
	stop := c.steady(t)
	for _, target := range frozenTargets[:2] {
		for _, r := range all {
			r.goesOn(patience, "before")
		}
		sleeper, other := c.workers[0], c.workers[1]
		if c.Get(ctx, c.key(target, "lease")).Val() == other.id {
			sleeper, other = other, sleeper
		}
		sleeper.Signal(t, syscall.SIGSTOP)
		begin := time.Now()
		for p := range c.partitions {
			eventually(t, func() error {
				if owner := c.Get(ctx, c.partitionKey(p, "lease")).Val(); owner != other.id {
					return fmt.Errorf("partition %d belongs to %q, not to %s", p, owner, other.id)
				}
				return nil
			})
		}
		t.Logf("%s has taken everything %v after the other one stopped", other.id, time.Since(begin).Round(time.Millisecond))
		for _, r := range all {
			r.goesOn(patience, "from the other worker")
		}
		said := strings.Count(sleeper.Printed(), "\n")
		sleeper.Signal(t, syscall.SIGCONT)
		eventually(t, func() error {
			share := 0
			for p := range c.partitions {
				if c.Get(ctx, c.partitionKey(p, "lease")).Val() == sleeper.id {
					share++
				}
			}
			if share != c.partitions/2 {
				return fmt.Errorf("%s has %d partitions", sleeper.id, share)
			}
			return nil
		})
		if n := strings.Count(sleeper.Printed(), "\n") - said; n > 20 {
			t.Errorf("%s wrote %d lines about its awakening\n%s", sleeper.id, n, sleeper.Tail())
		}
	}
	for _, r := range all {
		r.goesOn(patience, "with both again")
	}
	c.haveAll(t, all, stop())
}

// TestLateUnsubscribe: an unsubscribe lies in a frozen gateway until its device is back by another one, with the target.
// It has no effect then.
func TestLateUnsubscribe(t *testing.T) {
	t.Parallel()
	c := newCluster(t, t, 2, 1)
	user, topic := unique("late"), "topic:"+unique("late")
	frozen := c.gateways[0]
	phone := connect(t, frozen, user, msg{"device": "phone"})
	phone.subscribe(topic, "")
	id := c.addAll(t, entry{c.ingress(topic), fields(topic, number(1))})[0]
	phone.waitEvents(topic, 1)
	phone.send(msg{"type": "ack", "to": topic, "id": id})
	c.waitCursor(t, user, "phone", topic, id)

	frozen.Signal(t, syscall.SIGSTOP)
	phone.send(msg{"type": "unsubscribe", "ref": "late", "to": topic})
	<-time.After(3 * time.Second) // a gateway that stood still for less does not notice
	back := connect(t, c.gateways[1], user, msg{"device": "phone", "resume": "device"})
	frozen.Signal(t, syscall.SIGCONT)
	phone.mustError(phone.wait("the answer", func(f frame) bool { return f.Ref == "late" }), "unavailable")
	c.waitCursor(t, user, "phone", topic, id)
	back.must(back.ask(msg{"type": "unsubscribe", "to": topic}), "unsubscribed")
	eventually(t, func() error {
		if got := c.HGet(ctx, c.cursors(user), "phone "+topic).Val(); !strings.HasSuffix(got, " ended") {
			return fmt.Errorf("the cursor is %q", got)
		}
		return nil
	})
}

// TestLateSubscribe: what begins a target for a device lies in a frozen gateway until the device has been back by another one, and has
// unsubscribed there. It has no effect then, by whichever way it came.
func TestLateSubscribe(t *testing.T) {
	t.Parallel()
	c := newCluster(t, t, 2, 1)
	user, name := unique("late"), unique("late")
	frozen, topic := c.gateways[0], "topic:"+name
	asks := func(device string) url.Values {
		return url.Values{"token": {"dev:" + user}, "device": {device}, "topics": {name}}
	}
	subscribes := connect(t, frozen, user, msg{"device": "subscribes"})
	connects := dial(t, frozen)
	frozen.Signal(t, syscall.SIGSTOP)
	subscribes.send(msg{"type": "subscribe", "ref": "late", "to": topic})
	connects.send(msg{"type": "connect", "token": "dev:" + user, "device": "connects", "resume": map[string]string{topic: "0"}})
	upgraded, streamed := make(chan *client, 1), make(chan string, 1)
	go func() {
		client, err := tryDial(t, frozen.addr, func(h *handshake) { h.query = asks("upgrades") })
		if err != nil {
			t.Error(err)
		}
		upgraded <- client
	}()
	go func() {
		var text []byte
		resp, err := http.Get("http://" + frozen.addr + "/v1/sse?" + asks("streams").Encode())
		if err == nil {
			text, err = io.ReadAll(resp.Body)
			_ = resp.Body.Close()
		}
		if err != nil {
			t.Error(err)
		}
		streamed <- string(text)
	}()
	devices := []string{"subscribes", "connects", "upgrades", "streams"}
	for _, device := range devices {
		back := connect(t, c.gateways[1], user, msg{"device": device})
		back.subscribe(topic, "")
		back.must(back.ask(msg{"type": "unsubscribe", "to": topic}), "unsubscribed")
	}
	<-time.After(3 * time.Second) // a gateway that stood still for less does not notice
	frozen.Signal(t, syscall.SIGCONT)
	subscribes.mustError(subscribes.wait("the answer", func(f frame) bool { return f.Ref == "late" }), "unavailable")
	connects.mustClose(1013)
	if upgrades := <-upgraded; upgrades != nil {
		upgrades.mustClose(1013)
	}
	if text := <-streamed; !strings.Contains(text, "event: sluice.close\ndata: {\"type\":\"close\",\"code\":1013") {
		t.Errorf("the event stream does not end with 1013: %q", text)
	}
	for _, device := range devices {
		if got := c.HGet(ctx, c.cursors(user), device+" "+topic).Val(); !strings.HasSuffix(got, " ended") {
			t.Errorf("the cursor of the device that %s is %q", device, got)
		}
	}
}

// TestGatewayFrozen: a gateway sleeps until Redis's list of gateways has lost it and workers no longer publish to it.
// Its clients keep their connection and get what came meanwhile.
func TestGatewayFrozen(t *testing.T) {
	t.Parallel()
	c := newCluster(t, t, 2, 1, "SLUICE_HISTORY_SIZE=5000", "SLUICE_SESSION_TTL=4s", "SLUICE_PING_INTERVAL=1s")
	all := readers(t, c)
	stop := c.steady(t)
	for _, r := range all {
		r.goesOn(patience, "at the start")
	}
	sleeper := c.gateways[0]
	sleeper.Signal(t, syscall.SIGSTOP)
	eventually(t, func() error {
		if now := c.now(t); c.ZScore(ctx, "sluice:servers", sleeper.id).Val() > float64(now.UnixMilli()) {
			return fmt.Errorf("%s counts as alive", sleeper.id)
		}
		if _, expires, found := c.session(t, "topic:frozen", sleeper.id); found && expires.After(c.now(t)) {
			return fmt.Errorf("%s has a session", sleeper.id)
		}
		return nil
	})
	all[1].goesOn(patience, "on the other gateway")
	sleeper.Signal(t, syscall.SIGCONT)
	t.Logf("the flow is back %v after the gateway is", all[0].goesOn(patience, "after the gateway slept"))
	c.haveAll(t, all, stop())
}
