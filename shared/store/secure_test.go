package store_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"sluice/shared/settings"
	"sluice/shared/store"
	"sluice/shared/store/storetest"
	"sluice/shared/wire"
)

// TestTLS: the store's connections of every kind over TLS, to one node and to a Cluster, also after a restart of Redis.
func TestTLS(t *testing.T) {
	for name, start := range map[string]func(testing.TB, ...string) *storetest.Server{
		"one node": storetest.Redis,
		"cluster": func(tb testing.TB, args ...string) *storetest.Server {
			return storetest.Cluster(tb, append(args, "--tls-cluster", "yes")...) // or it names the other port
		},
	} {
		t.Run(name, func(t *testing.T) {
			x := storetest.NewTLS(t)
			server := start(t, append(x.Options(), "--appendonly", "yes")...)
			s := storetest.Open(t, server.URL(), x.Configure)
			works := func() {
				t.Helper()
				storetest.Eventually(t, func() error { return overAll(t, s) })
			}
			works()
			server.Restart()
			works()

			bad := func(what, says string, change func(*store.Config)) {
				t.Helper()
				cfg := storetest.Config(server.URL())
				x.Configure(&cfg)
				change(&cfg)
				s, err := store.Open(cfg)
				if err == nil {
					ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
					err = s.Ready(ctx)
					cancel()
					_ = s.Close()
				}
				if err == nil || !strings.Contains(err.Error(), says) {
					t.Errorf("%s: %v, want %q", what, err, says)
				}
			}
			bad("no certificate of our own", "", func(c *store.Config) { c.RedisCertFile, c.RedisKeyFile = "", "" })
			bad("another authority", "unknown authority", func(c *store.Config) { c.RedisCAFile = storetest.NewTLS(t).CAFile })
			bad("another name", "certificate", func(c *store.Config) { c.RedisURL = strings.Replace(c.RedisURL, "127.0.0.1", "localhost", 1) })
		})
	}
}

// overAll uses a connection of each kind.
func overAll(t *testing.T, s *store.Store) error {
	ctx := t.Context()
	const partition = 0
	target := targetOf(s, partition)
	lane, err := s.NewLane(true)
	if err != nil {
		return err
	}
	defer func() { _ = lane.Close() }()
	terms, err := s.TakeOver(ctx, "w", "t", time.Minute, []int{partition})
	if err != nil {
		return err
	}
	read := store.Read{
		Generation: "t", Consumer: "w", Partitions: []int{partition}, Epochs: []uint64{terms[0].Epoch}, Count: 10, Block: time.Second,
	}
	arrives := make(chan []error, 1)
	go func() {
		arrives <- s.Publish(ctx, []store.Publication{{To: target, Fields: []string{"to", target, "data", "1"}}})
	}()
	var entries []store.Entry
	for len(entries) == 0 && err == nil && ctx.Err() == nil { // the read waits
		entries, err = lane.Commit(ctx, nil, nil, read, nil)
	}
	if failed := (<-arrives)[0]; failed != nil {
		return failed
	}
	if err != nil {
		return err
	}
	e := entries[0]
	a := &store.Append{Partition: partition, Event: &wire.Event{To: target, ID: e.ID, Kind: wire.Text}}
	if err := lane.AppendAndRoute(ctx, []*store.Append{a}, nil); err != nil {
		return err
	}
	done := []store.Ack{{Partition: partition, IDs: []string{e.ID.String()}, Last: e.ID}}
	read.Block = 10 * time.Millisecond
	if _, err := lane.Commit(ctx, nil, done, read, nil); err != nil {
		return err
	}
	return s.Check()
}

// TestSentinelLogin: Sentinels that want a password get theirs, not that of Redis, as the default user or as one who may
// only ask for the master.
func TestSentinelLogin(t *testing.T) {
	if testing.Short() {
		t.Skip("starts Sentinels")
	}
	r := storetest.Sentinel(t)
	ctx, sentinel := t.Context(), r.Sentinel().Client()
	for _, rules := range [][]any{
		{"default", "resetpass", ">of-sentinels"},
		{"asker", "on", ">of-askers", "resetchannels", "&+switch-master", "&+replica-reconf-done", "-@all", "+subscribe", "+unsubscribe", "+ping",
			"+sentinel|get-master-addr-by-name", "+sentinel|sentinels", "+sentinel|replicas"},
	} {
		if err := sentinel.Do(ctx, append([]any{"ACL", "SETUSER"}, rules...)...).Err(); err != nil {
			t.Fatal(err)
		}
	}
	url := storetest.As(storetest.Everybody, r.URL())
	for name, login := range map[string][2]string{"the default user": {"", "of-sentinels"}, "another one": {"asker", "of-askers"}} {
		t.Run(name, func(t *testing.T) {
			s := storetest.Open(t, url, func(c *store.Config) { c.SentinelUser, c.SentinelPassword = login[0], login[1] })
			if err := s.Check(); err != nil {
				t.Error(err)
			}
		})
	}
	for name, login := range map[string][2]string{"none": {"", ""}, "a wrong one": {"", "sesame"}, "that of Redis": {storetest.Everybody, "of-the-tests"}} {
		t.Run(name, func(t *testing.T) {
			cfg := storetest.Config(url)
			cfg.SentinelUser, cfg.SentinelPassword = login[0], login[1]
			s, err := store.Open(cfg)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = s.Close() }()
			if err := s.Check(); err == nil {
				t.Error("it works")
			}
		})
	}
}

// TestSecureRefused: settings that have nothing to act on, and files that are no use, are told by their names.
func TestSecureRefused(t *testing.T) {
	x := storetest.NewTLS(t)
	for _, tc := range []struct {
		name, says string
		change     func(*store.Config)
	}{
		{"SLUICE_REDIS_CA_FILE", "rediss://", func(c *store.Config) { c.RedisCAFile = x.CAFile }},
		{"SLUICE_REDIS_CERT_FILE", "rediss://", func(c *store.Config) { c.RedisCertFile, c.RedisKeyFile = x.CertFile, x.KeyFile }},
		{"SLUICE_REDIS_CERT_FILE", "SLUICE_REDIS_KEY_FILE", func(c *store.Config) { c.RedisURL, c.RedisCertFile = "rediss://h", x.CertFile }},
		{"SLUICE_REDIS_KEY_FILE", "SLUICE_REDIS_CERT_FILE", func(c *store.Config) { c.RedisURL, c.RedisKeyFile = "rediss://h", x.KeyFile }},
		{"SLUICE_REDIS_CA_FILE", x.KeyFile, func(c *store.Config) { c.RedisURL, c.RedisCAFile = "rediss://h", x.KeyFile }},
		{"SLUICE_REDIS_CERT_FILE", x.CAFile, func(c *store.Config) {
			c.RedisURL, c.RedisCertFile, c.RedisKeyFile = "rediss://h", x.CAFile, x.KeyFile
		}},
		{"SLUICE_REDIS_SENTINEL_PASSWORD", "master_name", func(c *store.Config) { c.SentinelPassword = "sesame" }},
		{"SLUICE_REDIS_SENTINEL_USER", "SLUICE_REDIS_SENTINEL_PASSWORD", func(c *store.Config) { c.RedisURL, c.SentinelUser = "redis://h?master_name=m", "u" }},
	} {
		cfg := storetest.Config("redis://h")
		tc.change(&cfg)
		err := settings.Check(&cfg)
		if err == nil || !strings.HasPrefix(err.Error(), tc.name+"=") || !strings.Contains(err.Error(), tc.says) || strings.Contains(err.Error(), "sesame") {
			t.Errorf("%v, want a sentence about %s with %q", err, tc.name, tc.says)
		}
	}
}

// TestUsers: the lines of acl.conf are there for any prefix, and nothing of the usual one is left.
func TestUsers(t *testing.T) {
	var names []string
	for _, u := range store.Users(`a*[b]?\:`) {
		names = append(names, u.Name)
		rules := strings.Join(u.Rules, " ")
		if strings.Contains(rules, "sluice:") || !strings.Contains(rules, `~a\*\[b\]\?\\:`) || !strings.Contains(rules, "-@all") {
			t.Errorf("%s: %s", u.Name, rules)
		}
		for _, rule := range u.Rules {
			if rule == "+@all" || rule == "allcommands" || rule == "allkeys" || rule == "~*" || rule == "&*" || rule == "nopass" || rule == "on" {
				t.Errorf("%s has %s", u.Name, rule)
			}
		}
	}
	if got := strings.Join(names, " "); got != "gateway worker producer receipts" {
		t.Errorf("users %s", got)
	}
}
