// Package slow tells workers of connections that take nothing, answers what they ask of them, and closes those that they give up.
package slow

import (
	"context"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"sluice/gateway/lock"
	"sluice/shared/ops"
	"sluice/shared/store"
	"sluice/shared/wire"
)

const (
	lagTick = 50 * time.Millisecond
	// lagGrace is how long a socket takes nothing before it is reported: who only reads
	// slower than events come catches up from the history, and needs no judge.
	lagGrace = 100 * time.Millisecond
	// lagRepeat is after how much silence of the workers a connection is reported again.
	// It is longer than they ever wait between two tries (worker/redeliver.go).
	lagRepeat  = 15 * time.Second
	lagReports = 500  // in one round trip
	lagOver    = 4096 // reports of what is over that wait
)

// Sock is the socket of a connection.
type Sock interface {
	Taken() uint64 // bytes that the kernel has taken
	Room() bool    // a frame would be taken
	Close(code int, reason string)
}

// Sub is a subscription: a *live.Sub.
type Sub interface{ Target() string }

// Client is a connection that has more to get than it takes.
type Client struct {
	Conn, User string
	Sock       Sock
	Drained    func() // says that the socket has room again
}

// Options are what Lags are made of.
type Options struct {
	Server  string // this gateway's name
	Store   *store.Store
	Metrics *Metrics
	Log     *slog.Logger
}

// Metrics are counted by Lags.
type Metrics struct {
	Slow    prometheus.Gauge       // connections that have no room
	Reports *prometheus.CounterVec // to workers, by state
	Drops   *prometheus.CounterVec // reports that were dropped, by reason
}

// dropReport: too many reports wait that slow clients are slow no more.
const dropReport = "slow_report"

// Lags are the connections that catch up and have no room for what is read. Workers are
// told of those that take nothing at all (sluice:{t}:slow), and ask again and again
// whether they still do: they keep the time, and decide when it is over. A report that
// is lost is made again, so nothing depends on one.
//
// A connection is reported for one of its targets at a time: all wait for its one
// socket, and what it costs in Redis must not grow with its subscriptions.
type Lags struct {
	o Options

	mu    lock.Mutex[lock.Lags]
	conns map[string]*lag   // by id
	over  []wire.SlowReport // of chains that may end
}

type lag struct {
	Client
	sub     Sub
	after   wire.ID   // where the subscription stands
	taken   uint64    // by the kernel, as last seen
	moved   time.Time // when that was more than before
	told    bool      // a worker knows
	mark    uint64    // taken when a worker was last told
	heard   time.Time // last report, or last question of a worker
	report  string    // the state to be reported; "": none
	ordered bool      // a worker has ordered the close
}

// New makes Lags; Run must be called.
func New(o Options) *Lags { return &Lags{o: o, conns: make(map[string]*lag)} }

// Lags says that a subscription has something to catch up with, from a position on, and
// its socket has no room. Its shard's lock is held, and it has not ended.
func (l *Lags) Lags(c Client, s Sub, at wire.ID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e := l.conns[c.Conn]
	if e == nil {
		e = &lag{Client: c, sub: s, taken: c.Sock.Taken(), moved: time.Now()}
		l.conns[c.Conn] = e
		l.o.Metrics.Slow.Inc()
	}
	if e.sub == s {
		e.after = at
	}
}

// CaughtUp says that a subscription has met the live flow, or is gone. Its shard's lock is
// held.
func (l *Lags) CaughtUp(conn string, s Sub) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e := l.conns[conn]
	if e == nil || e.sub != s {
		return
	}
	delete(l.conns, conn)
	l.o.Metrics.Slow.Dec()
	if e.told && !e.ordered { // else the worker's record of it stays
		l.done(conn, s.Target())
	}
}

// done queues the report that a chain may end; l.mu is held. When it is dropped, the
// answer to the worker's next question says the same.
func (l *Lags) done(conn, target string) {
	if len(l.over) >= lagOver {
		l.o.Metrics.Drops.WithLabelValues(dropReport).Inc()
		return
	}
	l.over = append(l.over, wire.SlowReport{Server: l.o.Server, Conn: conn, To: target, State: wire.SlowDone})
}

// Again reports everything again: Redis may have lost it.
func (l *Lags) Again() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range l.conns {
		e.told = false
	}
}

// Run reports until ctx ends.
func (l *Lags) Run(ctx context.Context) error {
	tick := time.NewTicker(lagTick)
	defer tick.Stop()
	var wait time.Duration
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		reports, of, over := l.due(time.Now())
		if len(reports) == 0 {
			continue
		}
		if err := l.o.Store.ReportSlow(ctx, reports); err != nil {
			if ctx.Err() == nil && wait == 0 {
				l.o.Log.Warn("cannot report slow clients; retrying, they catch up without the report as soon as they read", "err", err)
			}
			wait = min(max(2*wait, lagTick), time.Second)
			ops.Pause(ctx, wait)
			continue
		}
		wait = 0
		l.sent(reports, of, over)
	}
}

// due are the next reports: first those of what is over, then those of the connections.
func (l *Lags) due(now time.Time) (reports []wire.SlowReport, of []*lag, over int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	over = min(len(l.over), lagReports)
	reports = append(reports, l.over[:over]...)
	for _, e := range l.conns {
		if taken := e.Sock.Taken(); taken != e.taken {
			e.taken, e.moved = taken, now
		}
		if e.report == "" && ((!e.told && now.Sub(e.moved) >= lagGrace) || (e.told && now.Sub(e.heard) >= lagRepeat)) {
			e.report = wire.SlowLagging
		}
		if e.report != "" && len(reports) < lagReports {
			reports = append(reports, wire.SlowReport{
				Server: l.o.Server, Conn: e.Conn, User: e.User, To: e.sub.Target(), After: e.after, State: e.report,
			})
			of = append(of, e)
		}
	}
	return reports, of, over
}

// sent notes what Redis has.
func (l *Lags) sent(reports []wire.SlowReport, of []*lag, over int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over = l.over[over:]; len(l.over) == 0 {
		l.over = nil
	}
	now := time.Now()
	for i, e := range of {
		if e.report == reports[over+i].State {
			e.report = ""
		}
		e.told, e.mark, e.heard = true, e.taken, now
		if l.conns[e.Conn] != e { // it ended meanwhile, and nobody knew that it was told
			l.done(e.Conn, e.sub.Target())
		}
	}
	for i := range reports {
		l.o.Metrics.Reports.WithLabelValues(reports[i].State).Inc()
	}
}

// Asked answers a worker that wants to know how it stands with a connection: it is over,
// or it has got further, or, without a word, neither. If it was the last time, a
// connection of which nothing has gone out since the last report is closed.
func (l *Lags) Asked(r *wire.Redelivery) {
	l.mu.Lock()
	e := l.conns[r.Conn]
	if e == nil || e.sub.Target() != r.To {
		l.done(r.Conn, r.To)
		l.mu.Unlock()
		return
	}
	e.heard = time.Now()
	moved := e.Sock.Taken() != e.mark
	if moved {
		e.report = wire.SlowProgress
	}
	e.ordered = e.ordered || (r.Last && !moved)
	l.mu.Unlock()
	switch {
	case r.Last && !moved:
		e.Sock.Close(wire.CloseTooSlow, "too slow: it took nothing for too long")
	case e.Sock.Room():
		e.Drained() // it has room, and should know
	}
}
