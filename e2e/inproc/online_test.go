package inproc_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"sluice/gateway"
	"sluice/worker"
)

// TestOnlineAndOffline tells functions that a user has come and has left, whatever happens to connections, gateways and workers
// in between.
func TestOnlineAndOffline(t *testing.T) {
	t.Parallel()
	const grace = 3 * time.Second
	f := startFunction(t, func(heard) (int, string) { return 200, `{"close":{"code":4000},"state":1}` })
	r := newRig(t)
	r.cfg.SessionTTL = 6 * time.Second
	quick := func(c *gateway.Config) { c.PingInterval = 2 * time.Second }
	serves := func(c *worker.Config) {
		f.serves("call", "online", "offline")(c)
		c.Functions.Offline = grace
	}
	g1, g2 := r.gateway(quick), r.gateway(quick)
	w := r.worker(serves)
	for _, g := range []*gatewayProcess{g1, g2} {
		g.takesPosts(t, "probe", "x")
	}
	told := func(user, want string) {
		t.Helper()
		eventually(t, patience, user+": "+want, func() error {
			if got := f.presence(user); got != want {
				return fmt.Errorf("functions heard %q", got)
			}
			return nil
		})
	}
	first, second := join(t, g1, "alice"), join(t, g2, "alice")
	_ = join(t, g2, "bob")
	told("alice", "online")
	told("bob", "online")
	first.leave()
	second.leave()
	first = join(t, g1, "alice")
	g2.crash() // bob's connection ends with its session
	_ = join(t, g1, "bob")
	carol := join(t, g1, "carol")
	told("carol", "online")
	w.stop()
	carol.leave()
	left := time.Now()
	r.worker(serves)
	told("carol", "online offline")
	if took := time.Since(left); took < grace {
		t.Errorf("offline came after %v, want %v at least", took, grace)
	}
	eventually(t, patience, "the lost connection is found", func() error {
		for _, user := range []string{"alice", "bob"} {
			if r.rdb.ZScore(ctx, r.key("user:"+user, "leaving"), user).Err() == nil {
				return fmt.Errorf("%s may have left", user)
			}
			if n := r.rdb.HLen(ctx, r.key("user:"+user, "calling:user:"+user)).Val(); n != 3 { // one connection, that its begin was not told, and that it is online
				return fmt.Errorf("%s: %v", user, r.rdb.HGetAll(ctx, r.key("user:"+user, "calling:user:"+user)).Val())
			}
		}
		return nil
	})
	told("alice", "online")
	told("bob", "online")
	first.leave()
	told("alice", "online offline")
	_ = join(t, g1, "alice")
	told("alice", "online offline online")
	for _, h := range append(f.of("sluice.online", "alice"), f.of("sluice.offline", "alice")...) {
		if h.Data.Conn != "" || h.Data.Seq != map[string]int{"sluice.online": 1, "sluice.offline": 2}[h.Type] {
			t.Errorf("%+v", h)
		}
	}
}

// presence is what the function heard of a user's coming and going.
func (f *function) presence(user string) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var kinds []string
	seen := make(map[string]bool)
	for _, h := range f.calls {
		kind := strings.TrimPrefix(h.Type, "sluice.")
		if h.Subject == "user:"+user && (kind == "online" || kind == "offline") && !seen[h.ID] {
			seen[h.ID] = true
			kinds = append(kinds, kind)
		}
	}
	return strings.Join(kinds, " ")
}
