package compose_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"testing"

	"github.com/redis/go-redis/v9"

	"sluice/e2e/torture"
	"sluice/shared/wire"
)

// judge compares what was appended, what Redis holds, and what every client saw.
func judge(t *testing.T, f *fleet, s *stack, faults []torture.Fault) *torture.Verdict {
	t.Helper()
	rdb := redis.NewClient(&redis.Options{Addr: s.redis, Protocol: 2, DisableIdentity: true})
	defer func() { _ = rdb.Close() }()
	log := &torture.Log{Appends: f.producer.lanes, Histories: histories(t, rdb, f), Dead: dead(t, rdb), Faults: faults}
	for _, c := range f.clients {
		log.Clients = append(log.Clients, c.recorded)
	}
	return torture.Check(log)
}

func histories(t *testing.T, rdb *redis.Client, f *fleet) map[string][]torture.Stored {
	t.Helper()
	all := map[string][]torture.Stored{}
	for to := range f.producer.counts {
		key := keyOf(wire.Partition(to, partitions), "history:"+to)
		entries, err := rdb.XRange(context.Background(), key, "-", "+").Result()
		if err != nil {
			t.Fatalf("the history of %s cannot be read: %v", to, err)
		}
		for _, e := range entries {
			id, prev := parseID(t, e.ID), parseID(t, fmt.Sprint(e.Values["prev"]))
			all[to] = append(all[to], torture.Stored{ID: id, Prev: prev, N: number(e.Values["data"])})
		}
	}
	return all
}

func dead(t *testing.T, rdb *redis.Client) []torture.DeadLetter {
	t.Helper()
	entries, err := rdb.XRange(context.Background(), "sluice:dead", "-", "+").Result()
	if err != nil {
		t.Fatalf("the dead letters cannot be read: %v", err)
	}
	var letters []torture.DeadLetter
	for _, e := range entries {
		letters = append(letters, torture.DeadLetter{Reason: fmt.Sprint(e.Values["reason"]), Stream: fmt.Sprint(e.Values["stream"]),
			Entry: parseID(t, fmt.Sprint(e.Values["entry"])), To: fmt.Sprint(e.Values["f:to"]), N: number(e.Values["f:data"])})
	}
	return letters
}

// number is the event's in its data, -1 if there is none.
func number(data any) int {
	var d struct {
		N *int `json:"n"`
	}
	if text, ok := data.(string); !ok || json.Unmarshal([]byte(text), &d) != nil || d.N == nil {
		return -1
	}
	return *d.N
}

func parseID(t *testing.T, text string) wire.ID {
	t.Helper()
	if n, err := strconv.Atoi(text); err == nil && n == 0 {
		return wire.ID{}
	}
	id, err := wire.ParseID(text)
	if err != nil {
		t.Fatal(err)
	}
	return id
}
