package store_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"sluice/shared/store"
	"sluice/shared/store/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestStore runs the conformance suite on each backend, all at the same time: they wait for most of it.
func TestStore(t *testing.T) {
	on := map[string]func(testing.TB) *storetest.Backend{"real": storetest.OnRedis, "embedded": storetest.OnEmbedded}
	if !testing.Short() { // one node does for daily work
		on["own thread"] = storetest.OnOwnThread
		on["sentinel"] = storetest.OnSentinel
		on["cluster"] = storetest.OnCluster
		on["replicated cluster"] = storetest.OnReplicatedCluster
	}
	for name, open := range on {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			storetest.Run(t, open)
		})
	}
}

// TestClock: times are Redis's, whatever the process's clock says.
func TestClock(t *testing.T) {
	m := storetest.Embedded(t)
	began := time.Date(2001, 2, 3, 4, 5, 6, 0, time.UTC)
	m.SetTime(began)
	s := storetest.Open(t, "redis://"+m.Addr(), nil)
	off := func() int64 { return s.NowMs() - began.UnixMilli() }
	if off := off(); off < 0 || off > 5000 {
		t.Fatalf("NowMs is %d ms from Redis's time", off)
	}
	m.SetTime(began.Add(-time.Hour))
	if _, _, err := s.Announce(t.Context(), store.Workers, "w", time.Minute); err != nil {
		t.Fatal(err)
	}
	if off := off() + time.Hour.Milliseconds(); off < 0 || off > 5000 {
		t.Fatalf("NowMs is %d ms from Redis's time after Redis's clock was set back", off)
	}
}

// TestPresenceOf: what gateways note of users follows from what functions take.
func TestPresenceOf(t *testing.T) {
	for _, c := range []struct {
		kinds []string
		want  store.Presence
	}{
		{nil, store.NoPresence},
		{[]string{"call", "connected", "call:on*"}, store.NoPresence},
		{[]string{"call", "offline"}, store.NotePresence},
		{[]string{"offline", "online"}, store.TellPresence},
		{[]string{"online"}, store.TellPresence},
	} {
		if got := store.PresenceOf(c.kinds); got != c.want {
			t.Errorf("%v: %q, want %q", c.kinds, got, c.want)
		}
	}
}

// TestWaitsWithItsHistory: an event that the same transaction does not append, since its history has ended, does not wait yet: were its
// owner to die then, it could be told before it is delivered, and again after that.
func TestWaitsWithItsHistory(t *testing.T) {
	rdb := storetest.Redis(t).Client()
	for there, want := range map[string]int{"1": 0, "": 1} {
		got, err := store.Scripts["letWait"].Run(t.Context(), rdb, []string{"history", "due" + there, "of" + there}, "5-0", there, "u 5", 1000, 10, 10, 1000).Int()
		if err != nil || got != want {
			t.Errorf("%q: it waits: %d, %v, want %d", there, got, err, want)
		}
	}
}

// TestAwaitIsQuiet: a Redis that does not come is told of at once, and then less and less often.
func TestAwaitIsQuiet(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := storetest.Unasked(t, nil)
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
		defer cancel()
		begin := time.Now()
		var told []time.Duration
		err := s.Await(ctx, func(error) { told = append(told, time.Since(begin)) })
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("it ended with %v", err)
		}
		if len(told) < 10 || len(told) > 25 || told[0] > 0 {
			t.Errorf("it was told at %v", told)
		}
		_ = s.Close()
		time.Sleep(time.Minute) // go-redis goes on dialing until it sees that
	})
}
