package storetest

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"testing"
	"time"

	"sluice/shared/store"
)

// metaHash is sluice:meta as it is documented.
var metaHash = map[string]string{"version": "2", "partitions": "16", "tags": "10 3 61 43 11 2 60 42 12 1 63 41 13 0 62 40"}

func (x *suite) meta(t *testing.T) {
	ctx := t.Context()
	s := x.open(t, nil)
	want(t, "sluice:meta", x.Client.HGetAll(ctx, "sluice:meta").Val(), metaHash)
	must(t, s.Ready(ctx)) // again
	must(t, s.Check())

	other := func(mutate func(*store.Config)) (*store.Store, error) {
		cfg := Config(x.URL)
		mutate(&cfg)
		s, err := store.Open(cfg)
		must(t, err)
		t.Cleanup(func() { _ = s.Close() })
		return s, s.Ready(ctx)
	}
	s, err := other(func(c *store.Config) { c.Partitions = 8 })
	wantError(t, "another number of partitions", err, store.ErrMeta)
	for _, part := range []string{"SLUICE_PARTITIONS=8", "SLUICE_PARTITIONS=16", "SLUICE_PREFIX"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q does not name %s", err, part)
		}
	}
	wantError(t, "Await", s.Await(ctx, func(err error) { t.Errorf("Await tries again after %v", err) }), store.ErrMeta)
	want(t, "partitions", x.Client.HGet(ctx, "sluice:meta", "partitions").Val(), "16")

	_, err = other(func(c *store.Config) { c.Partitions, c.Prefix = 8, "other:" })
	must(t, err)
	want(t, "partitions of another prefix", x.Client.HGet(ctx, "other:meta", "partitions").Val(), "8")

	// Nothing is added to what another version has written: the first one had no tags.
	for _, version := range []string{"1", "3", ""} {
		foreign := map[string]string{"version": version, "partitions": "16"}
		must(t, x.Client.Del(ctx, "sluice:meta").Err())
		must(t, x.Client.HSet(ctx, "sluice:meta", foreign).Err())
		_, err = other(func(*store.Config) {})
		wantError(t, "version "+version, err, store.ErrMeta)
		for _, part := range []string{strconv.Quote(version), "run the version", "SLUICE_PREFIX"} {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%q does not name %s", err, part)
			}
		}
		want(t, "sluice:meta of version "+version, x.Client.HGetAll(ctx, "sluice:meta").Val(), foreign)
	}
}

func (x *suite) clock(t *testing.T) {
	s := x.open(t, nil)
	now, err := x.Client.Time(t.Context()).Result()
	must(t, err)
	if off := s.NowMs() - now.UnixMilli(); off < -50 || off > 1000 {
		t.Fatalf("NowMs is %d ms from Redis's time", off)
	}
	must(t, s.SyncClock(t.Context()))
}

func (x *suite) await(t *testing.T) {
	node := x.at("sluice:meta")
	node.Stop()
	s, err := store.Open(Config(x.URL))
	must(t, err)
	defer func() { _ = s.Close() }()

	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if err := s.Await(ctx, func(error) {}); err == nil || errors.Is(err, store.ErrMeta) {
		t.Fatalf("Await without Redis: %v", err)
	}
	wantLink(t, "Check without Redis", s.Check())

	tried, done := make(chan error, 1), make(chan error, 1)
	go func() {
		done <- s.Await(t.Context(), func(err error) {
			select {
			case tried <- err:
			default:
			}
		})
	}()
	wantLink(t, "Await's report", <-tried)
	node.Restart()
	must(t, <-done)
	must(t, s.Check())
}

// unfit: a Redis that takes keys away is not used, until it does so no more.
func (x *suite) unfit(t *testing.T) {
	s := x.open(t, nil)
	set := func(policy, limit string) {
		x.each(t, "CONFIG", "SET", "maxmemory-policy", policy)
		x.each(t, "CONFIG", "SET", "maxmemory", limit)
	}
	defer set("noeviction", "0")
	set("volatile-ttl", "1gb")
	err := s.Ready(t.Context())
	wantError(t, "Ready", err, store.ErrUnfit)
	if !strings.Contains(err.Error(), "volatile-ttl") {
		t.Errorf("%q does not name the policy", err)
	}
	memory, err := s.Memory(t.Context())
	must(t, err)
	for p, m := range memory {
		want(t, "policy of the node of partition "+strconv.Itoa(p), m.Policy, "volatile-ttl")
	}
	wantError(t, "Check", s.Check(), store.ErrUnfit)
	tries := 0
	must(t, s.Await(t.Context(), func(err error) {
		wantError(t, "Await's report", err, store.ErrUnfit)
		if tries++; tries == 2 {
			set("noeviction", "1gb")
		}
	}))
	want(t, "tries", tries, 2)
	must(t, s.Check())
	set("allkeys-lru", "0") // nothing is ever full
	must(t, s.Ready(t.Context()))
}
