package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"sluice/shared/store"
	"sluice/shared/store/storetest"
	"sluice/shared/testkit"
	"sluice/shared/wire"
)

// scripted is a follower that does what a test wants, and notes what it was given.
type scripted struct {
	mu    sync.Mutex
	do    func(to []string) (done, again []string, err error)
	given [][]string // targets of acks, of each call
	trims int
}

func (s *scripted) follow(_ context.Context, entries []store.Entry) (done, again []store.Entry, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var to []string
	for _, e := range entries {
		to = append(to, e.Fields["to"].(string))
	}
	s.given = append(s.given, to)
	if s.do == nil {
		return entries, nil, nil
	}
	ok, once, err := s.do(to)
	for i, e := range entries {
		if slices.Contains(ok, to[i]) {
			done = append(done, e)
		}
		if slices.Contains(once, to[i]) {
			again = append(again, e)
		}
	}
	return done, again, err
}

func (s *scripted) upkeep(context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.trims++
	return nil
}

func (s *scripted) calls() [][]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.given)
}

// groupRig is a loop over the acks of some partitions that does what a test wants.
type groupRig struct {
	*scripted
	*storetest.Backend
	st   *store.Store
	log  *testkit.Buffer
	w    *Worker
	loop *groupLoop
}

func newGroupRig(t *testing.T, partitions int, claimAge time.Duration) *groupRig {
	t.Helper()
	redis := storetest.OnRedis(t)
	r := &groupRig{scripted: &scripted{}, Backend: redis, log: &testkit.Buffer{}}
	r.st = storetest.Open(t, redis.URL, func(c *store.Config) { c.Partitions = partitions })
	r.w = New(Options{Store: r.st, Log: slog.New(slog.NewTextHandler(r.log, nil)), Registry: prometheus.NewRegistry()})
	count := func(name string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name})
	}
	parts, err := groupLoops(r.w, r.st.NewAckReader, func([]int) *groupLoop {
		return &groupLoop{follower: r.scripted, what: "acks", count: 100, claimAge: claimAge, failures: count("failures"), lost: count("lost")}
	})
	if err != nil || len(parts) != 1 {
		t.Fatalf("%d loops, %v", len(parts), err)
	}
	r.loop = parts[0].(*groupLoop)
	return r
}

// key is that of a partition's acks.
func (r *groupRig) key(partition int) string {
	return "sluice:{" + wire.Tags(r.st.Config().Partitions)[partition] + "}:acks"
}

func (r *groupRig) add(t *testing.T, targets ...string) {
	t.Helper()
	var acks []wire.Ack
	for _, to := range targets {
		acks = append(acks, wire.Ack{User: "u", To: to, ID: wire.ID{Ms: 1}})
	}
	errs, _ := r.st.AppendAcks(t.Context(), acks, 0)
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

func (r *groupRig) waitCalls(t *testing.T, want ...[]string) {
	t.Helper()
	storetest.Eventually(t, func() error {
		if got := r.calls(); fmt.Sprint(got) != fmt.Sprint(want) {
			return fmt.Errorf("it was given %q, want %q", got, want)
		}
		return nil
	})
}

func (r *groupRig) waitPending(t *testing.T, want int64) {
	t.Helper()
	storetest.Eventually(t, func() error {
		n, err := r.Client.XPending(t.Context(), r.key(0), "workers").Result()
		if err == nil && n.Count != want {
			err = fmt.Errorf("%d are pending, want %d", n.Count, want)
		}
		return err
	})
}

// TestGroupReads: what comes is worked on and acknowledged, between batches there is time for
// upkeep, and a batch that has begun is finished when the loop stops.
func TestGroupReads(t *testing.T) {
	r := newGroupRig(t, 1, time.Hour)
	stop := start(t, r.loop.run)
	r.add(t, "topic:a", "topic:b")
	r.waitCalls(t, []string{"topic:a", "topic:b"})
	r.waitPending(t, 0)

	begun, finish := make(chan struct{}), make(chan struct{})
	r.mu.Lock()
	r.do = func(to []string) (done, again []string, err error) {
		close(begun)
		<-finish
		return to, nil, nil
	}
	r.mu.Unlock()
	r.add(t, "topic:c")
	<-begun
	stopped := make(chan struct{})
	go func() { stop(); close(stopped) }()
	r.waitPending(t, 1)
	close(finish)
	<-stopped
	r.waitPending(t, 0)
	if r.trims < 2 || testutil.ToFloat64(r.loop.failures) > 0 || r.log.String() != "" {
		t.Errorf("%d times upkeep, %v failures, and the log says %q", r.trims, testutil.ToFloat64(r.loop.failures), r.log)
	}
}

// TestGroupAgain: what cannot be done now is tried again before anything new is read; the
// log says it once, and once more when it happens again later.
func TestGroupAgain(t *testing.T) {
	r := newGroupRig(t, 1, time.Hour)
	broken := 3
	r.do = func(to []string) (done, again []string, err error) {
		if i := slices.Index(to, "topic:b"); i >= 0 && broken > 0 {
			broken--
			return slices.Delete(slices.Clone(to), i, i+1), []string{"topic:b"}, errors.New("not now")
		}
		return to, nil, nil
	}
	start(t, r.loop.run)
	r.add(t, "topic:a", "topic:b")
	want := [][]string{{"topic:a", "topic:b"}, {"topic:b"}, {"topic:b"}, {"topic:b"}}
	r.waitCalls(t, want...)
	r.waitPending(t, 0)
	said := func() int { return strings.Count(r.log.String(), "not now") }
	if n, failures := said(), testutil.ToFloat64(r.loop.failures); n != 1 || failures != 3 {
		t.Errorf("said %d times, %v failures counted:\n%s", n, failures, r.log)
	}
	r.mu.Lock()
	broken = 1
	r.mu.Unlock()
	r.add(t, "topic:b")
	r.waitCalls(t, append(want, []string{"topic:b"}, []string{"topic:b"})...)
	if n := said(); n != 2 {
		t.Errorf("said %d times:\n%s", n, r.log)
	}
}

// TestGroupClaims: what a dead worker has read and not done, and what failed, is claimed;
// what was trimmed meanwhile is counted.
func TestGroupClaims(t *testing.T) {
	r := newGroupRig(t, 1, 300*time.Millisecond)
	dead, err := r.st.NewAckReader([]int{0})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := dead.Read(t.Context(), 100, time.Millisecond); err != nil { // makes the group
		t.Fatal(err)
	}
	r.add(t, "topic:a", "topic:b")
	if read, err := dead.Read(t.Context(), 100, time.Second); err != nil || len(read) != 2 {
		t.Fatalf("%d entries, %v", len(read), err)
	}
	_ = dead.Close()
	if err := r.Client.XTrimMaxLen(t.Context(), r.key(0), 1).Err(); err != nil {
		t.Fatal(err)
	}
	failed := false
	r.do = func(to []string) (done, again []string, err error) {
		if !failed {
			failed = true
			return nil, nil, errors.New("the link was cut")
		}
		return to, nil, nil
	}
	start(t, r.loop.run)
	r.waitCalls(t, []string{"topic:b"}, []string{"topic:b"})
	r.waitPending(t, 0)
	if lost := testutil.ToFloat64(r.loop.lost); lost != 1 {
		t.Errorf("%v entries count as lost, want 1", lost)
	}
}

// TestGroupSetApart: a partition whose key holds no stream is set apart, and named; others go
// on, and so does it when the key is deleted.
func TestGroupSetApart(t *testing.T) {
	r := newGroupRig(t, 2, time.Hour)
	var of [2]string // a target of each partition
	for i := 0; of[0] == "" || of[1] == ""; i++ {
		to := fmt.Sprintf("topic:t%d", i)
		of[r.st.Partition(to)] = to
	}
	if err := r.Client.Set(t.Context(), r.key(1), "no stream", 0).Err(); err != nil {
		t.Fatal(err)
	}
	start(t, r.loop.run)
	r.add(t, of[0])
	r.waitCalls(t, []string{of[0]})
	storetest.Eventually(t, func() error {
		if err := r.w.Ready(); err == nil || !strings.Contains(err.Error(), "acks of partition 1") {
			return fmt.Errorf("the worker is ready: %w", err)
		}
		return nil
	})
	if err := r.Client.Del(t.Context(), r.key(1)).Err(); err != nil {
		t.Fatal(err)
	}
	r.add(t, of[1])
	r.waitCalls(t, []string{of[0]}, []string{of[1]})
}
