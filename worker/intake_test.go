package worker

import (
	"testing"
	"time"

	"sluice/shared/store"
	"sluice/shared/store/storetest"
)

// TestMarkSetInTheMiddle: somebody sets a mark `forwarded` between entries that are new. What is below it is dead, and nothing
// else: what is above was appended.
func TestMarkSetInTheMiddle(t *testing.T) {
	t.Parallel()
	server := storetest.Redis(t)
	st := storetest.Open(t, server.URL(), nil)
	ctx, rdb := t.Context(), server.Client()
	const topic = "topic:room"
	l, p := newStepLane(t, st), st.Partition(topic)
	l.intake = &intake{w: l.w}
	if err := l.take(ctx, []int{store.Intake}); err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"5-0", "6-0", "8-0"} {
		if err := rdb.Do(ctx, "XADD", "sluice:events", id, "to", topic, "data", "1").Err(); err != nil {
			t.Fatal(err)
		}
	}
	next := store.Read{Generation: l.generation, Consumer: l.w.id, Partitions: l.owned, Epochs: l.rights(), Count: 100, Block: time.Second}
	entries, err := l.conn.Commit(ctx, nil, nil, next, nil)
	if err != nil || len(entries) != 3 {
		t.Fatalf("%d entries, %v", len(entries), err)
	}
	if err := rdb.Set(ctx, storetest.Key(p, "forwarded"), "6-0", 0).Err(); err != nil {
		t.Fatal(err)
	}
	if _, _, err := l.intake.process(ctx, l.conn, entries, store.Read{}); err != nil {
		t.Fatal(err)
	}
	if n := rdb.XLen(ctx, storetest.Key(p, "events")).Val(); n != 1 {
		t.Errorf("%d are appended, want 1", n)
	}
	letters, err := st.DeadLetters(ctx, "", 10)
	if err != nil || len(letters) != 2 || letters[0].Entry != "5-0" || letters[1].Entry != "6-0" {
		t.Errorf("dead are %v, %v", letters, err)
	}
}
