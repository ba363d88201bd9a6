package inproc_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"sluice/gateway"
)

func fastPing(c *gateway.Config) { c.PingInterval = 500 * time.Millisecond }

// sessions are the fields of a target's Hash.
func (r *rig) sessions(target string) map[string]string {
	fields, err := r.rdb.HGetAll(ctx, r.key(target, "session")).Result()
	if err != nil {
		r.t.Fatal(err)
	}
	return fields
}

// TestSessions follows the fields of users, topics and all from the first client to
// the last.
func TestSessions(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	g1, g2 := r.gateway(), r.gateway()
	a1, a2 := join(t, g1, "alice", topics("room")), join(t, g2, "alice", topics("room"))
	b1 := join(t, g1, "bob", topics("room"))
	conn := func(c *client) string {
		return c.wait("welcome", func(f frame) bool { return f.Type == "welcome" }).Conn
	}
	expect := func(target string, want map[string]string) {
		t.Helper()
		eventually(t, patience, "sessions of "+target, func() error {
			got := r.sessions(target)
			for field, server := range want {
				name, expires, _ := strings.Cut(got[field], " ")
				ms, err := strconv.ParseInt(expires, 10, 64)
				if left := time.Until(time.UnixMilli(ms)); err != nil || name != server || left < 50*time.Second || left > 61*time.Second {
					return fmt.Errorf("they are %v, want %v for a minute", got, want)
				}
			}
			if len(got) != len(want) {
				return fmt.Errorf("they are %v, want %v", got, want)
			}
			return nil
		})
	}
	// They are there with the welcome: nobody has to wait for them.
	both := map[string]string{g1.name: g1.name, g2.name: g2.name}
	expect("user:alice", map[string]string{conn(a1): g1.name, conn(a2): g2.name})
	expect("user:bob", map[string]string{conn(b1): g1.name})
	expect("topic:room", both)
	expect("all", both)

	a1.leave()
	expect("user:alice", map[string]string{conn(a2): g2.name})
	expect("topic:room", both) // bob is there
	b1.send(msg{"type": "unsubscribe", "ref": "u", "to": "topic:room"})
	b1.answer("u")
	expect("topic:room", map[string]string{g2.name: g2.name})
	expect("all", both)
	b1.kill() // without a word
	expect("user:bob", nil)
	expect("all", map[string]string{g2.name: g2.name})
	a2.leave()
	for _, target := range []string{"user:alice", "topic:room", "all"} {
		r.noSession(target)
	}
}

// TestSessionBeforeWelcome asks Redis at the moment of the welcome.
func TestSessionBeforeWelcome(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	g := r.gateway()
	for i := range 20 {
		user := fmt.Sprint("u", i)
		held := g.via.on(freezeAt, isSession)
		c := dial(t, g, user, topics(user))
		held.wait(t)
		c.mu.Lock()
		if len(c.frames) > 0 {
			t.Errorf("%s got %+v before its session was written", user, c.frames[0])
		}
		c.mu.Unlock()
		g.via.thaw()
		welcome := c.wait("welcome", func(f frame) bool { return f.Type == "welcome" })
		if _, ok := r.sessions("user:" + user)[welcome.Conn]; !ok {
			t.Errorf("%s is welcome, and has no session", user)
		}
		if _, ok := r.sessions("topic:" + user)[g.name]; !ok {
			t.Errorf("%s is welcome, and its topic has no session", user)
		}
	}
}

// TestSessionsRenewed: fields outlive their time to live as long as clients answer.
func TestSessionsRenewed(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(c *config) { c.SessionTTL = 1500 * time.Millisecond })
	g := r.gateway(fastPing)
	r.worker()
	c := join(t, g, "alice", topics("room"))
	targets := []string{"user:alice", "topic:room", "all"}
	first := make(map[string]int64)
	expires := func(target string) int64 {
		for _, v := range r.sessions(target) {
			_, text, _ := strings.Cut(v, " ")
			ms, _ := strconv.ParseInt(text, 10, 64)
			return ms
		}
		t.Errorf("%s has no session", target)
		return 0
	}
	for _, target := range targets {
		first[target] = expires(target)
	}
	for _, target := range targets {
		eventually(t, patience, target+" is renewed beyond its first time", func() error {
			if ms := expires(target); ms < first[target]+2000 {
				return fmt.Errorf("it ends %d ms after the first one", ms-first[target])
			}
			return nil
		})
	}
	for i, target := range targets {
		r.add("direct", target, 0, i+1)
		c.mustHave(patience, target, 0, i+1)
	}
	if n := g.metric("sluice_gateway_gaps_total") + g.metric("sluice_gateway_closes_total"); n != 0 {
		t.Errorf("%v gaps and closes", n)
	}
}

// TestSessionsOfTheDead: a gateway dies. Its fields expire by themselves, its clients
// come back elsewhere, and events for others go on.
func TestSessionsOfTheDead(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(c *config) { c.SessionTTL = 2 * time.Second })
	g1, g2 := r.gateway(fastPing), r.gateway(fastPing)
	r.worker()
	a1, b2 := join(t, g1, "alice", topics("room")), join(t, g2, "bob", topics("room"))
	r.add("direct", "topic:room", 0, 5)
	a1.mustHave(patience, "topic:room", 0, 5)
	g1.crash()
	a1.kill()
	r.add("direct", "topic:room", 5, 5)
	b2.mustHave(patience, "topic:room", 0, 10)
	a2 := dial(t, g2, "alice", resuming("alice", map[string]string{"topic:room": a1.last("topic:room")}))
	a2.mustHave(patience, "topic:room", 5, 10)
	eventually(t, patience, "the dead gateway's fields have gone", func() error {
		r.add("direct", "user:alice", 0, 1, "retain", "0") // who looks sweeps
		r.add("direct", "topic:room", 0, 1, "retain", "0")
		for _, target := range []string{"user:alice", "topic:room"} {
			for field, value := range r.sessions(target) {
				if strings.HasPrefix(value, g1.name+" ") {
					return fmt.Errorf("%s has %s: %s", target, field, value)
				}
			}
		}
		return nil
	})
}

// TestDrain: a gateway stops. Each client's session has gone before it is told to go.
func TestDrain(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(c *config) { c.HistorySize = 100_000 })
	g1, g2 := r.gateway(func(c *gateway.Config) { c.DrainTimeout = 4 * time.Second }), r.gateway()
	r.worker()
	r.worker()
	const n = 24
	var clients []*client
	conns := make([]string, n)
	for i := range n {
		c := join(t, g1, fmt.Sprint("u", i), topics("room"))
		conns[i] = c.wait("welcome", func(f frame) bool { return f.Type == "welcome" }).Conn
		clients = append(clients, c)
	}
	p := r.produce(300, 0, source{"direct", "topic:room"})
	clients[0].waitEvents(patience, "topic:room", 20)

	// The removal of the first sessions is held back: nobody may be sent away yet.
	held := g1.via.on(freezeAt, func(f flight) bool {
		return f.has(func(c command) bool {
			return (c.is("EVALSHA") || c.is("EVAL")) && strings.Contains(c.args[3], ":session:user:")
		})
	})
	g1.cancel()
	held.wait(t)
	for i, c := range clients {
		if events := c.all(""); len(events) > 1 {
			t.Errorf("client %d was sent away, and its session is there: %+v", i, events[len(events)-1])
		}
	}
	g1.via.thaw()
	for i, c := range clients {
		goaway := c.wait("goaway", func(f frame) bool { return f.Type == "goaway" })
		if _, there := r.sessions(fmt.Sprint("user:u", i))[conns[i]]; there {
			t.Errorf("client %d was told to go, and its session is there", i)
		}
		if goaway.AfterMs < 0 || goaway.AfterMs > 10_000 || goaway.Reason == "" {
			t.Errorf("client %d: %+v", i, goaway)
		}
		if code := c.waitClose(patience); code != 1012 {
			t.Errorf("client %d: closed with %d, want 1012", i, code)
		}
		next, err := follow(c.all("topic:room"), "topic:room", 0)
		if err != nil {
			t.Errorf("client %d: %v", i, err)
		}
		back := dial(t, g2, fmt.Sprint("u", i), resuming(fmt.Sprint("u", i), map[string]string{"topic:room": c.last("topic:room")}))
		back.waitSubscribed("topic:room")
		clients[i], conns[i] = back, strconv.Itoa(next)
	}
	g1.wait(patience)
	for _, target := range []string{"all", "topic:room"} {
		if _, there := r.sessions(target)[g1.name]; there {
			t.Errorf("%s still has the gateway that stopped", target)
		}
	}
	if live := r.rdb.ZRange(ctx, "sluice:servers", 0, -1).Val(); len(live) != 1 || live[0] != g2.name {
		t.Errorf("%v live, want %s", live, g2.name)
	}
	end := p.finish()[0]
	for i, c := range clients {
		next, _ := strconv.Atoi(conns[i])
		c.mustHave(patience, "topic:room", next, end)
	}
}

// TestGreatestAge: connections are sent away between half of the greatest age and the
// whole of it, spread, after their sessions are gone, and miss nothing.
func TestGreatestAge(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	const age = 4 * time.Second
	g1, g2 := r.gateway(func(c *gateway.Config) { c.MaxAge = age }), r.gateway()
	r.worker()
	const n = 12
	clients, conns := make([]*client, n), make([]string, n)
	begin := time.Now()
	for i := range n {
		clients[i] = join(t, g1, fmt.Sprint("u", i), topics("room"))
		conns[i] = clients[i].wait("welcome", func(f frame) bool { return f.Type == "welcome" }).Conn
	}
	opened := time.Now()
	p := r.produce(100, 0, source{"direct", "topic:room"})
	first, last := time.Duration(1<<62), time.Duration(0)
	for i, c := range clients {
		c.wait("goaway", func(f frame) bool { return f.Type == "goaway" })
		if _, there := r.sessions(fmt.Sprint("user:u", i))[conns[i]]; there {
			t.Errorf("client %d was told to go, and its session is there", i)
		}
		if code := c.waitClose(patience); code != 1012 {
			t.Errorf("client %d: closed with %d, want 1012", i, code)
		}
		told := c.at[len(c.at)-1]
		if told.Sub(begin) < age/2 {
			t.Errorf("client %d was sent away after %v, before half of %v", i, told.Sub(begin), age)
		}
		first, last = min(first, told.Sub(opened)), max(last, told.Sub(opened))
		next, err := follow(c.all("topic:room"), "topic:room", 0)
		if err != nil {
			t.Errorf("client %d: %v", i, err)
		}
		back := dial(t, g2, fmt.Sprint("u", i), resuming(fmt.Sprint("u", i), map[string]string{"topic:room": c.last("topic:room")}))
		back.waitSubscribed("topic:room")
		clients[i], conns[i] = back, strconv.Itoa(next)
	}
	if last-first < age/20 {
		t.Errorf("all were sent away within %v", last-first)
	}
	end := p.finish()[0]
	for i, c := range clients {
		next, _ := strconv.Atoi(conns[i])
		c.mustHave(patience, "topic:room", next, end)
	}
}

// TestDrainWithoutRedis: a gateway can stop when Redis does not answer, and its clients
// are told to go, not all at once.
func TestDrainWithoutRedis(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	// The last quarter is for the last ones to answer the close: who does not is cut off.
	g := r.gateway(func(c *gateway.Config) { c.DrainTimeout = 6 * time.Second })
	var clients []*client
	for i := range 8 {
		clients = append(clients, join(t, g, fmt.Sprint("u", i)))
	}
	g.via.freeze()
	begin, end := time.Now(), within(13*time.Second)
	g.cancel()
	first, last := time.Now(), begin
	for _, c := range clients {
		if code := c.waitClose(patience); code != 1012 {
			t.Errorf("%s: closed with %d, want 1012", c.name, code)
			continue
		}
		told := c.at[len(c.at)-1] // of the goaway
		if told.Before(first) {
			first = told
		}
		if told.After(last) {
			last = told
		}
	}
	if spread := last.Sub(first); spread < 1500*time.Millisecond {
		t.Errorf("all clients were sent away within %v, want that spread over four seconds", spread)
	}
	g.wait(patience)
	if end.left() <= 0 {
		t.Errorf("the end took %v", time.Since(begin))
	}
}

// TestSessionLost: a session disappears while everything is well, and one event is
// added, which is published to nobody. With the next renewal it comes, without
// another event.
func TestSessionLost(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(c *config) { c.SessionTTL = 2 * time.Second })
	g := r.gateway(fastPing)
	r.worker()
	c := join(t, g, "alice", topics("room"))
	for _, target := range []string{"user:alice", "topic:room", "all"} {
		r.add("direct", target, 0, 3)
		c.mustHave(patience, target, 0, 3)
		pipe := r.rdb.TxPipeline()
		pipe.Del(ctx, r.key(target, "session"))
		r.entry(pipe, "direct", target, "3")
		if _, err := pipe.Exec(ctx); err != nil {
			t.Fatal(err)
		}
		c.mustHave(2*time.Second, target, 0, 4)
	}
}

// TestGatewayAsleep: a gateway's link stands still for longer than its sessions and
// its place among the living last. When it moves again, everything comes that was
// not published to it meanwhile, without a new event.
func TestGatewayAsleep(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(c *config) { c.SessionTTL = 1500 * time.Millisecond })
	g := r.gateway(fastPing)
	r.worker()
	c := join(t, g, "alice", topics("room"))
	targets := []string{"user:alice", "topic:room", "all"}
	for _, target := range targets {
		r.add("direct", target, 0, 3)
		c.mustHave(patience, target, 0, 3)
	}
	g.via.freeze()
	for _, target := range targets {
		eventually(t, patience, "the session of "+target+" has expired", func() error {
			now := time.Now().UnixMilli()
			for _, v := range r.sessions(target) {
				_, text, _ := strings.Cut(v, " ")
				if ms, _ := strconv.ParseInt(text, 10, 64); ms >= now {
					return fmt.Errorf("it lives for %d ms", ms-now)
				}
			}
			return nil
		})
		r.add("direct", target, 3, 4)
	}
	eventually(t, patience, "the gateway is given up", func() error {
		if n := r.rdb.ZCount(ctx, "sluice:servers", strconv.FormatInt(time.Now().UnixMilli(), 10), "+inf").Val(); n > 0 {
			return fmt.Errorf("it lives")
		}
		return nil
	})
	g.via.thaw()
	begin := time.Now()
	for _, target := range targets {
		c.mustHave(6*time.Second, target, 0, 7)
		t.Logf("%s is complete %v after the gateway went on", target, time.Since(begin).Round(time.Millisecond))
		r.add("direct", target, 7, 3)
		c.mustHave(patience, target, 0, 10)
	}
}

// TestLateRenewal: the renewal of a session is on a stalled link while its client
// leaves, and is executed late. The field does not stay.
func TestLateRenewal(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	g := r.gateway(fastPing)
	c := join(t, g, "alice")
	held := g.via.on(freezeAt, isSession) // a pong's
	held.wait(t)
	c.leave()
	eventually(t, patience, "the connection ends", func() error {
		if n := g.metric("sluice_gateway_connections"); n != 0 {
			return fmt.Errorf("%v connections", n)
		}
		return nil
	})
	failures := g.metric("sluice_gateway_session_failures_total")
	eventually(t, patience, "the write of the session has failed", func() error {
		if g.metric("sluice_gateway_session_failures_total") == failures {
			return fmt.Errorf("it has not")
		}
		return nil
	})
	g.via.thaw()
	r.noSession("user:alice")
}

// TestStrayRenewal: the renewal of a session stands still on its link, and is executed
// when the client has left and its session was removed. It is removed once more.
func TestStrayRenewal(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(c *config) { c.SessionTTL = 2 * patience })
	g := r.gateway(fastPing)
	c := join(t, g, "alice")
	held, release := make(chan struct{}), make(chan struct{})
	late := g.via.between(isSession, func(i int, _ command) {
		if i == 0 {
			close(held)
			<-release
		}
	})
	<-held
	c.leave()
	r.noSession("user:alice")
	looked := make(chan struct{})
	g.via.between(func(f flight) bool { return f.hasName("EVALSHA") }, func(i int, _ command) { // the next removal
		if i == 0 {
			<-looked
		}
	})
	close(release)
	late.wait(t)
	there := len(r.sessions("user:alice"))
	close(looked)
	if there == 0 {
		t.Fatal("the late renewal had no effect")
	}
	r.noSession("user:alice")
}
