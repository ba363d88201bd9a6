package store_test

import (
	"testing"
	"time"

	"go.uber.org/goleak"

	"sluice/shared/store"
	"sluice/shared/store/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestStore(t *testing.T) {
	t.Run("real", func(t *testing.T) { storetest.Run(t, storetest.OnRedis) })
	t.Run("embedded", func(t *testing.T) { storetest.Run(t, storetest.OnEmbedded) })
	if testing.Short() {
		return // one node does for daily work
	}
	t.Run("own thread", func(t *testing.T) { storetest.Run(t, storetest.OnOwnThread) })
	t.Run("sentinel", func(t *testing.T) { storetest.Run(t, storetest.OnSentinel) })
	t.Run("replicated cluster", func(t *testing.T) { storetest.Run(t, storetest.OnReplicatedCluster) })
	t.Run("cluster", func(t *testing.T) { storetest.Run(t, storetest.OnCluster) })
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
