package worker

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"sluice/shared/store"
	"sluice/shared/store/storetest"
)

// TestLastPartitionIsGivenAway: a lane whose only partition is too much, as on a Cluster, lets go of it at once, also when
// nothing is to be published or acknowledged, and takes it again when the others have gone.
func TestLastPartitionIsGivenAway(t *testing.T) {
	t.Parallel()
	st := storetest.Open(t, storetest.Redis(t).URL(), nil)
	ctx := t.Context()
	w := newWorker(st, Config{})
	of := &share{partitions: 2}
	of.workers.Store(1)
	for p := range of.partitions {
		conn, err := st.NewLane(false)
		if err != nil {
			t.Fatal(err)
		}
		start(t, newLane(w, conn, []int{p}, of, newStep(w)).run)
	}
	free := func(worker string, want int) {
		t.Helper()
		var got []int
		for end := time.Now().Add(leaseTTL * 4 / 5); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
			var err error
			if got, err = st.Free(ctx, worker, []int{0, 1}); err != nil {
				t.Fatal(err)
			}
			if len(got) == want {
				return
			}
		}
		t.Fatalf("%q can take %v, want %d partitions", worker, got, want)
	}
	free("other", 0)
	of.workers.Store(2)
	free("other", 1)
	taken := takeFree(t, st, "other")
	free(w.id, 1)
	if err := st.Release(context.WithoutCancel(ctx), "other", taken); err != nil {
		t.Fatal(err)
	}
	of.workers.Store(1)
	free("other", 0)
}

// takeFree lets another worker take what it can.
func takeFree(t *testing.T, st *store.Store, worker string) []int {
	t.Helper()
	free, err := st.Free(t.Context(), worker, []int{0, 1})
	if err != nil || len(free) == 0 {
		t.Fatalf("%v are free, %v", free, err)
	}
	terms, err := st.TakeOver(t.Context(), worker, "otherone", leaseTTL, free)
	if err != nil || !terms[0].Taken {
		t.Fatalf("%v, %v", terms, err)
	}
	return free
}

// TestStopsWithoutRedis: a worker that stops while Redis is silent waits for it once. Its leases have expired by then.
func TestStopsWithoutRedis(t *testing.T) {
	t.Parallel()
	server := storetest.Redis(t)
	l := newStepLane(t, storetest.Open(t, server.URL(), nil))
	var said bytes.Buffer
	l.log = slog.New(slog.NewTextHandler(&said, nil))
	if err := l.take(t.Context(), []int{0}); err != nil || len(l.owned) != 1 {
		t.Fatalf("it owns %v, %v", l.owned, err)
	}
	if err := server.Client().Do(t.Context(), "CLIENT", "PAUSE", "60000", "ALL").Err(); err != nil {
		t.Fatal(err)
	}
	l.stop(t.Context(), nil, []store.Ack{{Partition: 0, IDs: []string{"1-1"}}})
	if text := said.String(); !strings.Contains(text, "not acknowledged") || strings.Contains(text, "could not release") {
		t.Error(text)
	}
}
