package inproc_test

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// TestReplyLost lets Redis execute a command, and loses the reply and the connection.
func TestReplyLost(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name  string
		at    func(flight) bool
		keyed bool
		times int
	}{
		{"append", isAppend, false, 3},
		{"claim", isClaim, true, 3},
		{"append of claimed", isAppend, true, 3},
		{"commit", isCommit, false, 3},
		{"commit of claimed", isCommit, true, 3},
		{"forward", isForward, false, 3},
		{"intake commit", isIntakeCommit, false, 3},
		{"renew", isRenew, false, 2},
		{"trim", isTrim, false, 2},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			g1, g2, w1, w2 := r.pair()
			sources := fourSources(r)
			clients := watchers(t, sources, g1, g2)
			var p *producer
			if tc.keyed {
				p = r.produceKeyed(100, sources...)
			} else {
				p = r.produce(200, 0, sources...)
			}
			flows(p, clients)
			for range tc.times {
				// Whoever of the two sends such a thing.
				l1, l2 := w1.via.on(loseReply, tc.at), w2.via.on(loseReply, tc.at)
				select {
				case <-l1.hit:
				case <-l2.hit:
				case <-time.After(patience):
					t.Fatal("neither of the workers sends such a thing")
				}
				flows(p, clients)
			}
			p.settle(patience, clients...)
			r.noDead()
		})
	}
}

// TestTakeoverReplyLost loses the replies to a worker's first takeovers.
func TestTakeoverReplyLost(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	g1, g2, w1, w2 := r.pair()
	sources := fourSources(r)
	clients := watchers(t, sources, g1, g2)
	p := r.produce(200, 0, sources...)
	flows(p, clients)
	// w1 loses a commit and takes its partitions again: that reply is lost, too, and the
	// next one. So are those of w2 when it takes over what w1 leaves.
	lost := []*rule{w1.via.on(loseReply, isCommit), w1.via.on(loseReply, isTakeover)}
	for _, l := range lost {
		l.wait(t)
	}
	flows(p, clients)
	l := w2.via.on(loseReply, isTakeover)
	w1.stop()
	l.wait(t)
	flows(p, clients)
	r.waitOwners(patience, map[string]int{w2.name: 16})
	p.settle(patience, clients...)
	r.noDead()
}

// TestReleaseReplyLost loses the reply to a worker's release of partitions for another.
func TestReleaseReplyLost(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	g1, g2 := r.gateway(), r.gateway()
	w1 := r.worker()
	r.waitOwners(patience, map[string]int{w1.name: 16})
	sources := fourSources(r)
	clients := watchers(t, sources, g1, g2)
	p := r.produce(200, 0, sources...)
	flows(p, clients)
	// A release has no time.
	l := w1.via.on(loseReply, func(f flight) bool {
		return f.has(func(c command) bool { return c.script(":lease") && !c.script(":epoch") && len(c.args) == 5 })
	})
	w2 := r.worker()
	l.wait(t)
	flows(p, clients)
	r.waitOwners(patience, map[string]int{w1.name: 8, w2.name: 8})
	p.settle(patience, clients...)
	r.noDead()
}

// TestSessionReplyLost loses the reply to the write of a session: the client is
// welcome all the same, its events come, and when it has gone so is its session.
func TestSessionReplyLost(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	g := r.gateway()
	r.worker()
	l := g.via.on(loseReply, isSession)
	c := join(t, g, "alice", topics("room"))
	l.wait(t)
	for _, target := range []string{"user:alice", "topic:room", "all"} {
		if n := r.rdb.HLen(ctx, r.key(target, "session")).Val(); n != 1 {
			t.Errorf("%s: %d sessions, want 1", target, n)
		}
		r.add("direct", target, 0, 5)
		c.mustHave(patience, target, 0, 5)
	}
	l = g.via.on(loseReply, func(f flight) bool { return f.has(func(c command) bool { return c.script(":session:user:alice") }) })
	c.leave()
	l.wait(t)
	for _, target := range []string{"user:alice", "topic:room", "all"} {
		r.noSession(target)
	}
}

// TestSessionOfLeaver: the write's reply is lost, and the client has gone before it
// can be repeated.
func TestSessionOfLeaver(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	g := r.gateway()
	leaver := make(chan *client, 1)
	l := g.via.on(loseReply, func(f flight) bool {
		if !isSession(f) {
			return false
		}
		(<-leaver).kill()
		return true
	})
	leaver <- dial(t, g, "alice")
	l.wait(t)
	eventually(t, patience, "the connection ends", func() error {
		if n := g.metric("sluice_gateway_connections"); n != 0 {
			return fmt.Errorf("%v connections", n)
		}
		return nil
	})
	r.noSession("user:alice")
	r.noSession("all")
}

func (r *rig) noSession(target string) {
	r.t.Helper()
	eventually(r.t, patience, "no session of "+target, func() error {
		if fields := r.rdb.HGetAll(ctx, r.key(target, "session")).Val(); len(fields) > 0 {
			return fmt.Errorf("there are %v", fields)
		}
		return nil
	})
}

// TestPublishReplyLost: the gateway does not know whether a client's event was
// appended. The client publishes again with the same key, and everybody gets it once.
func TestPublishReplyLost(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	g1, g2, _, _ := r.pair()
	alice, bob := join(t, g1, "alice", topics("room")), join(t, g2, "bob", topics("room"))
	id := ""
	for i := range 3 {
		l := g1.via.on(loseReply, isPublish)
		publish := func(ref string) {
			alice.send(msg{"type": "publish", "ref": ref, "to": "topic:room", "data": i, "id": fmt.Sprint("key-", i)})
		}
		first, second := fmt.Sprint("first-", i), fmt.Sprint("second-", i)
		publish(first)
		l.wait(t)
		refused := alice.wait("an error for "+first, func(f frame) bool { return f.Ref == first && f.Type == "error" })
		if refused.Code != "unavailable" {
			t.Errorf("refused with %q, want unavailable", refused.Code)
		}
		publish(second)
		again := alice.answer(second)
		if again.Type != "published" || !again.Duplicate {
			t.Errorf("the second try was answered with %+v, want published, duplicate", again)
		}
		bob.mustHave(patience, "topic:room", 0, i+1)
		if id = bob.last("topic:room"); again.ID != id {
			t.Errorf("published says id %s, the event has %s", again.ID, id)
		}
	}
	alice.mustHave(patience, "topic:room", 0, 3)
	if from := alice.all("topic:room")[1].Type; !strings.HasPrefix(from, "event") {
		t.Errorf("first frame is %s", from)
	}
}
