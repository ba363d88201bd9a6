package gateway

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"sluice/shared/store"
	"sluice/shared/wire"
)

// testPublisher is one that appends nothing.
func testPublisher(t *testing.T) *publisher {
	t.Helper()
	st, err := store.Open(store.Config{
		RedisURL: "redis://127.0.0.1:1", Prefix: "sluice:", Partitions: 16,
		HistorySize: 1000, HistoryTTL: time.Hour, SessionTTL: time.Minute, MaxData: 64 << 10,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = st.Close() })
	m := newMetrics(prometheus.NewRegistry())
	return newPublisher(st, &headroom{store: st, metrics: m, log: slog.New(slog.DiscardHandler)}, m, slog.New(slog.DiscardHandler))
}

func of(user string, n, size int) *publication {
	return &publication{inFlight: &inFlight{flight: flight{user, fmt.Sprint(n)}, user: user, size: size}}
}

// TestPublishersInTurn: a user that publishes much is refused its own surplus, and the events
// of others are in the next batch, each user's in order.
func TestPublishersInTurn(t *testing.T) {
	p := testPublisher(t)
	const size = 64 << 10
	full, taken := 0, 0
	for user := range 5 {
		for n := 0; ; n++ {
			err := p.add(of(fmt.Sprint("flood", user), n, size))
			if err == nil {
				taken++
				continue
			}
			var refused *wire.FrameError
			if !errors.As(err, &refused) || refused.Code != wire.CodeUnavailable {
				t.Fatalf("the surplus is refused with %v", err)
			}
			full += n * size
			break
		}
	}
	if full != 5*userBytes {
		t.Errorf("five users may let %d bytes wait, want %d", full, 5*userBytes)
	}
	if n := testutil.ToFloat64(p.metrics.publishesRefused.WithLabelValues(refusedQueue)); n != 5 {
		t.Errorf("%v refusals are counted, want 5", n)
	}
	for n := range 3 {
		if err := p.add(of("bob", n, 100)); err != nil {
			t.Fatalf("another user is refused: %v", err)
		}
	}
	batch, _, _ := p.take(nil)
	bobs := 0
	for _, one := range batch {
		if one.user == "bob" {
			if one.ref != fmt.Sprint(bobs) {
				t.Errorf("event %s of bob comes as number %d", one.ref, bobs)
			}
			bobs++
		}
	}
	if bobs != 3 {
		t.Errorf("%d events of bob are in the next batch of %d, want all 3", bobs, len(batch))
	}
	for got := len(batch); got < taken+3; got += len(batch) {
		for _, one := range batch {
			p.answer(one.flight)
		}
		if batch, _, _ = p.take(nil); len(batch) == 0 {
			t.Fatalf("%d of %d events came", got, taken+3)
		}
	}
}

// TestInFlight: no more than a batch is in flight until it is answered, or the time for that is over; the next one goes
// when there is room, and who comes then has its turn.
func TestInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := testPublisher(t)
		const size = publishBytes / 4
		add := func(user string, n int) {
			t.Helper()
			if err := p.add(of(user, n, size)); err != nil {
				t.Fatal(err)
			}
		}
		take := func(want string) {
			t.Helper()
			var got []string
			batch, _, _ := p.take(nil)
			for _, one := range batch {
				got = append(got, one.by+one.ref)
			}
			if strings.Join(got, " ") != want {
				t.Fatalf("the batch is %v, want %v", got, want)
			}
		}
		for n := range 8 {
			add("flood", n)
		}
		take("flood0 flood1 flood2 flood3")
		add("bob", 0)
		take("")
		p.answer(flight{"flood", "1"})
		p.answer(flight{"flood", "1"}) // once more
		p.answer(flight{"nobody", "1"})
		take("bob0")
		take("")
		time.Sleep(inFlightFor - time.Millisecond)
		take("")
		time.Sleep(time.Millisecond)
		take("flood4 flood5 flood6 flood7")
		if p.queue.Taken() != publishBytes || len(p.byRef) != 4 || len(p.sent) != 4 {
			t.Errorf("%d bytes are in flight, of %d and %d", p.queue.Taken(), len(p.byRef), len(p.sent))
		}
		// The same ref twice: the first answer is the first one's.
		p.answer(flight{"flood", "4"})
		p.answer(flight{"flood", "5"})
		for range 2 {
			add("carol", 0)
		}
		take("carol0 carol0")
		p.answer(flight{"carol", "0"})
		add("carol", 1)
		take("carol1")
	})
}

// TestNoRoomForPublishes: what may be published follows from Redis's memory, of each node by
// itself, and from what waits.
func TestNoRoomForPublishes(t *testing.T) {
	p := testPublisher(t)
	h := p.headroom
	cfg := h.store.Config()
	cfg.MemoryPercent = 80
	st, err := store.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = st.Close() }()
	h.store, h.maxEntries, h.maxBytes = st, 10, 1000
	for _, tc := range []struct {
		name   string
		memory []store.Memory
		waits  backlog
		want   string
		full   bool
	}{
		{"nothing is known", nil, backlog{}, "", false},
		{"no bound", []store.Memory{{Used: 1 << 40}}, backlog{}, "", false},
		{"at the share", []store.Memory{{Used: 80, Max: 100}}, backlog{}, "", false},
		{"above the share", []store.Memory{{Used: 81, Max: 100}}, backlog{}, refusedMemory, false},
		{"another node above it", []store.Memory{{Used: 1, Max: 100}, {Used: 81, Max: 100}}, backlog{}, "", false},
		{"another node full", []store.Memory{{Used: 1, Max: 100}, {Used: 100, Max: 100}}, backlog{}, "", true},
		{"at the bounds", nil, backlog{Total: 10, Bytes: 1000}, "", false},
		{"too many wait", nil, backlog{Total: 11}, refusedBacklog, false},
		{"too much waits", nil, backlog{Bytes: 1001}, refusedBacklog, false},
	} {
		h.memory = tc.memory
		h.waits(&tc.waits)
		if got := h.refuses(0); got != tc.want {
			t.Errorf("%s: refused for %q, want %q", tc.name, got, tc.want)
		}
		if got := h.full(); got != tc.full {
			t.Errorf("%s: full is %v", tc.name, got)
		}
	}
}
