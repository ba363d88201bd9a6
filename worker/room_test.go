package worker

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

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
