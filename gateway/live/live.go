package live

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"sluice/gateway/history"
	"sluice/shared/store"
	"sluice/shared/wire"
)

// RedisTimeout is for what a client waits for.
const RedisTimeout = 5 * time.Second

// TryAgain is what clients are told of a failure that is not theirs.
const TryAgain = "not possible now; try again"

// History reads what is retained: a *history.Reader.
type History interface {
	Read(ctx context.Context, user string, wanted ...*history.Reading) error // shared with those that want the same
	Query(ctx context.Context, wanted ...*store.Query) error                 // for the caller alone
}

// Sessions say in Redis who is here, so that workers publish to this gateway: a
// *sessions.Sessions. Want and Drop do not wait, and have one order.
type Sessions interface {
	Want(target, conn string)
	Drop(target, conn string)
	// Wait waits until what was last asked for is written. A *store.BadKey says that it
	// cannot be written for now; others can.
	Wait(ctx context.Context, target, conn string) error
}

// Options are what a Flow is made of.
type Options struct {
	Partitions int
	Partition  func(target string) int
	History    History
	Sessions   Sessions
	NowMs      func() int64        // Redis's clock
	TTLMs      int64               // of histories
	HeardMs    func() int64        // when the channel was last known to work, by Redis's clock
	TermBegan  func(partition int) // another owner, or the same one again; a shard's lock is held
	Lost       func(partition int) // something may have been lost on the channel; a shard's lock is held
	Metrics    *Metrics
	Log        *slog.Logger
}

// Metrics count what happens. All must be set.
type Metrics struct {
	Deliveries, Holes, Rereads, Looks, Mended, Lagging prometheus.Counter
	Drops                                              *prometheus.CounterVec // by reason
	Gaps                                               *prometheus.CounterVec // by reason
	Resumes                                            *prometheus.CounterVec // by result
}

// Reasons why a record was dropped.
const (
	DropNobody   = "nobody"         // no subscriber is here any more
	dropRepeat   = "repeat"         // delivered already
	dropLost     = "lost_history"   // its history was lost meanwhile; clients are told of a gap
	dropStale    = "stale_live"     // live only, of a term that is over
	DropLiveOnly = "live_only_full" // live only, and the connection has no room
)

func (m *Metrics) dropped(reason string) { m.Drops.WithLabelValues(reason).Inc() }

// gap counts a gap that is told; "" is none.
func (m *Metrics) gap(reason string) {
	if reason != "" {
		m.Gaps.WithLabelValues(reason).Inc()
	}
}

func (m *Metrics) resumed(gap string) {
	if gap == "" {
		gap = "recovered"
	}
	m.Resumes.WithLabelValues(gap).Inc()
}

// faults are deliberate defects, which a build for tests puts in and the checker of the
// torture must find.
var faults struct {
	// lose: an event counts as delivered to subscriptions in the live flow, and is not.
	lose func(id wire.ID) bool
	// noBuffer: events count as delivered to subscriptions that read the history, and are not.
	noBuffer bool
}

// Flow knows who on this gateway wants what, and holds the live flow in order.
type Flow struct {
	o      Options
	shards []shard // one per partition
	reread *rereads
}

// New makes a Flow; Run must be called.
func New(o Options) *Flow {
	f := &Flow{o: o, shards: make([]shard, o.Partitions)}
	for i := range f.shards {
		f.shards[i].number, f.shards[i].targets = i, make(map[string]*target)
	}
	f.reread = newRereads(f)
	return f
}

// Run mends targets that may have lost something, until ctx ends.
func (f *Flow) Run(ctx context.Context) error {
	var readers sync.WaitGroup
	for range rereaders {
		readers.Go(func() { f.reread.run(ctx) })
	}
	readers.Wait()
	return nil
}

// Missed says that nobody may have published events of a target to this gateway for a while, since when by Redis's clock in ms.
func (f *Flow) Missed(target string, since int64) { f.reread.target(target, since) }

// MissedAll says so of all targets.
func (f *Flow) MissedAll() { f.reread.all() }

func (f *Flow) shard(name string) *shard { return &f.shards[f.o.Partition(name)] }

// clock is Redis's, as far as known: what is read after it is at least as young.
func (f *Flow) clock() clock { return clock{f.o.NowMs(), f.o.TTLMs} }

// Each calls f for all that subscribe to a target, under a lock. false: there is nobody.
func (f *Flow) Each(name string, do func(*Client)) (there bool) {
	sh := f.shard(name)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	t := sh.targets[name]
	if t == nil {
		return false
	}
	for _, s := range t.subs {
		do(s.client)
	}
	return true
}
