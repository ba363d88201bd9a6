package inproc_test

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"sluice/gateway"
	"sluice/shared/store"
	"sluice/shared/wire"
	"sluice/worker"
)

// reports are the states that were reported about a user's connection, in order.
func (r *rig) reports(user, target string) (states []string) {
	r.t.Helper()
	entries, err := r.rdb.XRange(ctx, r.key(target, "slow"), "-", "+").Result()
	if err != nil {
		r.t.Fatal(err)
	}
	conn := ""
	for _, e := range entries {
		if e.Values["user"] == user && e.Values["to"] == target {
			conn, _ = e.Values["conn"].(string)
		}
		if e.Values["conn"] == conn && e.Values["to"] == target {
			state, _ := e.Values["state"].(string)
			states = append(states, state)
		}
	}
	return states
}

// chains are the tasks of redeliveries by their state.
func (r *rig) chains() (alive, archived []*asynq.TaskInfo) {
	inspect := asynq.NewInspectorFromRedisClient(r.rdb)
	queue := r.cfg.Prefix + "slow"
	for _, list := range []func(string, ...asynq.ListOption) ([]*asynq.TaskInfo, error){
		inspect.ListScheduledTasks, inspect.ListPendingTasks, inspect.ListActiveTasks, inspect.ListRetryTasks,
	} {
		some, _ := list(queue) // no such queue: no tasks
		alive = append(alive, some...)
	}
	archived, _ = inspect.ListArchivedTasks(queue)
	return alive, archived
}

func (r *rig) noChains() {
	r.t.Helper()
	eventually(r.t, patience, "there is no redelivery any more", func() error {
		if alive, archived := r.chains(); len(alive)+len(archived) > 0 {
			return fmt.Errorf("%d are alive, %d archived", len(alive), len(archived))
		}
		return nil
	})
}

// stuck makes a client that has stopped reading and whose socket is full. Events go on
// until finish.
func (r *rig) stuck(g *gatewayProcess, user, topic string) (*client, *producer) {
	r.t.Helper()
	c := join(r.t, g, user, topics(topic), narrow)
	p := r.produce(500, 400, source{"direct", "topic:" + topic})
	c.waitEvents(patience, "topic:"+topic, 20)
	c.pause()
	r.waitReport(user, "topic:"+topic, "lagging", 1)
	return c, p
}

func (r *rig) waitReport(user, target, state string, n int) {
	r.t.Helper()
	eventually(r.t, patience, fmt.Sprintf("%s is reported as %s", user, state), func() error {
		states := r.reports(user, target)
		if strings.Count(strings.Join(states, " "), state) < n {
			return fmt.Errorf("reported so far: %v", states)
		}
		return nil
	})
}

// chainsOf is how many chains of attempts have been made for a user's connection at most:
// what it reports begins one. A socket that is full may still take something when the
// client's kernel makes room, and then the attempts begin again.
func (r *rig) chainsOf(user, target string) (n int) {
	for _, state := range r.reports(user, target) {
		if state != "done" {
			n++
		}
	}
	return n
}

func what(p *process, what string) float64 { return p.metric("sluice_worker_slow_total", "what", what) }

func (p *process) waitRedelivered(n float64) {
	p.t.Helper()
	eventually(p.t, patience, fmt.Sprintf("%v redeliveries by %s", n, p.name), func() error {
		if got := what(p, "redelivered"); got < n {
			return fmt.Errorf("%v so far", got)
		}
		return nil
	})
}

// waitGivenUp waits until the gateway has closed a client that does not keep up.
func (g *gatewayProcess) waitGivenUp() {
	g.t.Helper()
	eventually(g.t, patience, "the gateway closes it", func() error {
		if g.metric("sluice_gateway_closes_total", "code", "4001") == 0 {
			return fmt.Errorf("it did not")
		}
		return nil
	})
}

func slowly(attempts int, timeout time.Duration) func(*worker.Config) {
	return func(c *worker.Config) { c.Slow = worker.SlowConfig{Attempts: attempts, Timeout: timeout} }
}

func longHistory(c *store.Config) { c.HistorySize = 100_000 }

// TestStoppedClientSurvives: a client takes nothing for a while. It is reported, a worker
// asks after it, and when it reads again it gets everything on the same connection.
func TestStoppedClientSurvives(t *testing.T) {
	t.Parallel()
	r := newRig(t, longHistory)
	g := r.gateway(smallQueue)
	w := r.worker()
	c, p := r.stuck(g, "alice", "busy")
	const target = "topic:busy"
	w.waitRedelivered(4) // the fifth is 3 s away
	entry := r.rdb.XRangeN(ctx, r.key(target, "slow"), "-", "+", 1).Val()[0].Values
	if entry["server"] != g.name || entry["to"] != target || entry["conn"] == "" || entry["after"] == "" {
		t.Errorf("the report is %v", entry)
	}
	alive, _ := r.chains()
	if len(alive) != 1 || alive[0].ID != fmt.Sprint(entry["conn"], " ", target) {
		t.Errorf("the redeliveries are %v, want one for the connection and target", alive)
	}
	if n := g.metric("sluice_gateway_slow_connections"); n != 1 {
		t.Errorf("%v connections are slow, want 1", n)
	}
	c.resume()
	p.settle(patience, c)
	r.waitReport("alice", target, "done", 1) // between two chains there is none for a moment
	r.noChains()
	if states := r.reports("alice", target); states[len(states)-1] != "done" {
		t.Errorf("the reports are %v, want done at last", states)
	}
	if n := g.metric("sluice_gateway_slow_connections"); n != 0 {
		t.Errorf("%v connections are slow, want 0", n)
	}
}

// TestSlowClientIsGivenUp: it takes nothing for all attempts, or for too long.
func TestSlowClientIsGivenUp(t *testing.T) {
	t.Parallel()
	for name, limit := range map[string]func(*worker.Config){
		"attempts": slowly(3, time.Hour), "timeout": slowly(100, time.Second),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, longHistory)
			g := r.gateway(smallQueue)
			w := r.worker(limit)
			const target = "topic:busy"
			c, p := r.stuck(g, "alice", "busy")
			g.waitGivenUp()
			eventually(t, patience, "the redelivery is archived", func() error {
				if alive, archived := r.chains(); len(alive) != 0 || len(archived) != 1 {
					return fmt.Errorf("%d are alive, %d archived", len(alive), len(archived))
				}
				return nil
			})
			n, ends, chains := what(w, "redelivered"), what(w, "given_up"), float64(r.chainsOf("alice", target))
			if ends < 1 || ends > chains || (name == "attempts" && (n < 3*ends || n > 3*chains)) || (name == "timeout" && n >= 10*chains) {
				t.Errorf("closed after %v attempts, given up %v times, in %v chains", n, ends, chains)
			}
			r.isDead("alice", target)

			c.resume()
			_ = c.waitClose(patience)
			next, err := follow(c.all(target), target, 0)
			if err != nil {
				t.Fatal(err)
			}
			w.stop()
			r.worker() // with more patience: who comes back may be slow, too
			again := dial(t, g, "alice", resuming("alice", map[string]string{target: c.last(target)}))
			again.mustHave(patience, target, next, p.finish()[0])
		})
	}
}

// isDead: the command shows who was given up, and drops it.
func (r *rig) isDead(user, target string) {
	r.t.Helper()
	dead := func(args ...string) string {
		var out bytes.Buffer
		if err := worker.DeadLetters(ctx, r.cfg, args, &out); err != nil {
			r.t.Errorf("dead %v: %v", args, err)
		}
		return out.String()
	}
	if out := dead("list"); !strings.Contains(out, "too_slow") || !strings.Contains(out, target) || !strings.Contains(out, user) {
		r.t.Errorf("dead list says\n%s", out)
	}
	if out := dead("list", "-json"); !strings.Contains(out, `"too_slow"`) {
		r.t.Errorf("dead list -json says\n%s", out)
	}
	if out := dead("drop", "all"); out != "dropped 1 dead letters\n" {
		r.t.Errorf("dead drop all says %q", out)
	}
	r.noChains()
}

// TestSlowButSteady: a client reads, but slower than events come. Each time that it has
// taken something its attempts begin again, so it lives longer than they last.
func TestSlowButSteady(t *testing.T) {
	t.Parallel()
	r := newRig(t, longHistory)
	g := r.gateway(smallQueue)
	const attempts = 9 // the last one after half a minute: a round takes less
	w := r.worker(slowly(attempts, time.Hour))
	const target = "topic:busy"
	c, p := r.stuck(g, "alice", "busy")
	c.pace(100) // slower than events come, or it catches up and another chain begins
	for n := 1; n <= 5; n++ {
		w.waitRedelivered(what(w, "redelivered") + 2)
		had := events(c.everything(), target)
		c.resume()
		c.waitEvents(patience, target, had+60) // more than its kernel holds, or there was no progress
		c.pause()
		r.waitReport("alice", target, "progress", n)
	}
	if n := what(w, "redelivered"); n <= attempts || what(w, "given_up") > 0 {
		t.Errorf("%v redeliveries, %v times given up", n, what(w, "given_up"))
	}
	c.pace(100_000)
	c.resume()
	p.settle(patience, c)
	r.noChains()
}

// TestWorkerDiesWhileAClientIsSlow: another one goes on with the attempts, also when the
// worker died in the middle of one.
func TestWorkerDiesWhileAClientIsSlow(t *testing.T) {
	t.Parallel()
	for _, middle := range []bool{false, true} {
		t.Run(map[bool]string{false: "between", true: "in the middle"}[middle], func(t *testing.T) {
			t.Parallel()
			r := newRig(t, longHistory)
			g := r.gateway(smallQueue)
			const attempts = 6 // the last one more than 10 s after the third
			w1 := r.worker(slowly(attempts, time.Hour))
			c, p := r.stuck(g, "alice", "busy")
			eventually(t, patience, "the third attempt waits", func() error {
				alive, _ := r.chains()
				if len(alive) != 1 || alive[0].Retried < 2 || (!middle && alive[0].State != asynq.TaskStateRetry) {
					return fmt.Errorf("the tasks are %+v", alive)
				}
				return nil
			})
			if middle {
				w1.via.on(freezeAt, func(f flight) bool {
					return f.has(func(c command) bool { return c.is("PUBLISH") && strings.HasPrefix(c.args[2], "D") })
				}).wait(t)
			}
			w1.crash()
			// asynq waits half a minute for the dead to come back; the test does not.
			lease := "asynq:{" + r.cfg.Prefix + "slow}:lease"
			ids := r.rdb.ZRange(ctx, lease, 0, -1).Val()
			if middle && len(ids) != 1 {
				t.Fatalf("the tasks that the dead worker had are %v", ids)
			}
			for _, id := range ids {
				r.rdb.ZAdd(ctx, lease, redis.Z{Score: float64(time.Now().Add(-time.Minute).Unix()), Member: id})
			}
			alive, _ := r.chains()
			if len(alive) != 1 {
				t.Fatalf("the dead worker has left the tasks %+v", alive)
			}
			done := alive[0].Retried
			w2 := r.worker(slowly(attempts, time.Hour))
			eventually(t, 2*patience, "the other worker gives the client up, and the gateway closes it", func() error {
				if g.metric("sluice_gateway_closes_total", "code", "4001") == 0 || what(w2, "given_up") == 0 {
					return fmt.Errorf("after %v redeliveries it has not", what(w2, "redelivered"))
				}
				return nil
			})
			// A report that the dead worker had not read, or was following, begins again.
			begun := int(what(w2, "lagging") + what(w2, "progress"))
			if n, ends := what(w2, "redelivered"), what(w2, "given_up"); n > float64(attempts-done+attempts*begun) || ends > float64(1+begun) {
				t.Errorf("the other worker began again: it tried %v times after %d, and gave up %v times, in %d chains", n, done, ends, 1+begun)
			}
			c.resume()
			_ = c.waitClose(patience)
			again := dial(t, g, "alice", resuming("alice", map[string]string{"topic:busy": "0"}))
			again.mustHave(2*patience, "topic:busy", 0, p.finish()[0])
		})
	}
}

// TestSlowWithoutWorker: nobody asks after the client, and it catches up by itself.
func TestSlowWithoutWorker(t *testing.T) {
	t.Parallel()
	r := newRig(t, longHistory)
	g := r.gateway(smallQueue)
	w := r.worker()
	c, p := r.stuck(g, "alice", "busy")
	n := p.finish()[0]
	eventually(t, patience, "all are in the history", func() error {
		if got := r.rdb.XLen(ctx, r.key("topic:busy", "history")).Val(); got != int64(n) {
			return fmt.Errorf("%d of %d are", got, n)
		}
		return nil
	})
	w.stop()
	c.resume()
	c.mustHave(patience, "topic:busy", 0, n)
}

// TestTrimmedWhileSlow: what the history did not keep is told with a gap.
func TestTrimmedWhileSlow(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(c *config) { c.HistorySize = 50 })
	g := r.gateway(smallQueue)
	r.worker()
	const target = "topic:busy"
	c, p := r.stuck(g, "alice", "busy")
	had := p.sent(0)
	eventually(t, patience, "the history has been trimmed", func() error {
		if n := p.sent(0); n < had+300 {
			return fmt.Errorf("%d more events", n-had)
		}
		return nil
	})
	n := p.finish()[0]
	newest := func() redis.XMessage {
		last := r.rdb.XRevRangeN(ctx, r.key(target, "history"), "+", "-", 1).Val()
		if len(last) == 0 {
			return redis.XMessage{}
		}
		return last[0]
	}
	eventually(t, patience, "all have been in the history", func() error {
		if data := newest().Values["data"]; data != p.data(n-1) {
			return fmt.Errorf("the newest of %d is %.40v", n, data)
		}
		return nil
	})
	c.resume()
	// Behind a gap it goes on from the gap's position, and the newest event may be before that.
	eventually(t, patience, "the client is told of a gap, and stands at the newest event", func() error {
		if last := c.last(target); gaps(c) == 0 || last != newest().ID {
			return fmt.Errorf("%d gaps, it stands at %s", gaps(c), last)
		}
		return nil
	})
	const more = 5
	r.add("direct", target, n, more)
	c.until(patience, "the last event", func(frames []frame) bool {
		for i := len(frames) - 1; i >= 0; i-- {
			if frames[i].To == target && frames[i].Type == "event" {
				return number(frames[i]) == n+more-1
			}
		}
		return false
	})
	told, _, err := followGaps(c.all(target), target)
	if err != nil || told == 0 {
		t.Errorf("%d gaps: %v", told, err)
	}
	if n := events(c.all(target)[len(c.all(target))-more:], target); n != more {
		t.Errorf("%d of the %d events after the gap came in one piece", n, more)
	}
	for _, f := range c.all(target) {
		if f.Type == "gap" && f.Reason != "trimmed" {
			t.Errorf("the gap is %+v", f)
		}
	}
	r.noChains()
}

// TestRedisEmptiedWhileSlow: the reports, their group, the tasks and the history are gone.
func TestRedisEmptiedWhileSlow(t *testing.T) {
	t.Parallel()
	r := newRig(t, longHistory)
	g := r.gateway(smallQueue)
	w := r.worker()
	const target = "topic:busy"
	c, p := r.stuck(g, "alice", "busy")
	w.waitRedelivered(1)
	p.finish()
	if err := r.rdb.FlushAll(ctx).Err(); err != nil {
		t.Fatal(err)
	}
	r.waitReport("alice", target, "lagging", 1) // once more, since Redis does not know the gateway any more
	before := what(w, "redelivered")
	w.waitRedelivered(before + 1)
	c.resume()
	c.wait("gap", func(f frame) bool { return f.Type == "gap" && f.To == target && f.Reason == "unknown" })
	r.noChains()
	n := 1_000_000
	eventually(t, patience, "events after that", func() error {
		r.add("direct", target, n, 1)
		n++
		time.Sleep(20 * time.Millisecond)
		for _, f := range c.all(target) {
			if f.Type == "event" && number(f) >= 1_000_000 {
				return nil
			}
		}
		return fmt.Errorf("%d were added, none came", n-1_000_000)
	})
}

// TestTasksLost: what asynq has in Redis is lost while a client is slow, or a part of it.
// After a while without a question the gateway reports it again, and the attempts go on.
func TestTasksLost(t *testing.T) {
	t.Parallel()
	for name, lost := range map[string]string{"all": "asynq:*", "the task": "*}:t:*", "its place": "asynq:{*}:[srpa]*"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, longHistory)
			g := r.gateway(smallQueue)
			w := r.worker()
			c, p := r.stuck(g, "alice", "busy")
			w.waitRedelivered(2)
			const drop = `local n = 0
				for _, k in ipairs(redis.call('KEYS', ARGV[1])) do n = n + redis.call('DEL', k) end
				return n`
			if n, err := r.rdb.Eval(ctx, drop, nil, lost).Int(); err != nil || n == 0 {
				t.Fatalf("%d keys deleted: %v", n, err)
			}
			before := what(w, "redelivered")
			eventually(t, 2*patience, "it is asked after again", func() error {
				if n := what(w, "redelivered"); n < before+2 { // one may have been under way
					return fmt.Errorf("it was asked after %v times, %v before", n, before)
				}
				return nil
			})
			c.resume()
			p.settle(patience, c)
			r.noChains()
			eventually(t, patience, "no task is left", func() error {
				if left := r.rdb.Keys(ctx, "asynq:{*}:t:*").Val(); len(left) > 0 {
					return fmt.Errorf("%q are", left)
				}
				return nil
			})
		})
	}
}

// TestHistoryBeginsBelow: the history of the only subscriber is lost while it catches
// up, and begins again with lower ids. It is told of one gap, and everything after that
// comes, once and in order.
func TestHistoryBeginsBelow(t *testing.T) {
	t.Parallel()
	r := newRig(t, longHistory)
	g := r.gateway(smallQueue)
	r.worker()
	const target = "topic:busy"
	c, p := r.stuck(g, "alice", "busy")
	p.finish()
	newest, err := r.rdb.XInfoStream(ctx, r.key(target, "history:"+target)).Result()
	if err != nil {
		t.Fatal(err)
	}
	id, err := wire.ParseID(newest.LastGeneratedID)
	if err != nil {
		t.Fatal(err)
	}
	rereads := g.metric("sluice_gateway_rereads_total")
	if err := r.rdb.FlushAll(ctx).Err(); err != nil {
		t.Fatal(err)
	}
	eventually(t, patience, "the gateway hears of new terms", func() error {
		if n := g.metric("sluice_gateway_rereads_total") - rereads; n < 16 {
			return fmt.Errorf("of %v", n)
		}
		return nil
	})
	c.resume()
	c.wait("gap", func(f frame) bool { return f.Type == "gap" && f.To == target })
	const from, n = 1_000_000, 50
	for i := range n {
		err := r.rdb.XAdd(ctx, &redis.XAddArgs{
			Stream: r.key(target, "events"), ID: fmt.Sprintf("%d-%d", id.Ms-60_000, i+1),
			Values: []string{"to", target, "data", strconv.Itoa(from + i)},
		}).Err()
		if err != nil {
			t.Fatal(err)
		}
	}
	c.until(patience, "what came after the gap, once and in order", func(frames []frame) bool {
		next := from
		for _, f := range frames {
			if f.To != target || f.Type != "event" || number(f) < from {
				continue
			}
			if number(f) != next {
				t.Fatalf("%d comes where %d should", number(f), next)
			}
			next++
		}
		return next == from+n
	})
	if told := gaps(c); told != 1 {
		t.Errorf("told of %d gaps, want 1", told)
	}
}

// TestWhoAsksButNeverReads: room for answers ends, too.
func TestWhoAsksButNeverReads(t *testing.T) {
	t.Parallel()
	r := newRig(t, longHistory)
	g := r.gateway(smallQueue)
	r.worker()
	c, _ := r.stuck(g, "alice", "busy")
	for range 3000 {
		c.send(msg{"type": "ping"})
	}
	eventually(t, patience, "the gateway closes it", func() error {
		if g.metric("sluice_gateway_closes_total", "code", "4001") == 0 {
			return fmt.Errorf("it did not")
		}
		return nil
	})
}

// TestSharedReads: many clients come back to one history, and others catch up in it
// together. Redis is asked for it a few times, not once for each.
func TestSharedReads(t *testing.T) {
	t.Parallel()
	r := newRig(t, longHistory)
	g := r.gateway(func(c *gateway.Config) { c.SendQueueBytes = 16 << 10 })
	r.worker()
	const target, n, clients = "topic:busy", 300, 60
	r.add("direct", target, 0, n)
	eventually(t, patience, "all are in the history", func() error {
		if got := r.rdb.XLen(ctx, r.key(target, "history")).Val(); got != n {
			return fmt.Errorf("%d are", got)
		}
		return nil
	})
	asked := make(chan int, 1)
	asked <- 0
	key := r.key(target, "history")
	g.via.record(func(_ int, f flight) {
		for _, c := range f {
			if len(c.args) > 1 && strings.EqualFold(c.args[0], "XRANGE") && c.args[1] == key {
				asked <- 1 + <-asked
			}
		}
	})
	var all []*client
	for i := range clients {
		all = append(all, join(t, g, fmt.Sprint("u", i)))
	}
	for _, c := range all {
		c.send(msg{"type": "subscribe", "to": target, "after": "0"})
	}
	for _, c := range all {
		c.mustHave(patience, target, 0, n)
	}
	alone := 2 + 2*(n/100+1) // the first piece, and pages of 100, each with the edges
	if got := <-asked; got > alone*clients/4 {
		t.Errorf("the history was asked for %d times by %d clients, one alone needs about %d", got, clients, alone)
	} else {
		t.Logf("the history was asked for %d times by %d clients, one alone needs about %d", got, clients, alone)
	}
}

// TestPublishRefusedWhileWorkersLag: above SLUICE_MAX_BACKLOG clients cannot publish, and
// below it they can.
func TestPublishRefusedWhileWorkersLag(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	g := r.gateway(func(c *gateway.Config) { c.MaxBacklog = 20 })
	c := join(t, g, "alice")
	r.add("intake", "all", 0, 30)
	n := 0
	publish := func() frame {
		n++
		ref := fmt.Sprint("p", n)
		c.send(msg{"type": "publish", "ref": ref, "to": "topic:x", "data": n})
		if n%2 == 1 { // it may wait for a worker; the next frame is answered at once
			c.send(msg{"type": "unsubscribe", "ref": "u" + ref, "to": "topic:none"})
			c.answer("u" + ref)
			for _, f := range c.everything() {
				if f.Ref == ref {
					return f
				}
			}
			return frame{}
		}
		return c.answer(ref)
	}
	eventually(t, patience, "publishes are refused", func() error {
		n += n % 2 // odd after the next one: it does not wait
		if f := publish(); f.Code != "unavailable" {
			return fmt.Errorf("the answer is %+v", f)
		}
		return nil
	})
	r.worker()
	eventually(t, patience, "publishes are taken again", func() error {
		n += 1 - n%2
		if f := publish(); f.Type != "published" {
			return fmt.Errorf("the answer is %+v", f)
		}
		return nil
	})
}
