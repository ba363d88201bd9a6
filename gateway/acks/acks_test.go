package acks

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"sluice/gateway/live"
	"sluice/shared/store/storetest"
	"sluice/shared/wire"
)

// testAcks are some that write nothing.
func testAcks(t *testing.T) *Acks {
	t.Helper()
	st := storetest.Unasked(t, nil)
	counter := func(name string) prometheus.Counter { return prometheus.NewCounter(prometheus.CounterOpts{Name: name}) }
	return New(Options{
		Store: st, StreamSize: 1000, CursorTTL: time.Hour, Targets: 3, StoodStill: func(time.Time) bool { return true },
		Log: slog.New(slog.DiscardHandler),
		Metrics: &Metrics{
			Acks: counter("acks"), Refused: counter("refused"), Written: counter("written"),
			Drops: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "drops"}, []string{"reason"}),
		},
	})
}

func id(ms uint64) wire.ID { return wire.ID{Ms: ms} }

// TestGather: of the acks of a connection for a target the highest is written, once there are many, or it is time, or the
// connection has ended; and while the writer is behind they wait where they take the place of each other.
func TestGather(t *testing.T) {
	a := testAcks(t)
	alice, bob := a.NewClient(About{User: "alice", Device: "phone"}), a.NewClient(About{User: "bob"})
	due := func(want ...wire.Ack) {
		t.Helper()
		if len(a.due) != len(want) {
			t.Fatalf("%v are due, want %v", a.due, want)
		}
		for i := range want {
			if a.due[i] != want[i] {
				t.Errorf("%v is due, want %v", a.due[i], want[i])
			}
		}
	}
	for n := range ackCount {
		due()
		a.add(alice, "all", id(uint64(ackCount-n)))
	}
	many := wire.Ack{User: "alice", Device: "phone", To: "all", ID: id(ackCount)}
	due(many)
	a.add(bob, "all", id(3))
	a.add(bob, "all", id(2))
	a.flushAll()
	due(many)
	if bob.Closed(); a.left() != 2 {
		t.Errorf("%d acks are left, want 2", a.left())
	}
	due(many, wire.Ack{User: "bob", To: "all", ID: id(3)})
	if len(a.held) != 0 {
		t.Errorf("of %d connections acks are held", len(a.held))
	}
	a.due = nil
	a.add(alice, "all", id(200))
	a.flushAll()
	due(wire.Ack{User: "alice", Device: "phone", To: "all", ID: id(200)})
}

// TestFull: what there is no room for is refused and counted, and takes nobody's place.
func TestFull(t *testing.T) {
	a := testAcks(t)
	k := a.NewClient(About{User: "alice"})
	a.size = maxAcks - 1
	if !a.add(k, "all", id(1)) || !a.add(k, "all", id(2)) {
		t.Error("there is room, and a higher one for the same target takes none")
	}
	if a.add(k, "topic:a", id(1)) {
		t.Error("there is no room")
	}
	a.size, a.stopped = 0, true
	if a.add(k, "topic:b", id(1)) {
		t.Error("nobody writes it any more")
	}
	if n := testutil.ToFloat64(a.o.Metrics.Drops.WithLabelValues(dropFull)); n != 2 {
		t.Errorf("%v are counted, want 2", n)
	}
}

// TestNothingSent: what was not sent on a connection cannot be acknowledged.
func TestNothingSent(t *testing.T) {
	a := testAcks(t)
	var refused *wire.FrameError
	err := a.NewClient(About{User: "alice"}).Ack(&wire.ClientFrame{To: "all", ID: "1-0"}, nil)
	if !errors.As(err, &refused) || refused.Code != wire.CodeBadRequest || testutil.ToFloat64(a.o.Metrics.Refused) != 1 {
		t.Errorf("%v", err)
	}
}

// TestKnown: a device's cursors stand where they began, or at what was acknowledged since, of no more targets than a connection
// may have; one that is led back may acknowledge again.
func TestKnown(t *testing.T) {
	k := testAcks(t).NewClient(About{User: "alice", Device: "phone"})
	for _, to := range []string{"a", "b", "c"} {
		put(3, k.begun, to, id(10))
		put(3, k.acked, to, id(20))
	}
	k.acked["a"] = id(5)
	k.LedBack("b", id(30))
	if at := k.known(); len(at) != 3 || at["a"] != id(10) || at["b"] != id(10) || at["c"] != id(20) || k.high["b"] != id(30) {
		t.Errorf("the cursors are %v, it was at %v", at, k.high)
	}
	put(3, k.begun, "d", id(1))
	if at := k.known(); len(at) != 3 || at["d"] != id(1) {
		t.Errorf("with one target more the cursors are %v", at)
	}
}

func begins(targets ...string) func() map[string]wire.ID {
	return func() map[string]wire.ID {
		at := make(map[string]wire.ID)
		for _, to := range targets {
			at[to] = id(1)
		}
		return at
	}
}

// TestEndWhileBegun: who unsubscribes while the cursor is being begun has none, however late Redis gets the begin.
func TestEndWhileBegun(t *testing.T) {
	a := testAcks(t)
	a.o.Store = storetest.Open(t, storetest.Redis(t).URL(), nil)
	a.o.StoodStill = func(time.Time) bool { return false }
	var first sync.Once
	on := make(chan struct{})
	a.o.Store.Before(func() {
		first.Do(func() { // the first command is the begin's
			close(on)
			time.Sleep(300 * time.Millisecond)
		})
	})
	k := a.NewClient(About{User: "alice", Device: "phone"})
	var running sync.WaitGroup
	running.Go(func() {
		if err := k.Begin(t.Context(), time.Now(), begins("topic:a", "topic:b")); err != nil {
			t.Error(err)
		}
	})
	<-on
	over, cancel := context.WithCancel(t.Context())
	cancel()
	if err := k.End(over, "topic:b", func() {}); !errors.Is(err, context.Canceled) {
		t.Errorf("when the connection has ended: %v", err)
	}
	if err := k.End(t.Context(), "topic:a", func() {}); err != nil {
		t.Error(err)
	}
	running.Wait()
	at, _, err := a.Cursors(t.Context(), "alice", "phone")
	if known := k.known(); err != nil || len(at) != 1 || at["topic:b"] == "" || len(known) != 1 {
		t.Errorf("cursors %v, known %v: %v", at, known, err)
	}
	if err := k.Begin(t.Context(), time.Now(), begins()); err != nil { // nothing is left to begin
		t.Error(err)
	}
}

// TestBegunWhileItEnds: a subscription that comes while the cursor of the one before it is being ended has its own. Functions and the
// client may want both at one moment.
func TestBegunWhileItEnds(t *testing.T) {
	a := testAcks(t)
	a.o.Store = storetest.Open(t, storetest.Redis(t).URL(), nil)
	a.o.StoodStill = func(time.Time) bool { return false }
	k := a.NewClient(About{User: "alice", Device: "phone"})
	begin := func() {
		if err := k.Begin(t.Context(), time.Now(), begins("topic:a")); err != nil {
			t.Error(err)
		}
	}
	begin()
	var running sync.WaitGroup
	if err := k.End(t.Context(), "topic:a", func() {
		running.Go(begin)
		time.Sleep(100 * time.Millisecond)
	}); err != nil {
		t.Error(err)
	}
	running.Wait()
	if at, _, err := a.Cursors(t.Context(), "alice", "phone"); err != nil || at["topic:a"] == "" || len(k.known()) != 1 {
		t.Errorf("cursors %v, known %v: %v", at, k.known(), err)
	}
}

// TestStoodStill: a gateway that stood still begins and ends no cursors.
func TestStoodStill(t *testing.T) {
	a := testAcks(t)
	k := a.NewClient(About{User: "alice", Device: "phone"})
	if err := k.Begin(t.Context(), time.Now(), begins("all")); !errors.Is(err, live.ErrStoodStill) || len(k.begun) != 0 {
		t.Errorf("begin: %v, %v", err, k.begun)
	}
	if err := k.End(t.Context(), "all", func() {}); !errors.Is(err, live.ErrStoodStill) {
		t.Errorf("end: %v", err)
	}
}

// TestCursorReads: so many at a time, and who waits too long is told.
func TestCursorReads(t *testing.T) {
	a := testAcks(t)
	for range mostReads {
		a.reads <- struct{}{}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := a.Cursors(ctx, "alice", "phone"); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}
