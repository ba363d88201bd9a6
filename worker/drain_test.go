package worker

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"sluice/shared/store"
	"sluice/shared/store/storetest"
	"sluice/shared/wire"
)

// drain starts a worker that leaves when nothing waits; ended is closed when it has.
func drain(t *testing.T, st *store.Store, cfg Config) (ended chan struct{}) {
	t.Helper()
	cfg.Acks.CursorTTL = time.Hour
	w := New(Options{Store: st, Config: cfg, Log: slog.New(slog.DiscardHandler), Registry: prometheus.NewRegistry(), Drain: true})
	ended = make(chan struct{})
	start(t, func(ctx context.Context) error {
		defer close(ended)
		err := w.Run(ctx)
		if err == nil && ctx.Err() != nil {
			return errors.New("it did not end by itself")
		}
		return err
	})
	return ended
}

func waitEnd(t *testing.T, ended <-chan struct{}) {
	t.Helper()
	select {
	case <-ended:
	case <-time.After(20 * time.Second):
		t.Fatal("it still works")
	}
}

// TestDrain: a worker with -drain leaves when everything is done that its roles do, tasks that are due later included,
// and not before; it leaves nothing and nobody behind.
func TestDrain(t *testing.T) {
	redisServer := storetest.OnRedis(t)
	st := storetest.Open(t, redisServer.URL, nil)
	ctx, rdb := t.Context(), redisServer.Client
	const events = 700 // more than a batch
	pipe := rdb.Pipeline()
	for range events {
		pipe.Do(ctx, "XADD", "sluice:events", "*", "to", "topic:a", "data", "1")
		pipe.Do(ctx, "XADD", storetest.Key(st.Partition("topic:b"), "events"), "*", "to", "topic:b", "data", "1")
	}
	if _, err := pipe.Exec(ctx); err != nil {
		t.Fatal(err)
	}
	acks := []wire.Ack{{User: "u", Device: "phone", To: "topic:a", ID: wire.ID{Ms: 5}}}
	if errs, _ := st.AppendAcks(ctx, acks, 0); errs[0] != nil {
		t.Fatal(errs)
	}
	// Its chain of tasks has nothing due for longer than the worker waits.
	report := wire.SlowReport{Server: "g", Conn: "CONN", User: "u", To: "topic:a", State: wire.SlowLagging}
	if err := st.ReportSlow(ctx, []wire.SlowReport{report}); err != nil {
		t.Fatal(err)
	}

	waitEnd(t, drain(t, st, Config{DrainIdle: 100 * time.Millisecond, Slow: SlowConfig{Attempts: 3, Timeout: time.Hour}}))
	if waits, err := st.Waits(ctx, store.Events, store.Acks, store.SlowReports); err != nil || waits {
		t.Errorf("something waits: %v, %v", waits, err)
	}
	for _, topic := range []string{"topic:a", "topic:b"} {
		if n := rdb.XLen(ctx, storetest.Key(st.Partition(topic), "history:"+topic)).Val(); n != events {
			t.Errorf("the history of %s has %d events, want %d", topic, n, events)
		}
	}
	if id := rdb.HGet(ctx, storetest.Key(st.Partition("user:u"), "cursor:user:u"), "phone topic:a").Val(); id != "5-0" {
		t.Errorf("the cursor stands at %q", id)
	}
	if n := rdb.ZCard(ctx, "asynq:{sluice:slow}:archived").Val(); n != 1 {
		t.Errorf("%d chains of tries were brought to their end, want 1", n)
	}
	for _, key := range []string{"sluice:workers", storetest.Key(0, "lease"), "sluice:{sluice:events}:lease"} {
		if n := rdb.Exists(ctx, key).Val(); n != 0 {
			t.Errorf("the worker has gone, and there is still %s", key)
		}
	}
}

// TestDrainStays: a worker with -drain stays while events come one by one, each done at once; while Redis is away; and while
// somebody else works on something. What it has no role for does not hold it.
func TestDrainStays(t *testing.T) {
	server := storetest.Redis(t)
	st := storetest.Open(t, server.URL(), nil)
	ctx, rdb := t.Context(), server.Client()
	const idle = 400 * time.Millisecond
	stays := func(while string, ended <-chan struct{}, long time.Duration, do func()) {
		t.Helper()
		for begin := time.Now(); time.Since(begin) < long; {
			do()
			select {
			case <-ended:
				t.Fatalf("it left while %s", while)
			case <-time.After(idle / 20):
			}
		}
	}
	add := func() {
		if err := rdb.Do(ctx, "XADD", "sluice:events", "*", "to", "topic:a", "data", "1").Err(); err != nil {
			t.Fatal(err)
		}
	}
	acks := []wire.Ack{{User: "u", Device: "phone", To: "topic:a", ID: wire.ID{Ms: 5}}}
	if errs, _ := st.AppendAcks(ctx, acks, 0); errs[0] != nil { // for another worker
		t.Fatal(errs)
	}
	ended := drain(t, st, Config{DrainIdle: idle, Roles: []string{"events"}})
	stays("events came", ended, 2*idle, add)
	server.Stop()
	stays("Redis was away", ended, 3*idle, func() {})
	server.Restart()
	waitEnd(t, ended)

	// Of a worker that died: nobody has the lease's partition until it ends.
	storetest.Eventually(t, func() error { // Redis was away
		_, err := st.TakeOver(ctx, "dead", "t", time.Hour, []int{st.Partition("topic:a")})
		return err
	})
	add()
	ended = drain(t, st, Config{DrainIdle: idle, Roles: []string{"events"}})
	stays("an event waited for its owner", ended, 2*idle, func() {})
	if err := st.Release(ctx, "dead", []int{st.Partition("topic:a")}); err != nil {
		t.Fatal(err)
	}
	waitEnd(t, ended)
}

// TestLastBeat: a worker that stops tells the gateways a last time how far its partitions came. Perhaps nobody comes for
// long, and they may have lost the last message.
func TestLastBeat(t *testing.T) {
	redisServer := storetest.OnRedis(t)
	st := storetest.Open(t, redisServer.URL, nil)
	ctx := t.Context()
	if _, _, err := st.Announce(ctx, store.Servers, "g", time.Minute); err != nil {
		t.Fatal(err)
	}
	channel := redisServer.Client.Subscribe(ctx, "sluice:server:g")
	defer func() { _ = channel.Close() }()
	next := func(what string) {
		t.Helper()
		ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
		defer cancel()
		if _, err := channel.ReceiveMessage(ctx); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	stop := start(t, newWorker(st, Config{Roles: []string{"events"}}).Run)
	next("a beat") // the next one would come in a second
	stop()
	next("the last beat")
}
