package binaries_test

import (
	"fmt"
	"testing"
)

// TestResume is the ways of coming back: away for three events to the user and three to a topic, back on another gateway.
func TestResume(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	ways := []struct {
		name string
		back func(t *testing.T, s *server, user, topic string, at map[string]string) *client
	}{
		{"resume in connect", func(t *testing.T, s *server, user, _ string, at map[string]string) *client {
			return connect(t, s, user, msg{"resume": at})
		}},
		{"last_event_id, a cursor", func(t *testing.T, s *server, user, _ string, at map[string]string) *client {
			return join(t, s, user, withQuery("last_event_id", cursor(at)))
		}},
		{"Last-Event-ID, a cursor", func(t *testing.T, s *server, user, _ string, at map[string]string) *client {
			return join(t, s, user, withHeader("Last-Event-ID", cursor(at)))
		}},
		{"Last-Event-ID, a cursor, and the topic in the query as well", func(t *testing.T, s *server, user, topic string, at map[string]string) *client {
			return join(t, s, user, withHeader("Last-Event-ID", cursor(at)), withQuery("topics", topic[len("topic:"):]))
		}},
	}
	for i, way := range ways {
		t.Run(way.name, func(t *testing.T) {
			user := unique("away")
			own, topic := "user:"+user, "topic:"+unique("away/a.b_c@d=e+f:g")
			targets := []string{own, topic}
			first := join(t, c.gateways[i%2], user)
			first.subscribe(topic, "")
			at := map[string]string{}
			for _, target := range targets {
				c.addAll(t, numbered(c.intake(), target, 0, 3)...)
				requireNumbers(t, target, first.waitEvents(target, 3), 0, 3)
				at[target] = first.last(target)
			}
			first.leave()

			newest := map[string]string{}
			for _, target := range targets {
				c.addAll(t, numbered(c.ingress(target), target, 3, 5)...)
				newest[target] = c.sendDirect(t, target, number(5))
				c.waitHistory(t, target, newest[target])
			}
			second := way.back(t, c.gateways[(i+1)%2], user, topic, at)
			for _, target := range targets {
				sub := second.waitSubscribed(target)
				if !sub.recovered() || sub.Position != at[target] {
					t.Errorf("want recovered, at %s: %s", at[target], sub)
				}
				second.waitEvents(target, 3)
				events := second.syncEvents(target)
				requireNumbers(t, target, events, 3, 6)
				if events[0].Prev != at[target] {
					t.Errorf("the first missed event does not follow %s: %s", at[target], events[0])
				}
				if events[0].place < sub.place {
					t.Errorf("%s came before %s", events[0], sub)
				}
				c.send(t, target, number(6))
				second.waitEvents(target, 4)
				requireNumbers(t, target, second.syncEvents(target), 3, 7)
			}
			requireNoGap(t, second)
		})
	}
}

func requireNoGap(t testing.TB, c *client) {
	t.Helper()
	for _, f := range c.frames {
		if f.Type == "gap" || f.Type == "error" {
			t.Errorf("%s got %s", c, f)
		}
	}
}

// TestResumeBareID: one id of any target; repeats are allowed, holes are not. A client that keeps only the id that came last
// may have missed events of other targets with smaller ids: so `newest` is an id above all that it missed.
func TestResumeBareID(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	for _, tc := range []struct {
		name   string
		give   func(id string) option
		newest bool
	}{
		{"last_event_id", func(id string) option { return withQuery("last_event_id", id) }, false},
		{"Last-Event-ID", func(id string) option { return withHeader("Last-Event-ID", id) }, false},
		{"last_event_id, newest", func(id string) option { return withQuery("last_event_id", id) }, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			user, room, quiet := unique("bare"), unique("bare"), unique("bare")
			targets := []string{"user:" + user, "topic:" + room}
			first := join(t, c.gateways[0], user, withQuery("topics", room+","+quiet))
			for _, target := range targets {
				c.addAll(t, numbered(c.intake(), target, 0, 2)...)
				first.waitEvents(target, 2)
			}
			id := first.last(targets[1]) // the only one that this client keeps
			first.leave()
			for _, target := range targets {
				c.addAll(t, numbered(c.ingress(target), target, 2, 4)...)
				last := c.sendDirect(t, target, number(4))
				c.waitHistory(t, target, last)
				if tc.newest {
					id = last
				}
			}
			second := join(t, c.gateways[1], user, withQuery("topics", room+","+quiet), tc.give(id))
			for _, target := range targets {
				second.wait("the newest event", func(f frame) bool { return f.To == target && string(f.Data) == number(4) })
				events := second.syncEvents(target)
				from := events[0].number(t)
				if from > 2 {
					t.Errorf("%s: the replay begins with event %d, 2 to 4 were missed", target, from)
				}
				requireNumbers(t, target, events, from, 5)
			}
			second.waitSubscribed("topic:" + quiet)
			requireNoGap(t, second)
		})
	}
}

// TestSubscribeAfter is the field `after`, with each kind of position.
func TestSubscribeAfter(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	topic := "topic:" + unique("after")
	empty := "topic:" + unique("after")
	first := join(t, c.gateways[0], unique("reader"))
	if sub := first.subscribe(topic, ""); sub.Position != "0" || sub.To != topic {
		t.Errorf("a topic without events: %s", sub)
	}
	ids := c.addAll(t, numbered(c.ingress(topic), topic, 0, 6)...)
	events := first.waitEvents(topic, 6)
	if events[0].Prev != "0" {
		t.Errorf("prev of the first event is not 0: %s", events[0])
	}
	newest := ids[5]

	cases := []struct {
		after string
		at    string // where the subscription stands
		from  int    // the first event that comes
	}{
		{"", newest, 6}, {"0", "0", 0}, {"earliest", "0", 0}, {ids[0], ids[0], 1}, {ids[3], ids[3], 4}, {newest, newest, 6},
	}
	for i, tc := range cases {
		t.Run("after "+tc.after, func(t *testing.T) {
			s := join(t, c.gateways[i%2], unique("reader"))
			sub := s.subscribe(topic, tc.after)
			if sub.Position != tc.at {
				t.Errorf("position is not %s: %s", tc.at, sub)
			}
			if tc.after != "" && !sub.recovered() {
				t.Errorf("not recovered: %s", sub)
			}
			s.waitEvents(topic, 6-tc.from)
			requireNumbers(t, topic, s.syncEvents(topic), tc.from, 6)
			requireNoGap(t, s)
		})
	}
	t.Run("of a topic that had no event", func(t *testing.T) {
		s := join(t, c.gateways[1], unique("reader"))
		if sub := s.subscribe(empty, "0"); sub.Position != "0" {
			t.Errorf("position is not 0: %s", sub)
		}
		c.send(t, empty, number(0))
		requireNumbers(t, empty, s.waitEvents(empty, 1), 0, 1)
		requireNoGap(t, s)
	})
}

// TestResumeFromPosition: a client that has had no event yet resumes from the positions that it was told.
func TestResumeFromPosition(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	user := unique("silent")
	fresh, old := "user:"+user, "topic:"+unique("silent")
	c.waitHistory(t, old, c.sendDirect(t, old, `"before"`))

	first := join(t, c.gateways[0], user)
	at := map[string]string{fresh: first.waitSubscribed(fresh).Position, old: first.subscribe(old, "").Position}
	if at[fresh] != "0" {
		t.Errorf("position of a user without events: %s, want 0", at[fresh])
	}
	first.sync()
	first.leave()
	for target := range at {
		c.addAll(t, numbered(c.intake(), target, 0, 3)...)
	}
	second := connect(t, c.gateways[1], user, msg{"resume": at})
	for target := range at {
		events := second.waitEvents(target, 3)
		requireNumbers(t, target, second.syncEvents(target), 0, 3)
		if events[0].Prev != at[target] {
			t.Errorf("the first event does not follow the position %s: %s", at[target], events[0])
		}
	}
	requireNoGap(t, second)
}

// TestResumeOrderOnTheWire: welcome; for each target `subscribed`, then what it missed; `all` and the own target always.
func TestResumeOrderOnTheWire(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	user := unique("orderly")
	own, one, two := "user:"+user, "topic:"+unique("orderly"), "topic:"+unique("orderly")
	resume := map[string]string{}
	for _, target := range []string{own, one, two} {
		resume[target] = c.sendDirect(t, target, number(0))
		c.addAll(t, numbered(c.ingress(target), target, 1, 20)...)
		c.waitHistory(t, target, c.sendDirect(t, target, number(20)))
	}
	s := connect(t, c.gateways[0], user, msg{"resume": resume})
	for target := range resume {
		s.waitEvents(target, 20)
	}
	subscribed := map[string]int{}
	for i, f := range s.sync() {
		switch f.Type {
		case "welcome":
			if i != 0 {
				t.Errorf("welcome is frame %d", i)
			}
		case "subscribed":
			subscribed[f.To]++
		case "event":
			if subscribed[f.To] != 1 {
				t.Errorf("frame %d comes before its target is subscribed: %s", i, f)
			}
		}
	}
	for _, target := range []string{own, one, two, "all"} {
		if subscribed[target] != 1 {
			t.Errorf("%d times subscribed to %s, want once", subscribed[target], target)
		}
		if target != "all" {
			requireNumbers(t, target, s.targets[target], 1, 21)
		}
	}
}

// TestResumeWithMistakes: each bad part is an error of its own, the others go on.
func TestResumeWithMistakes(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	good := "topic:" + unique("good")
	id := c.sendDirect(t, good, number(0))
	c.waitHistory(t, good, c.sendDirect(t, good, number(1)))
	s := connect(t, c.gateways[0], unique("clumsy"), msg{"resume": msg{
		good: id, "nonsense": id, "topic:with a space": id, "topic:" + unique("x"): "yesterday", "user:" + unique("other"): id,
	}})
	s.waitErrors("bad_request", 3)
	s.waitErrors("forbidden", 1)
	s.waitSubscribed(good)
	requireNumbers(t, good, s.waitEvents(good, 1), 1, 2)
	s.sync()

	for _, bad := range []string{"nonsense", "topic:a", "topic:%zz=1-0", good + "=later", "user:=1-0"} {
		t.Run("cursor "+bad, func(t *testing.T) {
			s := join(t, c.gateways[1], unique("clumsy"), withQuery("last_event_id", bad))
			s.waitErrors("bad_request", 1)
			s.sync()
		})
	}
}

// TestResumeUnderLoad: while clients get 500 missed events, live ones go on at 1,000 a second.
func TestResumeUnderLoad(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	topic := "topic:" + unique("busy")
	const missed, live = 500, 2500
	first := join(t, c.gateways[0], unique("reader"))
	at := first.subscribe(topic, "").Position
	first.leave()
	ids := c.addAll(t, numbered(c.intake(), topic, 0, missed)...)
	eventually(t, func() error {
		if n := c.XLen(ctx, c.history(topic)).Val(); n != int64(len(ids)) {
			return fmt.Errorf("the history holds %d events, want %d", n, len(ids))
		}
		return nil
	})

	producer := c.pace(t, 1000, live, func(i int) entry {
		return entry{c.intake(), fields(topic, number(missed+i))}
	})
	eventually(t, func() error {
		if producer.sent.Load() < 200 {
			return fmt.Errorf("the producer has added %d events", producer.sent.Load())
		}
		return nil
	})
	resume := map[string]string{topic: at}
	byQuery := join(t, c.gateways[0], unique("reader"), withQuery("last_event_id", cursor(resume)))
	byFrame := connect(t, c.gateways[1], unique("reader"), msg{"resume": resume})
	byAfter := join(t, c.gateways[1], unique("reader"))
	byAfter.subscribe(topic, at)
	if n := producer.sent.Load(); n >= live {
		t.Logf("the live events ended before the clients were back: nothing was shown about the seam")
	}
	total := missed + producer.finish(t)
	for _, s := range []*client{byQuery, byFrame, byAfter} {
		events := s.waitEvents(topic, total)
		if events[0].Prev != at {
			t.Errorf("%s: the first event does not follow %s: %s", s, at, events[0])
		}
		requireNumbers(t, s.String(), s.syncEvents(topic), 0, total)
		requireNoGap(t, s)
	}
}
