package worker

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"sluice/shared/store"
	"sluice/shared/wire"
)

const (
	// mostUnread is how many events of a partition may wait to be acknowledged, mostOfUser how many of a user.
	mostUnread, mostOfUser = 128 << 10, 1 << 10
	// unreadHeld is how many events that nobody has acknowledged a partition's calls hold at most. More of them stay where they wait.
	unreadHeld = 1000
	// unreadPause is how long a term lasts until it is looked for events that nobody has acknowledged: after Redis was away
	// gateways append acknowledgements that came meanwhile.
	unreadPause = 3 * time.Second
)

// What became of events with the field unread, besides store.Waiting: labels of the metric.
const (
	unreadAcknowledged = "acknowledged"
	unreadTold         = "told"
	unreadNoFunction   = "no_function" // they do not wait
)

// unread knows whether functions take events that nobody has acknowledged.
type unread struct {
	store *store.Store
	log   *slog.Logger
	count *prometheus.CounterVec
	own   bool // those of this worker do

	mu    sync.Mutex
	taken bool
	asked time.Time
	full  time.Time // when the log said last that too many wait
}

// takes asks Redis once a second at most. While that is not known they do: so nothing is missed.
func (u *unread) takes(ctx context.Context) bool {
	if u.own {
		return true
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.asked.IsZero() || time.Since(u.asked) > time.Second {
		if kinds, err := u.store.Functions(ctx); err == nil {
			u.taken, u.asked = slices.Contains(kinds, wire.UnreadKind), time.Now()
		}
	}
	return u.taken || u.asked.IsZero()
}

const unreadFullEvery = time.Minute

// appended counts what became of an event.
func (u *unread) appended(it *item) {
	if it.Unread == 0 || it.append == nil {
		return
	}
	switch waits := it.append.Waits; {
	case it.append.Unread == 0:
		u.count.WithLabelValues(unreadNoFunction).Inc()
	case waits != store.NotWaiting:
		u.count.WithLabelValues(string(waits)).Inc()
		if waits == store.Waits {
			return
		}
		u.mu.Lock()
		defer u.mu.Unlock()
		if now := time.Now(); now.Sub(u.full) > unreadFullEvery {
			u.full = now
			u.log.Error("functions are not told of an event if nobody acknowledges it; it is delivered (more such events are only counted)",
				"partition", it.source.Partition, "why", waits, "most", mostUnread, "most_of_a_user", mostOfUser)
		}
	}
}

// tellUnread tells functions of events that nobody has acknowledged in time.
func (c *calls) tellUnread(ctx context.Context, partition int) error {
	if !c.caller.Takes(&wire.Call{Kind: wire.UnreadKind}) || c.full() {
		return nil
	}
	c.mu.Lock()
	r, room := c.terms[c.w.store.CallsOf(partition)], 0
	if r != nil && time.Since(r.began) > unreadPause {
		room = unreadHeld - r.unread
	}
	c.mu.Unlock()
	if room <= 0 {
		return nil
	}
	told, err := c.w.store.TellUnread(ctx, partition, room)
	c.w.metrics.unread.WithLabelValues(unreadTold).Add(float64(told))
	return err
}
