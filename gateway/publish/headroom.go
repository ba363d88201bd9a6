package publish

import (
	"context"
	"log/slog"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"sluice/shared/store"
)

// headroomEvery is how much clients publish, in bytes, before Redis's memory is asked for
// again: more than that, of each gateway, does not go beyond the bound.
const headroomEvery = 1 << 20

// headroom says whether clients may publish: so that workers always have room to bring to
// clients what waits, it is refused while Redis uses more than a share of its memory, or
// too much waits. What backends append is theirs to bound.
type headroom struct {
	store       *store.Store
	maxEntries  int64 // that wait; 0: no bound
	maxBytes    int64
	memoryShare prometheus.Gauge
	log         *slog.Logger

	mu      sync.Mutex
	behind  bool           // too much waits for workers
	calls   bool           // and for functions, which may fail for long: that holds up no events
	memory  []store.Memory // of the node of each partition
	spent   int64          // bytes published since memory was asked for
	told    bool           // the log says that memory is short
	unknown bool           // and that it is not known
}

// refuses is the reason why an event for a partition may not be published now; "": it may.
func (h *headroom) refuses(partition int) (why string) { return h.refusal(partition, false) }

// refusesCall is the reason why a call may not be asked.
func (h *headroom) refusesCall(partition int) (why string) { return h.refusal(partition, true) }

func (h *headroom) refusal(partition int, call bool) (why string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case !call && h.behind, call && h.calls:
		return refusedBacklog
	case partition < len(h.memory) && h.store.Short(h.memory[partition]):
		return refusedMemory
	}
	return ""
}

// spend notes what is about to be published, and looks at Redis's memory where it may be
// another one now.
func (h *headroom) spend(ctx context.Context, bytes int) {
	h.mu.Lock()
	h.spent += int64(bytes)
	due := h.spent >= headroomEvery
	h.mu.Unlock()
	if due {
		h.look(ctx)
	}
}

// look asks for Redis's memory. While that is not known, nothing is refused.
func (h *headroom) look(ctx context.Context) {
	memory, err := h.store.Memory(ctx)
	if err != nil && !store.IsReply(err) {
		return // Redis is away, and takes nothing anyway
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.memory, h.spent = memory, 0
	if unknown := err != nil; unknown != h.unknown {
		if h.unknown = unknown; unknown {
			h.log.Warn("clients can fill Redis, since its memory is not known: allow its user the command INFO", "err", err)
		}
	}
	var fullest store.Memory
	for _, m := range memory {
		if m.Share() > fullest.Share() {
			fullest = m
		}
	}
	h.memoryShare.Set(fullest.Share())
	if short := h.store.Short(fullest); short != h.told {
		if h.told = short; short {
			h.log.Warn("Redis's memory is nearly full: what clients publish is refused until workers have made room; give Redis more maxmemory if this stays",
				"used", fullest.Used, "maxmemory", fullest.Max)
		} else {
			h.log.Info("Redis has room again, and clients may publish")
		}
	}
}

// waits notes how much waits for workers.
func (h *headroom) waits(b *backlog) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.behind = (h.maxEntries > 0 && b.Total-b.Calls > h.maxEntries) || (h.maxBytes > 0 && b.Bytes-b.callBytes > h.maxBytes)
	h.calls = (h.maxEntries > 0 && b.Calls > h.maxEntries) || (h.maxBytes > 0 && b.callBytes > h.maxBytes)
}

// full reports whether a node of Redis takes no more writes.
func (h *headroom) full() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, m := range h.memory {
		if m.Share() >= 1 {
			return true
		}
	}
	return false
}
