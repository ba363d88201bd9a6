package worker

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"sluice/shared/store"
	"sluice/shared/store/storetest"
)

// TestRoomEvicts: the log says once that Redis takes keys away, and once that it does so no more.
func TestRoomEvicts(t *testing.T) {
	st := storetest.Unasked(t, nil)
	var log bytes.Buffer
	r := newRoom(&Worker{store: st, metrics: newMetrics(prometheus.NewRegistry()), log: slog.New(slog.NewTextHandler(&log, nil))})
	good, evicts := store.Memory{Max: 1 << 20, Policy: "noeviction"}, store.Memory{Max: 1 << 20, Policy: "allkeys-lru"}
	for _, all := range [][]store.Memory{{good}, {good, evicts}, {evicts, good}, {good, good}, {good}} {
		r.judge(all)
	}
	if n := strings.Count(log.String(), "\n"); n != 2 || !strings.Contains(log.String(), "level=ERROR") || !strings.Contains(log.String(), "allkeys-lru") {
		t.Errorf("the log has %d lines:\n%s", n, log.String())
	}
}

// TestRoomTellsItsBound: the metric tells what a history may have from the start on, and while that grows back.
func TestRoomTellsItsBound(t *testing.T) {
	st := storetest.Unasked(t, nil)
	r := newRoom(&Worker{store: st, metrics: newMetrics(prometheus.NewRegistry()), log: slog.New(slog.DiscardHandler)})
	usual := st.Config().HistoryBytes
	told := func(want int64) {
		t.Helper()
		if got := testutil.ToFloat64(r.w.metrics.historyBytes); got != float64(want) || r.bound.Load() != want {
			t.Errorf("the metric tells %.0f, a history may have %d, want %d", got, r.bound.Load(), want)
		}
	}
	told(usual)
	r.allow(usual / 4)
	for range 20 {
		r.judge([]store.Memory{{Max: 1 << 20, Policy: "noeviction"}})
	}
	told(usual)
}
