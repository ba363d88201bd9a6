package publish

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"sluice/gateway/auth"
	"sluice/shared/store"
	"sluice/shared/store/storetest"
	"sluice/shared/wire"
)

// testPublisher is one that appends nothing.
func testPublisher(t *testing.T) *Publisher {
	t.Helper()
	st := storetest.Unasked(t, nil)
	return New(Options{Server: "gw", Store: st, Metrics: testMetrics(), Log: slog.New(slog.DiscardHandler)})
}

func testMetrics() *Metrics {
	gauge := func(name string) prometheus.Gauge { return prometheus.NewGauge(prometheus.GaugeOpts{Name: name}) }
	return &Metrics{
		Backlog: gauge("backlog"), BacklogBytes: gauge("bytes"), Memory: gauge("memory"),
		Publishes: prometheus.NewCounter(prometheus.CounterOpts{Name: "publishes"}),
		Refused:   prometheus.NewCounterVec(prometheus.CounterOpts{Name: "refused"}, []string{"reason"}),
	}
}

func of(user string, n, size int) *publication {
	return &publication{inFlight: &inFlight{Address: Address{user, fmt.Sprint(n)}, user: user, size: size}}
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
	if n := testutil.ToFloat64(p.metrics.Refused.WithLabelValues(refusedQueue)); n != 5 {
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
			if one.Ref != fmt.Sprint(bobs) {
				t.Errorf("event %s of bob comes as number %d", one.Ref, bobs)
			}
			bobs++
		}
	}
	if bobs != 3 {
		t.Errorf("%d events of bob are in the next batch of %d, want all 3", bobs, len(batch))
	}
	for got := len(batch); got < taken+3; got += len(batch) {
		for _, one := range batch {
			p.Answered(one.Address)
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
				got = append(got, one.By+one.Ref)
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
		p.Answered(Address{"flood", "1"})
		p.Answered(Address{"flood", "1"}) // once more
		p.Answered(Address{"nobody", "1"})
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
		p.Answered(Address{"flood", "4"})
		p.Answered(Address{"flood", "5"})
		for range 2 {
			add("carol", 0)
		}
		take("carol0 carol0")
		p.Answered(Address{"carol", "0"})
		add("carol", 1)
		take("carol1")
	})
}

// TestNoRoomForPublishes: what may be published follows from Redis's memory, of each node by
// itself, and from what waits.
func TestNoRoomForPublishes(t *testing.T) {
	p := testPublisher(t)
	h := p.headroom
	st := storetest.Unasked(t, func(c *store.Config) { c.MemoryPercent = 80 })
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

// TestPostsWaitForRoom: a request whose events are more than a user may let wait feeds them in as there is room, in order, and holds
// up nobody else; when its time is over it is told that they were refused.
func TestPostsWaitForRoom(t *testing.T) {
	p := testPublisher(t)
	const size, events = 64 << 10, 200 // 12.5 MiB
	fed := make(chan int, 1)
	all := make([]*publication, events)
	for n := range all {
		all[n] = of("anna", n, size)
	}
	go func() { fed <- len(p.addInTurn(t.Context(), all)) }()
	next := 0
	for deadline := time.Now().Add(10 * time.Second); next < events; {
		if time.Now().After(deadline) {
			t.Fatalf("only %d of %d events came", next, events)
		}
		p.mu.Lock()
		waiting := p.queue.Waiting()
		p.mu.Unlock()
		if waiting*size > userBytes {
			t.Fatalf("%d events of a user wait", waiting)
		}
		batch, _, _ := p.take(nil)
		for _, one := range batch {
			if one.Ref != fmt.Sprint(next) {
				t.Fatalf("event %s comes as number %d", one.Ref, next)
			}
			p.Answered(one.Address)
			next++
		}
	}
	if left := <-fed; left > 0 {
		t.Fatalf("%d events have not found room", left)
	}
	for n := 0; p.add(of("anna", n, size)) == nil; n++ {
		if n > events {
			t.Fatal("there is no bound")
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if left := p.addInTurn(ctx, []*publication{of("anna", 0, size), of("anna", 1, size)}); len(left) != 2 || left[0].Ref != "0" {
		t.Errorf("without room %d of 2 events are left", len(left))
	}
	if err := p.add(of("bob", 0, size)); err != nil {
		t.Errorf("another user: %v", err)
	}
}

// TestAdd: what a client publishes becomes one entry, unless its token, its size or what waits forbids it.
func TestAdd(t *testing.T) {
	p := testPublisher(t)
	v, err := auth.New(auth.Config{Mode: auth.ModeDev})
	if err != nil {
		t.Fatal(err)
	}
	alice, err := v.Await(t.Context(), "dev:alice", time.Now)
	if err != nil {
		t.Fatal(err)
	}
	full := wire.Publish{To: "topic:room", Data: "1", Event: "e", ID: "k", Live: true, Except: "c2", Base64: true, Unread: "5s"}
	for _, tc := range []struct {
		name  string
		id    auth.Identity
		e     wire.Publish
		waits backlog
		code  string // of the refusal; "": it is taken
		want  string
	}{
		{"the least", alice, wire.Publish{To: "topic:room", Data: "1"}, backlog{}, "", "to topic:room data 1 from user:alice reply gw/c1/r1"},
		{
			"all fields", alice, full, backlog{}, "",
			"to topic:room data 1 from user:alice reply gw/c1/r1 event e id k owner alice retain 0 except c2 enc base64 unread 5s",
		},
		{"no right", auth.Identity{User: "bob"}, full, backlog{}, wire.CodeForbidden, ""},
		{"too large", alice, wire.Publish{To: "topic:room", Data: strings.Repeat("x", 64<<10+1)}, backlog{}, wire.CodeTooLarge, ""},
		{"workers are behind", alice, full, backlog{Bytes: 101}, wire.CodeUnavailable, ""},
	} {
		p.headroom.maxBytes = 100
		p.headroom.waits(&tc.waits)
		code := ""
		var refused *wire.FrameError
		if errors.As(p.Add(nil, Address{"c1", "r1"}, tc.id, &tc.e), &refused) {
			code = refused.Code
		}
		got := ""
		if batch, _, _ := p.take(nil); len(batch) > 0 {
			got = strings.Join(batch[0].Fields, " ")
		}
		reply := wire.Reply{Server: "gw", Conn: "c1", Ref: "r1"}.String()
		if want := strings.Replace(tc.want, "gw/c1/r1", reply, 1); code != tc.code || got != want {
			t.Errorf("%s: %q %q, want %q %q", tc.name, code, got, tc.code, want)
		}
	}
}
