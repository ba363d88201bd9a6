package binaries_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"
)

// TestDelivery adds events by both ways and looks at who gets them, on which gateway.
func TestDelivery(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	g0, g1 := c.gateways[0], c.gateways[1]
	alice, bob, carol := unique("alice"), unique("bob"), unique("carol")
	room := "topic:" + unique("room")

	a0, a1 := join(t, g0, alice), join(t, g1, alice)
	b1, c0 := join(t, g1, bob), join(t, g0, carol)
	b1.subscribe(room, "")
	c0.subscribe(room, "")

	everyone := []*client{a0, a1, b1, c0}
	cases := []struct {
		target    string
		receivers []*client
	}{
		{"user:" + alice, []*client{a0, a1}},
		{"user:" + bob, []*client{b1}},
		{room, []*client{b1, c0}},
		{"all", everyone},
	}
	for _, way := range []string{"intake", "partition stream"} {
		for _, tc := range cases {
			t.Run(way+" to "+tc.target, func(t *testing.T) {
				data := fmt.Sprintf(`{"way":%q,"to":%q}`, way, tc.target)
				var id string
				if way == "intake" {
					c.send(t, tc.target, data)
				} else {
					id = c.sendDirect(t, tc.target, data)
				}
				first := tc.receivers[0].waitData(tc.target, data)
				if id != "" && first.ID != id {
					t.Errorf("the event has the id %s, the stream's entry %s", first.ID, id)
				}
				for _, r := range tc.receivers[1:] {
					if f := r.waitData(tc.target, data); f.ID != first.ID || f.Prev != first.Prev {
						t.Errorf("receivers differ: %s and %s", first, f)
					}
				}
				if first.Event != "message" {
					t.Errorf("event name %q, want the default: message", first.Event)
				}
				kept, err := c.XRange(ctx, c.history(tc.target), first.ID, first.ID).Result()
				if err != nil || len(kept) != 1 {
					t.Errorf("%s holds under %s: %v %v", c.history(tc.target), first.ID, kept, err)
				}
				for _, r := range everyone {
					got := 0
					for _, f := range r.syncEvents(tc.target) {
						if string(f.Data) == data {
							got++
						}
					}
					want := 0
					for _, w := range tc.receivers {
						if w == r {
							want = 1
						}
					}
					if got != want {
						t.Errorf("%s got it %d times, want %d", r, got, want)
					}
				}
			})
		}
	}
}

// TestThreeDevices has one user on three connections at two gateways.
func TestThreeDevices(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	user := unique("three")
	target := "user:" + user
	devices := []*client{join(t, c.gateways[0], user), join(t, c.gateways[0], user), join(t, c.gateways[1], user)}
	const events = 200
	c.addAll(t, numbered(c.intake(), target, 0, events)...)
	for _, d := range devices {
		d.waitEvents(target, events)
	}
	for _, d := range devices {
		requireNumbers(t, d.String(), d.syncEvents(target), 0, events)
	}
}

// TestOnePublishForEachGateway listens on the gateways' own channels: one record each, whatever the number of subscribers.
func TestOnePublishForEachGateway(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	topic := "topic:" + unique("wide")
	var subscribers []*client
	for i := range 20 {
		s := join(t, c.gateways[i%2], unique("wide"))
		s.subscribe(topic, "")
		subscribers = append(subscribers, s)
	}

	channels := []string{c.prefix + "server:" + c.gateways[0].id, c.prefix + "server:" + c.gateways[1].id}
	listener := c.Subscribe(ctx, channels...)
	defer func() { _ = listener.Close() }()
	for confirmed := 0; confirmed < len(channels); {
		m, err := listener.Receive(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := m.(*redis.Subscription); ok {
			confirmed++
		}
	}
	messages := listener.Channel()
	count := map[string]int{}
	// The last event says that what was published for the one before it has come.
	mark, last := unique("only-once"), unique("the-end")
	c.sendDirect(t, topic, `"`+mark+`"`)
	for _, s := range subscribers {
		s.waitData(topic, `"`+mark+`"`)
	}
	c.sendDirect(t, topic, `"`+last+`"`)
	ended := 0
	eventually(t, func() error {
		for {
			select {
			case m := <-messages:
				if strings.Contains(m.Payload, mark) {
					count[m.Channel]++
				}
				if strings.Contains(m.Payload, last) {
					ended++
				}
				continue
			default:
			}
			if ended < len(channels) {
				return fmt.Errorf("%d of %d channels had the last event", ended, len(channels))
			}
			return nil
		}
	})
	for _, ch := range channels {
		if count[ch] != 1 {
			t.Errorf("%d messages on %s for one event to a topic, want 1", count[ch], ch)
		}
	}
}

func TestUnsubscribe(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	topic := "topic:" + unique("left")
	stays, leaves := join(t, c.gateways[0], unique("stays")), join(t, c.gateways[0], unique("leaves"))
	stays.subscribe(topic, "")
	leaves.subscribe(topic, "")
	c.send(t, topic, number(0))
	stays.waitEvents(topic, 1)
	leaves.waitEvents(topic, 1)

	if f := leaves.must(leaves.ask(msg{"type": "unsubscribe", "to": topic}), "unsubscribed"); f.To != topic {
		t.Errorf("unsubscribed from another target: %s", f)
	}
	// Two more, so that the first of them would long have come to the one that left.
	for n := 1; n <= 2; n++ {
		c.send(t, topic, number(n))
		stays.waitEvents(topic, n+1)
	}
	requireNumbers(t, "the one that left", leaves.syncEvents(topic), 0, 1)
}

// TestQueryTopics is the simple client: no frames from its side.
func TestQueryTopics(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	one, two := unique("query"), unique("query/a.b_c@d=e+f")
	s := join(t, c.gateways[1], unique("simple"), withQuery("topics", one+","+two))
	for _, name := range []string{one, two} {
		target := "topic:" + name
		if f := s.waitSubscribed(target); f.Position != "0" {
			t.Errorf("position of a new topic: %s, want 0", f)
		}
		c.send(t, target, number(0))
		requireNumbers(t, target, s.waitEvents(target, 1), 0, 1)
	}
}

func TestWelcome(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	user := unique("welcomed")
	s := join(t, c.gateways[0], user)
	w := s.welcome
	if w.User != user || w.Server != c.gateways[0].id || w.Conn == "" || w.PingMS != 25_000 || len(w.Limits) == 0 {
		t.Errorf("welcome is incomplete: %s", w)
	}
	if other := join(t, c.gateways[0], user); other.welcome.Conn == w.Conn {
		t.Errorf("two connections have the id %s", w.Conn)
	}
}
