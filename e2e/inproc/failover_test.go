package inproc_test

import (
	"fmt"
	"sort"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"sluice/shared/store/storetest"
	"sluice/shared/wire"
	"sluice/worker"
)

// newReplicatedRig makes a rig on a Redis that outlives the loss of a node, without proxies.
func newReplicatedRig(t *testing.T, nodes *storetest.Replicated) *rig {
	t.Helper()
	r := &rig{t: t, rdb: nodes.Client(), bare: true, log: testLog(t), acks: worker.AckConfig{CursorTTL: time.Hour}, cfg: usualConfig(nodes.URL())}
	longHistory(&r.cfg)
	return r
}

// TestFailover loses a master, in each way, with a replica that has everything and with one
// that lags, while events flow and clients come back: the flow goes on within five seconds,
// on the same sockets, and every client has what the new master has, once and in order.
func TestFailover(t *testing.T) {
	for _, topology := range []struct {
		name  string
		start func(t *testing.T) *storetest.Replicated
	}{
		{"sentinel", func(t *testing.T) *storetest.Replicated {
			return storetest.Sentinel(t, "--appendonly", "yes", "--appendfsync", "no")
		}},
		{"cluster", func(t *testing.T) *storetest.Replicated {
			return storetest.ReplicatedCluster(t, 3, "--appendonly", "yes", "--appendfsync", "no")
		}},
	} {
		t.Run(topology.name, func(t *testing.T) {
			t.Parallel() // they wait for elections
			nodes := topology.start(t)
			r := newReplicatedRig(t, nodes)
			g1, g2, _, _ := r.pair()
			x := &failover{rig: r, nodes: nodes, sources: fourSources(r)}
			x.clients = watchers(t, x.sources, g1, g2)
			for _, s := range x.sources { // a transaction is for one slot
				x.producers = append(x.producers, r.produceKeyed(25, s))
			}
			x.flow("the start")
			shard := nodes.ShardOf(r.key(x.sources[1].target, "events"))
			for _, lags := range []bool{false, true} {
				for name, lose := range map[string]func(){
					"command": shard.Failover,
					"kill":    func() { shard.Kill(); shard.Promoted() },
					"freeze":  func() { shard.Master().Pause(); shard.Promoted() },
				} {
					x.lose(g1, shard, fmt.Sprintf("%s, a replica that lags: %v", name, lags), lags, lose)
				}
			}
			x.judge(t)
		})
	}
}

// failover is an installation under load whose master is lost now and then.
type failover struct {
	*rig
	nodes     *storetest.Replicated
	sources   []source
	clients   []*client
	producers []*producer
	visitors  []*visit
}

// visit is a client that came back.
type visit struct {
	*client
	positions map[string]string // by which it resumed
}

// lose loses the shard's master. A client that left before it comes back after it.
func (x *failover) lose(g *gatewayProcess, shard *storetest.Shard, what string, lags bool, lose func()) {
	x.t.Helper()
	if lags {
		shard.Lag()
		x.flow("the replica lags") // what comes now is lost
	}
	positions := make(map[string]string)
	for _, s := range x.sources {
		positions[s.target] = x.clients[0].last(s.target)
	}
	lose()
	x.flow(what)
	x.visitors = append(x.visitors, &visit{comesBack(x.t, g, fmt.Sprint("visitor", len(x.visitors)), positions), positions})
	shard.Revive()
	x.flow("the old master is a replica")
}

// comesBack resumes, as often as the client is told to try again: a Sentinel may still name the old master.
func comesBack(t testing.TB, g *gatewayProcess, user string, positions map[string]string) (c *client) {
	t.Helper()
	eventually(t, patience, user+" is let in", func() error {
		if c = dial(t, g, user, resuming(user, positions)); c.letIn() {
			return nil
		}
		c.mustClose(patience, wire.CloseOverloaded)
		return c.ended()
	})
	return c
}

// flow waits until each client has got events of each target that were added from now on, and
// logs how long that took: 5 s are the aim.
func (x *failover) flow(after string) {
	x.t.Helper()
	begin := time.Now()
	for _, p := range x.producers {
		n, target := p.sent(0)+2, p.sources[0].target
		for _, c := range x.clients {
			c.until(patience, fmt.Sprintf("event %d of %s after: %s", n, target, after), func(frames []frame) bool {
				for i := len(frames) - 1; i >= 0; i-- {
					if f := frames[i]; f.To == target && f.Type == "event" {
						return number(f) >= n
					}
				}
				return false
			})
		}
	}
	x.t.Logf("events of all targets came %v after: %s", time.Since(begin).Round(time.Millisecond), after)
}

// judge compares what all clients got with what Redis has, when everything has come to rest.
func (x *failover) judge(t *testing.T) {
	t.Helper()
	for _, p := range x.producers {
		p.finish()
	}
	for _, s := range x.sources {
		t.Run(s.target, func(t *testing.T) {
			eventually(t, patience, "all is worked off", func() error { return x.workedOff(s) })
			retained, err := x.rdb.XRange(ctx, x.key(s.target, "history"), "-", "+").Result()
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range x.clients {
				eventually(t, patience, c.name, func() error { return hasWhatIsRetained(c.all(s.target), retained, "0") })
			}
			for _, v := range x.visitors {
				eventually(t, patience, v.name, func() error {
					return hasWhatIsRetained(v.all(s.target), retained, v.positions[s.target])
				})
			}
		})
	}
	for _, c := range x.clients {
		if err := c.ended(); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	x.noDead()
}

// workedOff: nothing of a source waits for workers.
func (x *failover) workedOff(s source) error {
	for _, stream := range []string{x.intake(), x.key(s.target, "events")} {
		info, err := x.rdb.XInfoStream(ctx, stream).Result()
		if err != nil {
			return err
		}
		groups, err := x.rdb.XInfoGroups(ctx, stream).Result()
		if err != nil {
			return err
		}
		for _, g := range groups { // the lag may be wrong after a failover
			if g.Pending > 0 || g.LastDeliveredID != info.LastGeneratedID {
				return fmt.Errorf("%s up to %s: %+v", stream, info.LastGeneratedID, g)
			}
		}
	}
	return nil
}

// hasWhatIsRetained checks the frames of one target of a client that began behind a
// position: all that is retained came, once and in order, from there or from a gap's
// position on; and between something that is not retained any more and what is stands a gap.
func hasWhatIsRetained(frames []frame, retained []redis.XMessage, position string) error {
	at := make(map[string]int)
	for i, m := range retained {
		at[m.ID] = i
	}
	next, lost := 0, "" // the last event that the client had and Redis has not
	goOn := func(from string) {
		if i, ok := at[from]; ok {
			next, lost = i+1, ""
		} else if from != "0" {
			lost = from
			next = sort.Search(len(retained), func(i int) bool { return less(from, retained[i].ID) })
		}
	}
	goOn(position)
	seen := make(map[string]bool)
	for _, f := range frames {
		switch f.Type {
		case "gap":
			lost = ""
			goOn(f.Position)
			for id := range seen { // led back: what Redis lost and works on again comes again
				if less(f.Position, id) {
					delete(seen, id)
				}
			}
		case "event":
			i, kept := at[f.ID]
			switch {
			case seen[f.ID]:
				return fmt.Errorf("event %s came twice", f.ID)
			case !kept:
				lost = f.ID
			case lost != "":
				return fmt.Errorf("event %s (prev %s) came after %s, which was lost, and no gap was told", f.ID, f.Prev, lost)
			case i != next:
				return fmt.Errorf("event %s came, the %dth that is retained, when the %dth was next", f.ID, i, next)
			default:
				next = i + 1
			}
			seen[f.ID] = true
		}
	}
	if next < len(retained) {
		return fmt.Errorf("%d of %d that are retained came", next, len(retained))
	}
	return nil
}

// less compares two ids as Redis writes them.
func less(a, b string) bool {
	x, errX := wire.ParseID(a)
	y, errY := wire.ParseID(b)
	return errX == nil && errY == nil && x.Less(y)
}

func TestHelperHasWhatIsRetained(t *testing.T) {
	t.Parallel()
	event := func(id string) frame { return frame{Type: "event", ID: id} }
	gap := func(position string) frame { return frame{Type: "gap", Position: position} }
	retained := []redis.XMessage{{ID: "1-0"}, {ID: "2-0"}, {ID: "5-0"}}
	for name, tc := range map[string]struct {
		position string
		frames   []frame
		good     bool
	}{
		"all":                 {"0", []frame{event("1-0"), event("2-0"), event("5-0")}, true},
		"resumed":             {"2-0", []frame{event("5-0")}, true},
		"lost, told":          {"0", []frame{event("1-0"), event("2-0"), event("3-0"), gap("2-0"), event("5-0")}, true},
		"resumed, lost, told": {"3-0", []frame{gap("2-0"), event("5-0")}, true},
		"lost, not told":      {"0", []frame{event("1-0"), event("2-0"), event("3-0"), event("5-0")}, false},
		"resumed, not told":   {"3-0", []frame{event("5-0")}, false},
		"a hole":              {"0", []frame{event("1-0"), event("5-0")}, false},
		"twice":               {"0", []frame{event("1-0"), event("2-0"), event("2-0"), event("5-0")}, false},
		"not all":             {"0", []frame{event("1-0"), event("2-0")}, false},
	} {
		if err := hasWhatIsRetained(tc.frames, retained, tc.position); (err == nil) != tc.good {
			t.Errorf("%s: %v", name, err)
		}
	}
}
