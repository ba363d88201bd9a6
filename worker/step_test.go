package worker

import (
	"strings"
	"testing"
	"time"

	"sluice/shared/store"
	"sluice/shared/store/storetest"
	"sluice/shared/wire"
)

// TestHistoryEndsWhileRepeating: an owner repeats what one before it has done, piece by piece, and the history ends within
// the first one, after its end was looked up. It begins again with what is repeated, and every event follows the one before.
func TestHistoryEndsWhileRepeating(t *testing.T) {
	t.Parallel()
	server := storetest.Redis(t)
	st := storetest.Open(t, server.URL(), nil)
	ctx := t.Context()
	const topic = "topic:room"
	l, p := newStepLane(t, st), st.Partition(topic)
	s := l.batch.(*step)
	read := func() []store.Entry {
		t.Helper()
		l.forget()
		l.w.share.reserve(1)
		if err := l.take(ctx, []int{p}); err != nil {
			t.Fatal(err)
		}
		entries, err := l.conn.Commit(ctx, nil, nil, store.Read{
			Generation: l.generation, Consumer: l.w.id, Partitions: l.owned, Epochs: l.rights(), Count: 100, Block: time.Second,
		}, nil)
		if err != nil || len(entries) != 4 {
			t.Fatalf("%d entries, %v", len(entries), err)
		}
		return entries
	}
	event := store.Publication{To: topic, Fields: []string{"to", topic, "data", "1"}}
	for _, err := range st.Publish(ctx, []store.Publication{event, event, event, event}) {
		if err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := s.process(ctx, l.conn, read()); err != nil {
		t.Fatal(err)
	}

	entries := read()
	items, _ := s.validate(entries[:1])
	if err := s.prepare(ctx, l.conn, items); err != nil {
		t.Fatal(err)
	}
	key := "sluice:{" + wire.Tags(st.Config().Partitions)[p] + "}:history:" + topic
	if err := server.Client().Del(ctx, key).Err(); err != nil {
		t.Fatal(err)
	}
	appends, routes := s.plan(items, false)
	if err := l.conn.AppendAndRoute(ctx, appends, routes); err != nil {
		t.Fatal(err)
	}
	s.learn(items, routes)
	if _, _, err := s.process(ctx, l.conn, entries[1:]); err != nil {
		t.Fatal(err)
	}

	history := server.Client().XRange(ctx, key, "-", "+").Val()
	if len(history) != len(entries) {
		t.Fatalf("the history has %d events, want %d", len(history), len(entries))
	}
	for i, e := range history {
		before := "0"
		if i > 0 {
			before = history[i-1].ID
		}
		if got, _ := e.Values["prev"].(string); got != before {
			t.Errorf("%s has the prev %s, want %s", e.ID, got, before)
		}
	}
}

// TestHistoriesWithoutBoundAreShortened: where SLUICE_HISTORY_BYTES is 0 nobody knows how large a history is. When Redis's
// memory is short those are shortened, too, that get events meanwhile, and again when it is short once more.
func TestHistoriesWithoutBoundAreShortened(t *testing.T) {
	t.Parallel()
	server := storetest.Redis(t)
	st := storetest.Open(t, server.URL(), func(c *store.Config) { c.HistoryBytes = 0 })
	ctx := t.Context()
	const topic = "topic:room"
	l, p := newStepLane(t, st), st.Partition(topic)
	l.w.share.reserve(1)
	if err := l.take(ctx, []int{p}); err != nil {
		t.Fatal(err)
	}
	add := func(n int) {
		t.Helper()
		for range n {
			event := store.Publication{To: topic, Fields: []string{"to", topic, "data", strings.Repeat("x", 10<<10)}}
			if err := st.Publish(ctx, []store.Publication{event})[0]; err != nil {
				t.Fatal(err)
			}
			entries, err := l.conn.Commit(ctx, nil, nil, store.Read{
				Generation: l.generation, Consumer: l.w.id, Partitions: l.owned, Epochs: l.rights(), Count: 100, Block: time.Second,
			}, nil)
			if err != nil || len(entries) != 1 {
				t.Fatalf("%d entries, %v", len(entries), err)
			}
			if _, _, err := l.batch.process(ctx, l.conn, entries); err != nil {
				t.Fatal(err)
			}
		}
	}
	key := "sluice:{" + wire.Tags(st.Config().Partitions)[p] + "}:history:" + topic
	for _, when := range []string{"first", "again"} {
		add(40)
		l.w.room.allow(1 << 20) // it is short
		add(2)
		for at, through := (store.Shrinking{}), false; !through; {
			var err error
			if through, err = st.ShrinkHistories(ctx, 64<<10, &at); err != nil {
				t.Fatal(err)
			}
		}
		if n := server.Client().XLen(ctx, key).Val(); n < 1 || n > 6 {
			t.Errorf("%s: the history has %d events of 10 KiB, and may have 64 KiB", when, n)
		}
		add(2)
		l.w.room.allow(0)
	}
}
