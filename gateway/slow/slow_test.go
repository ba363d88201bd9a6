package slow

import (
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"sluice/shared/wire"
)

// sock is the socket of a client that reads when the test says so.
type sock struct {
	taken  uint64
	room   bool
	closed int
}

func (s *sock) Taken() uint64            { return s.taken }
func (s *sock) Room() bool               { return s.room }
func (s *sock) Close(code int, _ string) { s.closed = code }

type sub string

func (s *sub) Target() string { return string(*s) }

func subTo(target string) *sub { return (*sub)(&target) }

func testLags() *Lags {
	return New(Options{Server: "gw", Log: slog.New(slog.DiscardHandler), Metrics: &Metrics{
		Slow:    prometheus.NewGauge(prometheus.GaugeOpts{Name: "slow"}),
		Reports: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "reports"}, []string{"state"}),
		Drops:   prometheus.NewCounterVec(prometheus.CounterOpts{Name: "drops"}, []string{"reason"}),
	}})
}

// report makes the reports that are due, as if Redis had taken them, and checks them: their connections, targets and states.
func (l *Lags) report(t *testing.T, want string) {
	t.Helper()
	reports, of, over := l.due(time.Now())
	l.sent(reports, of, over)
	var got []string
	for _, r := range reports {
		got = append(got, r.Conn+" "+r.To+" "+r.State)
	}
	if strings.Join(got, "; ") != want {
		t.Fatalf("the reports are %q, want %q", strings.Join(got, "; "), want)
	}
}

// TestReports: who takes nothing is reported for one target, again when workers are silent, and as done when it has caught up.
func TestReports(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, s := testLags(), &sock{}
		room, all := subTo("topic:room"), subTo("all")
		c := Client{Conn: "c1", User: "alice", Sock: s, Drained: func() {}}
		l.Lags(c, room, wire.ID{Ms: 1})
		l.Lags(c, all, wire.ID{Ms: 2})
		l.report(t, "")
		time.Sleep(lagGrace / 2)
		s.taken++ // it only reads slowly
		l.report(t, "")
		time.Sleep(lagGrace - time.Millisecond)
		l.report(t, "")
		time.Sleep(time.Millisecond)
		l.report(t, "c1 topic:room "+wire.SlowLagging)
		l.report(t, "")
		time.Sleep(lagRepeat)
		l.report(t, "c1 topic:room "+wire.SlowLagging)
		l.Again()
		l.report(t, "c1 topic:room "+wire.SlowLagging)
		l.CaughtUp("c1", all)
		l.CaughtUp("c1", subTo("topic:room")) // another subscription to the same target
		l.CaughtUp("c2", room)
		if n := testutil.ToFloat64(l.o.Metrics.Slow); n != 1 {
			t.Errorf("%v are slow, want 1", n)
		}
		l.CaughtUp("c1", room)
		l.report(t, "c1 topic:room "+wire.SlowDone)
		l.report(t, "")
		l.Lags(c, room, wire.ID{Ms: 3})
		l.CaughtUp("c1", room)
		l.report(t, "") // no worker knew
		if n := testutil.ToFloat64(l.o.Metrics.Slow); n != 0 {
			t.Errorf("%v are slow, want none", n)
		}
	})
}

// TestAsked: a worker hears that it is over, or that the connection has got further; and the last time one of which nothing has
// gone out is closed.
func TestAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, s, drained := testLags(), &sock{}, 0
		room := subTo("topic:room")
		l.Lags(Client{Conn: "c1", User: "alice", Sock: s, Drained: func() { drained++ }}, room, wire.ID{Ms: 1})
		time.Sleep(lagGrace)
		l.report(t, "c1 topic:room "+wire.SlowLagging)
		ask := func(conn, to string, last bool) { l.Asked(&wire.Redelivery{Conn: conn, To: to, Last: last}) }
		ask("c2", "topic:room", true)
		ask("c1", "all", true)
		l.report(t, "c2 topic:room "+wire.SlowDone+"; c1 all "+wire.SlowDone)
		ask("c1", "topic:room", false)
		l.report(t, "")
		s.taken, s.room = 1, true
		ask("c1", "topic:room", true)
		l.report(t, "c1 topic:room "+wire.SlowProgress)
		if s.closed != 0 || drained != 1 {
			t.Errorf("it has got further: closed with %d, told of its room %d times", s.closed, drained)
		}
		ask("c1", "topic:room", true)
		if s.closed != wire.CloseTooSlow {
			t.Errorf("it took nothing: closed with %d", s.closed)
		}
		l.CaughtUp("c1", room)
		l.report(t, "") // the worker's record of it stays
	})
}

// TestBound: reports of what is over have a bound, and what is beyond it is counted.
func TestBound(t *testing.T) {
	l := testLags()
	for range lagOver + 3 {
		l.Asked(&wire.Redelivery{Conn: "c1", To: "all"})
	}
	if n := testutil.ToFloat64(l.o.Metrics.Drops.WithLabelValues(dropReport)); n != 3 || len(l.over) != lagOver {
		t.Errorf("%d wait, %v are dropped", len(l.over), n)
	}
}
