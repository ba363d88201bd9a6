package producer_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"sluice/shared/producer"
	"sluice/shared/store/storetest"
	"sluice/shared/wire"
)

// losses are the events that a buffer lost.
type losses struct {
	mu   sync.Mutex
	all  []string // data and error
	errs []error  // why others were tried again
}

func (l *losses) lost(e producer.Event, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, fmt.Sprintf("%s: %v", e.Data, err))
}

func (l *losses) retried(err error, _ time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.errs = append(l.errs, err)
}

func (l *losses) options(o producer.BufferOptions) producer.BufferOptions {
	o.OnLost, o.OnRetry = l.lost, l.retried
	return o
}

// soon bounds waits for things that should take no time at all.
func soon(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// TestBufferRepeats: whatever becomes of requests and answers, each event is there once, and those of a goroutine in their order.
func TestBufferRepeats(t *testing.T) {
	d := newDoor(t)
	d.fault = func(n int, w http.ResponseWriter) (done, lost bool) {
		switch n {
		case 1:
			refuse(w, http.StatusServiceUnavailable, "unavailable")
		case 3:
			refuse(w, http.StatusUnauthorized, "unauthorized")
		case 2, 4:
			return false, true
		case 5:
			panic(http.ErrAbortHandler)
		default:
			return false, false
		}
		return true, false
	}
	var l losses
	b := producer.NewBuffer(d.producer(t), l.options(producer.BufferOptions{Count: 300}))
	var wg sync.WaitGroup
	const each = 400
	for g := range 3 {
		wg.Go(func() {
			for n := range each {
				if err := b.Add(soon(t), producer.Event{To: fmt.Sprint("topic:", g), Data: fmt.Append(nil, n)}); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	if err := b.Close(soon(t)); err != nil || len(l.all) > 0 || len(l.errs) != 5 {
		t.Errorf("%v, lost %q, tried again because of %v", err, l.all, l.errs)
	}
	next := map[string]int{}
	for _, e := range d.all() {
		if e.Data != fmt.Sprint(next[e.To]) {
			t.Fatalf("%s has %s as number %d", e.To, e.Data, next[e.To])
		}
		next[e.To]++
	}
	for g := range 3 {
		if n := next[fmt.Sprint("topic:", g)]; n != each {
			t.Errorf("topic %d has %d", g, n)
		}
	}
}

// TestBufferLoses: what is refused for good is told, each event and in all, and the others go on.
func TestBufferLoses(t *testing.T) {
	d := newDoor(t)
	var l losses
	b := producer.NewBuffer(d.producer(t), l.options(producer.BufferOptions{}))
	for n, to := range []string{"all", "topic:forbidden", "all"} {
		if err := b.Add(ctx, producer.Event{To: to, Data: fmt.Append(nil, n), Key: fmt.Sprint("mine", n)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Add(ctx, producer.Event{To: "room"}); !errors.Is(err, wire.ErrTarget) {
		t.Errorf("no target: %v", err)
	}
	if err := b.Add(ctx, producer.Event{To: "all", Unread: time.Minute}); !errors.Is(err, wire.ErrUnread) {
		t.Errorf("unread of no user: %v", err)
	}
	var refused *producer.Refused
	if err := b.Flush(soon(t)); !errors.As(err, &refused) || refused.Code != "forbidden" || !strings.HasPrefix(err.Error(), "1 event") {
		t.Errorf("Flush: %v", err)
	}
	if err := b.Close(soon(t)); err != nil {
		t.Errorf("Close: %v", err)
	}
	if got := d.all(); len(got) != 2 || got[1].ID != "mine2" || !slices.Equal(l.all, []string{"1: forbidden: no"}) {
		t.Errorf("there are %+v, lost %q", got, l.all)
	}
	if err := b.Add(ctx, producer.Event{To: "all", Data: []byte("1")}); !errors.Is(err, producer.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

// TestBufferBehindSmallDoor: what stands before the gateways takes less than they do, in words of its own. Requests get as small
// as that, and only an event that does not pass alone is lost.
func TestBufferBehindSmallDoor(t *testing.T) {
	d := newDoor(t)
	d.most = 100_000
	var l losses
	b := producer.NewBuffer(d.producer(t), l.options(producer.BufferOptions{}))
	const n = 60
	for i := range n {
		e := producer.Event{To: "topic:a", Data: fmt.Appendf(nil, `"%d %s"`, i, strings.Repeat("x", 9000)), Key: fmt.Sprint("k", i)}
		if i == 40 {
			e.Data = []byte(`"large ` + strings.Repeat("x", 100_000) + `"`)
		}
		if err := b.Add(soon(t), e); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Close(soon(t)); err == nil || len(l.all) != 1 || !strings.Contains(l.all[0], "HTTP 413") || len(l.errs) > 0 {
		t.Errorf("%v, lost %.200q, tried again because of %v", err, l.all, l.errs)
	}
	got := d.all()
	if len(got) != n-1 {
		t.Fatalf("there are %d", len(got))
	}
	for i, e := range got {
		if i >= 40 {
			i++
		}
		if !strings.HasPrefix(e.Data, fmt.Sprintf(`"%d x`, i)) {
			t.Fatalf("%.20s stands where %d should", e.Data, i)
		}
	}
}

// TestBufferBehindRefused: events that were not sent, since a request before theirs was refused for good, are not lost with it.
func TestBufferBehindRefused(t *testing.T) {
	d := newDoor(t)
	d.fault = func(n int, w http.ResponseWriter) (bool, bool) {
		if n == 1 {
			refuse(w, http.StatusForbidden, "forbidden")
		}
		return n == 1, false
	}
	var l losses
	b := producer.NewBuffer(d.producer(t), l.options(producer.BufferOptions{}))
	data := []byte(strings.Repeat("\x01", 250_000)) // six times as much in JSON
	for range 3 {
		if err := b.Add(soon(t), producer.Event{To: "topic:a", Data: data}); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Close(soon(t)); err == nil || len(l.all)+len(d.all()) != 3 || len(d.all()) == 0 {
		t.Errorf("%v, %d lost, %d there", err, len(l.all), len(d.all()))
	}
}

// TestBufferIsBounded: Add waits for room, and what is left at the end of Close's patience is told.
func TestBufferIsBounded(t *testing.T) {
	d := newDoor(t)
	d.fault = func(_ int, w http.ResponseWriter) (bool, bool) {
		refuse(w, http.StatusServiceUnavailable, "unavailable")
		return true, false
	}
	var l losses
	b := producer.NewBuffer(d.producer(t), l.options(producer.BufferOptions{Count: 3, Bytes: 3000}))
	add := func(ctx context.Context, size int) error {
		return b.Add(ctx, producer.Event{To: "all", Data: []byte(strings.Repeat("1", size))})
	}
	short := func() context.Context {
		ctx, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
		t.Cleanup(cancel)
		return ctx
	}
	if err := add(ctx, 3000); !errors.Is(err, producer.ErrTooLarge) {
		t.Errorf("got %v", err)
	}
	if err := errors.Join(add(ctx, 1), add(ctx, 1500)); err != nil {
		t.Fatal(err)
	}
	if err := add(short(), 1500); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("beyond its bytes: %v", err)
	}
	if err := add(ctx, 1); err != nil {
		t.Fatal(err)
	}
	if err := add(short(), 1); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("beyond its number: %v", err)
	}
	until(t, "it was tried", func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		return len(l.errs) > 0
	})
	var refused *producer.Refused
	if err := b.Flush(short()); !errors.Is(err, context.DeadlineExceeded) || !errors.As(err, &refused) || refused.Status != 503 {
		t.Errorf("Flush: %v", err)
	}
	if err := b.Close(short()); !errors.Is(err, context.DeadlineExceeded) || len(l.all) != 3 || !strings.Contains(l.all[0], producer.ErrClosed.Error()) {
		t.Errorf("Close: %v, lost %q", err, l.all)
	}
}

// TestBufferOverRedis: many events, one after the other.
func TestBufferOverRedis(t *testing.T) {
	server := storetest.Redis(t)
	b := producer.NewBuffer(open(t, server.URL(), producer.Options{}), producer.BufferOptions{Count: 100})
	const n = 2000
	for i := range n {
		if err := b.Add(soon(t), producer.Event{To: "topic:a", Data: fmt.Append(nil, i)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Close(soon(t)); err != nil {
		t.Fatal(err)
	}
	entries, err := server.Client().XRange(ctx, "sluice:{"+wire.Tags(16)[wire.Partition("topic:a", 16)]+"}:events", "-", "+").Result()
	if err != nil || len(entries) != n {
		t.Fatalf("%d entries, %v", len(entries), err)
	}
	keys := map[any]bool{}
	for i, e := range entries {
		if e.Values["data"] != fmt.Sprint(i) || keys[e.Values["id"]] || e.Values["id"] == nil {
			t.Fatalf("entry %d: %v", i, e.Values)
		}
		keys[e.Values["id"]] = true
	}
}
