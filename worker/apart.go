package worker

import (
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"sluice/shared/store"
)

const (
	// apartFor is how long a partition that cannot be worked on is left alone before it is
	// looked at again.
	apartFor = 2 * time.Second
	// apartKnown is how long it counts as apart after the last look: another worker may
	// look after it meanwhile.
	apartKnown = 5 * apartFor
)

// apart is what cannot be worked on until a person mends a key. All else goes on. It is
// said once in the log, and as long as it lasts in a metric and in /readyz.
type apart struct {
	log   *slog.Logger
	gauge *prometheus.GaugeVec

	mu  sync.Mutex
	all map[string]*setApart
}

type setApart struct {
	why  string
	seen time.Time
}

func newApart(log *slog.Logger, gauge *prometheus.GaugeVec) *apart {
	return &apart{log: log, gauge: gauge, all: make(map[string]*setApart)}
}

// set says why something cannot be worked on; it is called at each look.
func (a *apart) set(what string, why error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	s := a.all[what]
	if s == nil {
		s = &setApart{}
		a.all[what] = s
		a.gauge.WithLabelValues(what).Set(1)
		a.log.Error("cannot process this stream until its key is repaired; everything else continues", "what", what, "err", why)
	}
	s.why, s.seen = why.Error(), time.Now()
}

// clear says that it works.
func (a *apart) clear(what string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.drop(what)
}

func (a *apart) drop(what string) {
	if a.all[what] != nil {
		delete(a.all, what)
		a.gauge.DeleteLabelValues(what)
		a.log.Info("this stream is processed again, or belongs to another worker now", "what", what)
	}
}

// err is what is set apart now; nil: nothing.
func (a *apart) err() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	var all []string
	for what, s := range a.all {
		if time.Since(s.seen) > apartKnown {
			a.drop(what)
			continue
		}
		all = append(all, what+": "+s.why)
	}
	if len(all) == 0 {
		return nil
	}
	slices.Sort(all)
	return errors.New("not processed until a key is repaired: " + strings.Join(all, "; "))
}

// badKeys tells of single keys that hold another type, so that something was done without
// them: it counts each time, and names one in the log now and then.
type badKeys struct {
	log   *slog.Logger
	count *prometheus.CounterVec

	mu   sync.Mutex
	next time.Time
}

const badKeyEvery = 10 * time.Second

// met tells of a key of a kind; why is a *store.BadKey.
func (b *badKeys) met(kind string, why error) {
	b.count.WithLabelValues(kind).Inc()
	b.mu.Lock()
	defer b.mu.Unlock()
	if now := time.Now(); now.After(b.next) {
		b.next = now.Add(badKeyEvery)
		b.log.Error("a key holds another type and is not used; delete it (more such keys are only counted)", "kind", kind, "err", why)
	}
}

// Ready is nil when the worker can work on everything that is its own, and Redis takes writes.
func (w *Worker) Ready() error { return errors.Join(w.room.ready(), w.apart.err()) }

// groupApart notes which streams of a reader are set apart.
func (w *Worker) groupApart(what string, r *store.GroupReader) {
	for _, p := range r.Apart() {
		w.apart.set(what+" of "+w.streamName(p), errors.New("its key does not hold a stream"))
	}
}
