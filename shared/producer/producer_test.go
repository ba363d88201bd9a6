package producer_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"sluice/shared/producer"
	"sluice/shared/store"
	"sluice/shared/store/storetest"
	"sluice/shared/wire"
)

var ctx = context.Background()

func open(t *testing.T, url string, o producer.Options) *producer.Producer {
	t.Helper()
	p, err := producer.New(url, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	return p
}

func TestPublish(t *testing.T) {
	server := storetest.Redis(t)
	p := open(t, server.URL(), producer.Options{Prefix: "here:"})
	err := p.Publish(ctx,
		producer.Event{To: "topic:room-1", Data: []byte(`{"n":1}`), Name: "chat", Key: "k", Except: "c", Trace: "00-1", LiveOnly: true},
		producer.Event{To: "room", Data: []byte("x")},
		producer.Event{To: "topic:room-1", Data: []byte("2")},
		producer.Event{To: "user:a", Data: []byte("3"), Unread: 90 * time.Second},
		producer.Event{To: "topic:room-1", Data: []byte("4"), Unread: time.Minute},
	)
	var failed *producer.Failed
	if !errors.As(err, &failed) || len(failed.Errs) != 5 || failed.Errs[3] != nil || !errors.Is(failed.Errs[4], wire.ErrUnread) || failed.Errs[0] != nil || failed.Errs[2] != nil || !errors.Is(err, wire.ErrTarget) {
		t.Fatalf("got %v, want the second event and the last one refused", err)
	}
	stream := "here:{" + wire.Tags(16)[wire.Partition("topic:room-1", 16)] + "}:events"
	entries, err := server.Client().XRange(ctx, stream, "-", "+").Result()
	if err != nil || len(entries) != 2 {
		t.Fatalf("%s has %v, %v", stream, entries, err)
	}
	want := map[string]string{"to": "topic:room-1", "data": `{"n":1}`, "event": "chat", "id": "k", "except": "c", "traceparent": "00-1", "retain": "0"}
	for name, value := range want {
		if entries[0].Values[name] != value {
			t.Errorf("%s is %v, want %q", name, entries[0].Values[name], value)
		}
	}
	if len(entries[0].Values) != len(want) || len(entries[1].Values) != 2 || entries[1].Values["data"] != "2" {
		t.Errorf("got %v", entries)
	}
	stream = "here:{" + wire.Tags(16)[wire.Partition("user:a", 16)] + "}:events"
	if entries, err := server.Client().XRange(ctx, stream, "-", "+").Result(); err != nil || len(entries) != 1 || entries[0].Values["unread"] != "1m30s" {
		t.Errorf("%s has %v, %v", stream, entries, err)
	}
}

// TestBacklog: no worker runs, so everything waits.
func TestBacklog(t *testing.T) {
	server := storetest.Redis(t)
	p := open(t, server.URL(), producer.Options{MaxBacklog: 3})
	one := producer.Event{To: "all", Data: []byte("1")}
	if err := p.Publish(ctx, one, one, one, one); err != nil { // nothing waits yet
		t.Fatal(err)
	}
	refused := func() bool {
		err := p.Publish(ctx, one)
		if err != nil && !errors.Is(err, producer.ErrBacklog) {
			t.Fatal(err)
		}
		return err != nil
	}
	until(t, "events are refused", refused)
	if err := server.Client().FlushAll(ctx).Err(); err != nil {
		t.Fatal(err)
	}
	until(t, "events are taken again", func() bool { return !refused() })
}

func TestAnotherInstallation(t *testing.T) {
	server := storetest.Redis(t)
	storetest.Open(t, server.URL(), nil)
	p := open(t, server.URL(), producer.Options{Partitions: 5})
	if err := p.Publish(ctx, producer.Event{To: "all", Data: []byte("1")}); !errors.Is(err, store.ErrMeta) {
		t.Errorf("got %v, want ErrMeta", err)
	}
	if _, err := producer.New("http://x", producer.Options{}); err == nil {
		t.Error("a bad URL was taken")
	}
}

func until(t *testing.T, what string, reached func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !reached(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("in vain waited until %s", what)
		}
	}
}
