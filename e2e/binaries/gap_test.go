package binaries_test

import (
	"fmt"
	"testing"
	"time"
)

// requireGap checks that the client was told what it cannot have, and then exactly how it goes on: live, from position.
func requireGap(t *testing.T, s *client, target, after, reason string) frame {
	t.Helper()
	sub := s.waitSubscribed(target)
	gap := s.wait("gap", func(f frame) bool { return f.Type == "gap" && f.To == target })
	if gap.place > sub.place {
		t.Errorf("the gap came after %s", sub)
	}
	if sub.Recovered == nil || *sub.Recovered {
		t.Errorf("want recovered:false: %s", sub)
	}
	if gap.After != after || gap.Reason != reason {
		t.Errorf("want a gap after %s, reason %s: %s", after, reason, gap)
	}
	if gap.Position != sub.Position {
		t.Errorf("two positions: %s and %s", gap, sub)
	}
	if n := len(s.syncEvents(target)); n != 0 {
		t.Errorf("%d events were replayed after a gap", n)
	}
	return gap
}

// TestGapTrimmed has a history of 10 events, and 300 events.
func TestGapTrimmed(t *testing.T) {
	t.Parallel()
	c := newCluster(t, t, 1, 1, "SLUICE_HISTORY_SIZE=10")
	g := c.gateways[0]
	topic := "topic:trimmed"
	const events = 300
	ids := c.addAll(t, numbered(c.ingress(topic), topic, 0, events)...)
	newest := ids[events-1]
	c.waitHistory(t, topic, newest)
	kept, err := c.XRange(ctx, c.history(topic), "-", "+").Result()
	if err != nil {
		t.Fatal(err)
	}
	// Redis may keep the rest of a node of 100 entries.
	if len(kept) < 10 || len(kept) > 10+200 {
		t.Fatalf("the history holds %d events at SLUICE_HISTORY_SIZE=10", len(kept))
	}
	oldest := events - len(kept) // its place in ids

	for _, after := range []string{ids[0], "0", ids[oldest-2]} {
		t.Run("subscribe after "+after, func(t *testing.T) {
			s := join(t, g, unique("reader"))
			s.subscribe(topic, after)
			requireTrimmed(t, requireGap(t, s, topic, after, "trimmed"), kept[0].ID, newest)
		})
	}
	t.Run("resume in connect, and on", func(t *testing.T) {
		s := connect(t, g, unique("reader"), msg{"resume": msg{topic: ids[5]}})
		requireTrimmed(t, requireGap(t, s, topic, ids[5], "trimmed"), kept[0].ID, newest)
		c.send(t, topic, number(events))
		live := s.waitEvents(topic, 1)
		requireNumbers(t, topic, live, events, events+1)
		if live[0].Prev != newest {
			t.Errorf("the first live event does not follow the position %s: %s", newest, live[0])
		}
	})
	t.Run("an id above the newest", func(t *testing.T) {
		future := fmt.Sprintf("%d-0", time.Now().Add(time.Hour).UnixMilli())
		s := join(t, g, unique("reader"), withQuery("last_event_id", cursor(map[string]string{topic: future})))
		requireGap(t, s, topic, future, "unknown")
	})

	// What can be had has no gap: all that is retained, and what follows the last one that is not.
	now := events + 1 // one more was added above
	t.Run("earliest", func(t *testing.T) {
		s := join(t, g, unique("reader"))
		s.subscribe(topic, "earliest")
		s.wait("the newest event", func(f frame) bool { return f.To == topic && string(f.Data) == number(now-1) })
		got := s.syncEvents(topic)
		from := got[0].number(t)
		if got[0].Prev != ids[from-1] {
			t.Errorf("the oldest retained event follows %s: %s", ids[from-1], got[0])
		}
		requireNumbers(t, topic, got, from, now)
		requireNoGap(t, s)
		for place, name := range map[int]string{from - 1: "the last lost", from: "the first kept", from + 3: "a kept one"} {
			t.Run("after "+name, func(t *testing.T) {
				s := join(t, g, unique("reader"))
				if sub := s.subscribe(topic, ids[place]); !sub.recovered() {
					t.Errorf("not recovered: %s", sub)
				}
				s.waitEvents(topic, now-place-1)
				requireNumbers(t, topic, s.syncEvents(topic), place+1, now)
				requireNoGap(t, s)
			})
		}
	})
}

func requireTrimmed(t *testing.T, gap frame, oldest, newest string) {
	t.Helper()
	if gap.Oldest != oldest || gap.Position != newest {
		t.Errorf("want oldest %s, position %s: %s", oldest, newest, gap)
	}
}

// TestGapExpired has a history that lives for 2 s: a position older than that is expired.
func TestGapExpired(t *testing.T) {
	t.Parallel()
	c := newCluster(t, t, 1, 1, "SLUICE_HISTORY_TTL=2s")
	g := c.gateways[0]
	topic := "topic:expired"
	id := c.sendDirect(t, topic, number(0))
	c.waitHistory(t, topic, id)
	eventually(t, func() error {
		if n := c.Exists(ctx, c.history(topic)).Val(); n != 0 {
			return fmt.Errorf("%s still exists, and expires in %v", c.history(topic), c.PTTL(ctx, c.history(topic)).Val())
		}
		return nil
	})
	for name, back := range map[string]func() *client{
		"after":            func() *client { s := join(t, g, unique("late")); s.subscribe(topic, id); return s },
		"resume":           func() *client { return connect(t, g, unique("late"), msg{"resume": msg{topic: id}}) },
		"Last-Event-ID":    func() *client { return join(t, g, unique("late"), withHeader("Last-Event-ID", topic+"="+id)) },
		"an id of old age": func() *client { s := join(t, g, unique("late")); s.subscribe(topic, "1000-0"); return s },
	} {
		t.Run(name, func(t *testing.T) {
			s := back()
			after := id
			if name == "an id of old age" {
				after = "1000-0"
			}
			requireGap(t, s, topic, after, "expired")
			mark := `"` + unique("live") + `"`
			c.send(t, topic, mark, "retain", "0") // keeps the history empty for the next case
			s.waitData(topic, mark)
		})
	}
}
