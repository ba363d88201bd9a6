package binaries_test

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/redis/go-redis/v9"
)

func (c *cluster) acks(target string) string { return c.key(target, "acks") }

func (c *cluster) cursors(user string) string {
	return c.key("user:"+user, "cursor:user:"+user)
}

// ack acknowledges all of a target up to an id. A good one has no answer.
func (c *client) ack(target, id string) {
	c.t.Helper()
	c.send(msg{"type": "ack", "to": target, "id": id})
}

// waitCursor waits until a device's cursor is where it should be.
func (c *cluster) waitCursor(t testing.TB, user, device, target, id string) {
	t.Helper()
	eventually(t, func() error {
		got, err := c.HGet(ctx, c.cursors(user), device+" "+target).Result()
		if got != id {
			return fmt.Errorf("cursor of %s on %s for %s is %q, want %s (%w)", user, device, target, got, id, err)
		}
		return nil
	})
}

// acksOf are the ids in the acks of a user for a target, in the order of the stream.
func (c *cluster) acksOf(t testing.TB, user, target string) (ids []string) {
	t.Helper()
	entries, err := c.XRange(ctx, c.acks(target), "-", "+").Result()
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.Values["user"] == user && e.Values["to"] == target {
			ids = append(ids, e.Values["id"].(string))
		}
	}
	return ids
}

// holdAcks keeps workers from trimming acks of a target, as a service that is behind would.
func (c *cluster) holdAcks(t testing.TB, target string) (group string) {
	t.Helper()
	group = unique("receipts")
	if err := c.receivers.XGroupCreateMkStream(ctx, c.acks(target), group, "$").Err(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.receivers.XGroupDestroy(ctx, c.acks(target), group) })
	return group
}

// TestResumeDevice: a client that kept nothing gets exactly what its device has not acknowledged, from another gateway.
func TestResumeDevice(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	for name, back := range map[string]func(t *testing.T, user string) *client{
		"connect": func(t *testing.T, user string) *client {
			return connect(t, c.gateways[1], user, msg{"device": "phone", "resume": "device"})
		},
		"query": func(t *testing.T, user string) *client {
			return join(t, c.gateways[1], user, withQuery("device", "phone"), withQuery("resume", "device"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := c.startGateway(t)
			user, topic := unique("device"), "topic:"+unique("device")
			own := "user:" + user
			phone, laptop := connect(t, g, user, msg{"device": "phone"}), connect(t, g, user, msg{"device": "laptop"})
			ids := map[string][]string{}
			for _, s := range []*client{phone, laptop} {
				s.subscribe(topic, "")
			}
			for _, target := range []string{own, topic} {
				ids[target] = c.addAll(t, numbered(c.ingress(target), target, 0, 6)...)
				phone.waitEvents(target, 6)
				laptop.waitEvents(target, 6)
			}
			phone.ack(own, ids[own][3])
			phone.ack(topic, ids[topic][0])
			phone.ack(topic, ids[topic][1])
			laptop.ack(topic, ids[topic][5])
			c.waitCursor(t, user, "phone", own, ids[own][3])
			c.waitCursor(t, user, "phone", topic, ids[topic][1])
			c.waitCursor(t, user, "laptop", topic, ids[topic][5])
			g.Signal(t, syscall.SIGKILL)
			g.ExitCode(t, patience)
			phone.mustClose(1006)
			for _, target := range []string{own, topic} {
				c.waitHistory(t, target, c.sendDirect(t, target, number(6)))
			}

			s := back(t, user)
			for target, from := range map[string]int{own: 4, topic: 2} {
				if sub := s.waitSubscribed(target); !sub.recovered() {
					t.Errorf("not recovered: %s", sub)
				}
				s.waitEvents(target, 7-from)
				requireNumbers(t, target, s.syncEvents(target), from, 7)
				if first := s.targets[target][0]; first.Prev != ids[target][from-1] {
					t.Errorf("the first event does not follow the acknowledged %s: %s", ids[target][from-1], first)
				}
			}
			if n := len(s.targets["all"]); n > 0 {
				t.Errorf("%d events of all came, which has no cursor", n)
			}
			requireNoGap(t, s)
		})
	}
}

// TestResumeDeviceLimits: cursors give no more than the token allows, and a bad one harms nothing else.
func TestResumeDeviceLimits(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	user, good := unique("limits"), "topic:"+unique("limits")
	ids := c.addAll(t, numbered(c.ingress(good), good, 0, 3)...)
	c.waitHistory(t, good, ids[2])
	err := c.HSet(ctx, c.cursors(user), "d "+good, ids[0], "d user:somebody", "5-0", "d topic:odd", "yesterday", "d nobody", "5-0",
		"other topic:elsewhere", "5-0").Err()
	if err != nil {
		t.Fatal(err)
	}
	s := connect(t, c.gateways[0], user, msg{"device": "d", "resume": "device"})
	s.waitSubscribed(good)
	s.waitEvents(good, 2)
	requireNumbers(t, good, s.syncEvents(good), 1, 3)
	told := map[string]string{}
	for _, f := range s.frames {
		switch f.Type {
		case "error":
			told[f.Code] += f.Message
		case "subscribed":
			if f.To != good && f.To != "all" && f.To != "user:"+user {
				t.Errorf("subscribed to too much: %s", f)
			}
		}
	}
	for code, target := range map[string]string{"forbidden": "user:somebody", "bad_request": "topic:odd"} {
		if !strings.Contains(told[code], target) {
			t.Errorf("no error %s says %s: %v", code, target, told)
		}
	}
	// A position that the client gives counts more than its cursor.
	s = join(t, c.gateways[1], user, withQuery("device", "d"), withQuery("resume", "device"), withQuery("last_event_id", cursor(map[string]string{good: ids[1]})))
	s.waitEvents(good, 1)
	requireNumbers(t, good, s.syncEvents(good), 2, 3)
	for query, value := range map[string]string{"device": "a b", "resume": "device"} {
		s = join(t, c.gateways[1], user, withQuery(query, value))
		s.waitErrors("bad_request", 1)
	}
}

// TestAckRefused: what was never sent on the connection cannot be acknowledged, and nothing comes of it.
func TestAckRefused(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	user, topic, other := unique("refused"), "topic:"+unique("refused"), "topic:"+unique("refused")
	c.holdAcks(t, topic)
	c.holdAcks(t, other)
	s := connect(t, c.gateways[0], user, msg{"device": "d"})
	ids := c.addAll(t, numbered(c.ingress(topic), topic, 0, 4)...)
	c.waitHistory(t, topic, ids[3])
	beyond := func(id string) string {
		ms, seq, _ := strings.Cut(id, "-")
		n, _ := strconv.Atoi(seq)
		return fmt.Sprintf("%s-%d", ms, n+1)
	}
	refused := func(what, target, id string) {
		t.Helper()
		s.mustError(s.ask(msg{"type": "ack", "to": target, "id": id}), "bad_request")
		for field, at := range c.HGetAll(ctx, c.cursors(user)).Val() {
			if to, _ := strings.CutPrefix(field, "d "); at == id || (to == topic && at != ids[1]) { // where it began
				t.Errorf("a cursor %s came of %s", field, what)
			}
		}
	}
	refused("a target that is not subscribed", topic, ids[0])
	s.subscribe(topic, ids[1])
	s.waitEvents(topic, 2)
	refused("an id above all that was sent", topic, beyond(ids[3]))
	refused("an id of the future", topic, "99999999999999-0")
	refused("the largest id", topic, "18446744073709551615-18446744073709551615")
	for _, bad := range []any{"", "5", "x-1", "01-1", nil, 7} {
		s.mustError(s.ask(msg{"type": "ack", "to": topic, "id": bad}), "bad_request")
		s.sync() // a good frame in between: too many bad ones in a row end the connection
	}
	s.mustError(s.ask(msg{"type": "ack", "id": ids[3]}), "bad_request")
	if got := c.acksOf(t, user, topic); len(got) > 0 {
		t.Errorf("refused acks are in the stream: %v", got)
	}

	// The position that it began with, what was sent, and back again: all silent.
	before := len(s.frames)
	for _, i := range []int{1, 3, 2, 0, 3} {
		s.ack(topic, ids[i])
	}
	s.sync()
	for _, f := range s.frames[before:] {
		if f.Type == "error" {
			t.Errorf("a good ack was refused: %s", f)
		}
	}
	c.waitCursor(t, user, "d", topic, ids[3])
	// Also behind the end of the subscription, and what comes later is none of it.
	s.must(s.ask(msg{"type": "unsubscribe", "to": topic}), "unsubscribed")
	last := c.sendDirect(t, topic, number(4))
	c.waitHistory(t, topic, last)
	s.mustError(s.ask(msg{"type": "ack", "to": topic, "id": last}), "bad_request")
	s.subscribe(other, "")
	at := c.sendDirect(t, other, number(0))
	s.waitEvents(other, 1)
	s.must(s.ask(msg{"type": "unsubscribe", "to": other}), "unsubscribed")
	s.ack(other, at)
	eventually(t, func() error {
		if got := c.acksOf(t, user, other); len(got) == 0 || got[len(got)-1] != at {
			return fmt.Errorf("acks in the stream: %v, want %s at the end", got, at)
		}
		return nil
	})
	for to, id := range map[string]string{topic: ids[3], other: at} { // the device has left both
		got := c.HGet(ctx, c.cursors(user), "d "+to).Val()
		end, ended := strings.CutSuffix(got, " ended")
		at, bad := parseID(end)
		if sent, err := parseID(id); bad != nil || err != nil || !ended || at.less(sent) {
			t.Errorf("the cursor of %s is %q, want %s or above, ended", to, got, id)
		}
	}
	if got := c.acksOf(t, user, topic); len(got) == 0 || got[len(got)-1] != ids[3] {
		t.Errorf("acks in the stream: %v, want %s at the end", got, ids[3])
	}
}

// TestAckOld: an old ack does not move a cursor back, whoever brings it.
func TestAckOld(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	user, topic := unique("old"), "topic:"+unique("old")
	first, second := connect(t, c.gateways[0], user, msg{"device": "d"}), connect(t, c.gateways[1], user, msg{"device": "d"})
	first.subscribe(topic, "")
	second.subscribe(topic, "")
	ids := c.addAll(t, numbered(c.ingress(topic), topic, 0, 3)...)
	first.waitEvents(topic, 3)
	second.waitEvents(topic, 3)
	first.ack(topic, ids[2])
	c.waitCursor(t, user, "d", topic, ids[2])
	second.ack(topic, ids[0])
	second.ack("user:"+user, second.waitSubscribedEvent(c, user)) // in the same flush or a later one
	c.waitCursor(t, user, "d", "user:"+user, second.last("user:"+user))
	eventually(t, func() error { // all that was acknowledged is worked on
		pending, err := c.XPending(ctx, c.acks(topic), "workers").Result()
		if err != nil || pending.Count > 0 {
			return fmt.Errorf("pending %v, %w", pending, err)
		}
		return nil
	})
	if got := c.HGet(ctx, c.cursors(user), "d "+topic).Val(); got != ids[2] {
		t.Errorf("the cursor went back to %s from %s", got, ids[2])
	}
}

// waitSubscribedEvent sends the client's user an event and returns its id.
func (c *client) waitSubscribedEvent(cl *cluster, user string) string {
	c.t.Helper()
	id := cl.sendDirect(c.t, "user:"+user, number(0))
	c.waitEvents("user:"+user, 1)
	return id
}

// TestAckReceipts: another service reads acks with a group of its own, as the README shows, and nothing is taken from it.
func TestAckReceipts(t *testing.T) {
	t.Parallel()
	c := newCluster(t, t, 1, 1)
	user, topic := unique("receipts"), "topic:"+unique("receipts")
	group := c.holdAcks(t, topic)
	device, none := connect(t, c.gateways[0], user, msg{"device": "d"}), connect(t, c.gateways[0], user, nil)
	device.subscribe(topic, "")
	none.subscribe(topic, "")
	ids := c.addAll(t, numbered(c.ingress(topic), topic, 0, 400)...)
	device.waitEvents(topic, 400)
	none.waitEvents(topic, 400)
	for _, id := range ids { // several for each flush
		device.ack(topic, id)
	}
	none.ack(topic, ids[399])
	c.waitCursor(t, user, "d", topic, ids[399])
	// Many acks are few entries, and the last one says it all.
	var read []redis.XMessage
	newest := map[any]any{}
	eventually(t, func() error {
		got, err := c.receivers.XReadGroup(ctx, &redis.XReadGroupArgs{Group: group, Consumer: "c", Streams: []string{c.acks(topic), ">"}, Count: 100, Block: -1}).Result()
		if err != nil && !errors.Is(err, redis.Nil) {
			return err
		}
		for _, stream := range got {
			read = append(read, stream.Messages...)
		}
		for _, m := range read {
			newest[m.Values["device"]] = m.Values["id"]
		}
		if newest["d"] != ids[399] || newest[nil] != ids[399] {
			return fmt.Errorf("receipts are %v", newest)
		}
		return nil
	})
	if len(read) > 20 {
		t.Errorf("%d entries for 401 acks", len(read))
	}
	if fields := c.HKeys(ctx, c.cursors(user)).Val(); len(fields) != 3 { // its user's, all, and the topic
		t.Errorf("cursors %v, want those of the device", fields)
	}
	if n := c.XLen(ctx, c.acks(topic)).Val(); n < int64(len(read)) {
		t.Errorf("%d entries are left, %d are not acknowledged by the service", n, len(read))
	}
	for _, m := range read {
		if m.Values["user"] != user || m.Values["to"] != topic {
			t.Errorf("receipt %v", m.Values)
		}
		if err := c.receivers.XAck(ctx, c.acks(topic), group, m.ID).Err(); err != nil {
			t.Error(err)
		}
	}
	eventually(t, func() error {
		if n := c.XLen(ctx, c.acks(topic)).Val(); n > 1 {
			return fmt.Errorf("%d entries are left that all have acknowledged", n)
		}
		return nil
	})
}

// TestAckLeaving: an ack counts also when its connection, or its gateway, ends behind it.
func TestAckLeaving(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	for name, end := range map[string]func(t *testing.T, g *server, s *client){
		"client leaves": func(_ *testing.T, _ *server, s *client) { s.leave() },
		"gateway drains": func(t *testing.T, g *server, s *client) {
			s.sync() // the ack has been read
			g.Signal(t, syscall.SIGTERM)
			if code := g.ExitCode(t, patience); code != 0 {
				t.Errorf("exit code %d", code)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := c.startGateway(t, "SLUICE_DRAIN_TIMEOUT=100ms")
			user := unique("leaving")
			s := connect(t, g, user, msg{"device": "d"})
			id := s.waitSubscribedEvent(c, user)
			s.ack("user:"+user, id)
			end(t, g, s)
			c.waitCursor(t, user, "d", "user:"+user, id)
		})
	}
}

// TestAckWorkerDied: a worker that read acks and died before it moved the cursors loses none.
func TestAckWorkerDied(t *testing.T) {
	t.Parallel()
	c := newCluster(t, t, 1, 1)
	user := unique("died")
	own := "user:" + user
	s := connect(t, c.gateways[0], user, msg{"device": "d"})
	id := s.waitSubscribedEvent(c, user)
	eventually(t, func() error { // it makes the groups when it begins to read
		groups, err := c.XInfoGroups(ctx, c.acks(own)).Result()
		if len(groups) == 0 {
			return fmt.Errorf("no group of %s: %w", c.acks(own), err)
		}
		return nil
	})
	c.workers[0].Signal(t, syscall.SIGKILL)
	c.workers[0].ExitCode(t, patience)
	s.ack(own, id)
	// In its place: takes the ack and does nothing with it.
	eventually(t, func() error {
		got, err := c.XReadGroup(ctx, &redis.XReadGroupArgs{Group: "workers", Consumer: "worker", Streams: []string{c.acks(own), ">"}, Block: -1}).Result()
		if err != nil || len(got) == 0 {
			return fmt.Errorf("read %v: %w", got, err)
		}
		return nil
	})
	c.startWorker(t)
	c.waitCursor(t, user, "d", own, id)
	eventually(t, func() error {
		if n := c.XPending(ctx, c.acks(own), "workers").Val().Count; n > 0 {
			return fmt.Errorf("%d acks are pending", n)
		}
		return nil
	})
}

// TestAckLosses: acks go on when their group, or all of Redis's data, was lost.
func TestAckLosses(t *testing.T) {
	t.Parallel()
	c := newCluster(t, t, 1, 1)
	user := unique("losses")
	own := "user:" + user
	s := connect(t, c.gateways[0], user, msg{"device": "d"})
	round := 0
	acknowledged := func() {
		t.Helper()
		round++
		id := c.sendDirect(t, own, number(round))
		s.waitData(own, number(round))
		s.ack(own, id)
		c.waitCursor(t, user, "d", own, id)
	}
	acknowledged()
	if err := c.XGroupDestroy(ctx, c.acks(own), "workers").Err(); err != nil {
		t.Fatal(err)
	}
	acknowledged()
	if err := c.FlushAll(ctx).Err(); err != nil {
		t.Fatal(err)
	}
	c.waitSession(t, own, s.welcome.Conn)
	acknowledged()
	acknowledged()
}

// waitSession waits until a connection is registered again.
func (c *cluster) waitSession(t testing.TB, target, conn string) {
	t.Helper()
	eventually(t, func() error {
		if !c.HExists(ctx, c.sessions(target), conn).Val() {
			return fmt.Errorf("%s is not in %s", conn, c.sessions(target))
		}
		return nil
	})
}

// TestAcked: with SLUICE_ACK_SYNC a user's other devices are told of an ack that moved a cursor; without it nobody is.
func TestAcked(t *testing.T) {
	t.Parallel()
	c := newCluster(t, t, 2, 0)
	c.startWorker(t, "SLUICE_ACK_SYNC=1")
	user, topic := unique("acked"), "topic:"+unique("acked")
	phone := connect(t, c.gateways[0], user, msg{"device": "phone"})
	again := connect(t, c.gateways[1], user, msg{"device": "phone"})
	laptop := connect(t, c.gateways[1], user, msg{"device": "laptop"})
	nameless := connect(t, c.gateways[0], user, nil)
	other := connect(t, c.gateways[1], unique("acked"), msg{"device": "laptop"})
	phone.subscribe(topic, "")
	ids := c.addAll(t, numbered(c.ingress(topic), topic, 0, 3)...)
	phone.waitEvents(topic, 3)
	again.subscribe(topic, "earliest")
	again.waitEvents(topic, 3)
	told := func(s *client) (got []string) {
		for _, f := range s.sync() {
			if f.Type == "acked" {
				if f.To != topic || f.Device != "phone" {
					t.Errorf("%s got %s", s, f)
				}
				got = append(got, f.ID)
			}
		}
		return got
	}
	waitTold := func(n int) {
		t.Helper()
		for _, s := range []*client{laptop, nameless} {
			eventually(t, func() error {
				if got := told(s); len(got) < n || got[n-1] != ids[n-1] {
					return fmt.Errorf("%s was told %v", s, got)
				}
				return nil
			})
		}
	}
	phone.ack(topic, ids[0])
	waitTold(1)
	again.ack(topic, ids[0]) // moves nothing
	again.leave()
	again = connect(t, c.gateways[1], user, msg{"device": "phone"})
	phone.ack(topic, ids[1])
	waitTold(2)
	for _, s := range []*client{laptop, nameless} {
		if got := fmt.Sprint(told(s)); got != fmt.Sprint(ids[:2]) {
			t.Errorf("%s was told %v, want %v", s, got, ids[:2])
		}
	}
	for _, s := range []*client{phone, again, other} {
		if got := told(s); len(got) > 0 {
			t.Errorf("%s was told %v", s, got)
		}
	}

	shared := sharedCluster(t)
	phone, laptop = connect(t, shared.gateways[0], user, msg{"device": "phone"}), connect(t, shared.gateways[1], user, msg{"device": "laptop"})
	id := phone.waitSubscribedEvent(shared, user)
	phone.ack("user:"+user, id)
	shared.waitCursor(t, user, "phone", "user:"+user, id)
	shared.sendDirect(t, "user:"+user, number(1))
	laptop.waitEvents("user:"+user, 2)
	if got := told(laptop); len(got) > 0 {
		t.Errorf("told %v although nobody asked for it", got)
	}
}
