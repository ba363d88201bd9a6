package store

import (
	"crypto/tls"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

func TestURL(t *testing.T) {
	for url, want := range map[string]redis.UniversalOptions{
		"redis://":                         {Addrs: []string{"localhost:6379"}},
		"redis://h":                        {Addrs: []string{"h:6379"}},
		"REDIS://h:1/3":                    {Addrs: []string{"h:1"}, DB: 3},
		"redis://h?db=2":                   {Addrs: []string{"h:6379"}, DB: 2},
		"redis://[::1]:7":                  {Addrs: []string{"[::1]:7"}},
		"redis://u:p@h":                    {Addrs: []string{"h:6379"}, Username: "u", Password: "p"},
		"redis://:p@h":                     {Addrs: []string{"h:6379"}, Password: "p"},
		"redis://u:a@b,c@h":                {Addrs: []string{"h:6379"}, Username: "u", Password: "a@b,c"},
		"redis://:%2F%3F%23%25%C3%A9%20@h": {Addrs: []string{"h:6379"}, Password: "/?#%é "},
		"rediss://h":                       {Addrs: []string{"h:6379"}, TLSConfig: &tls.Config{ServerName: "h"}},
		"rediss://h?skip_verify=1":         {Addrs: []string{"h:6379"}, TLSConfig: &tls.Config{ServerName: "h", InsecureSkipVerify: true}},
		"redis://h?cluster=1":              {Addrs: []string{"h:6379"}, IsClusterMode: true},
		"redis://u:p@a,b:7,[::1]":          {Addrs: []string{"a:6379", "b:7", "[::1]:6379"}, IsClusterMode: true, Username: "u", Password: "p"},
		// Every node has a name of its own; that of the last address must not stand for all.
		"rediss://a,b":                    {Addrs: []string{"a:6379", "b:6379"}, IsClusterMode: true, TLSConfig: &tls.Config{}},
		"rediss://a?cluster=1":            {Addrs: []string{"a:6379"}, IsClusterMode: true, TLSConfig: &tls.Config{ServerName: "a"}},
		"rediss://a?master_name=m":        {Addrs: []string{"a:6379"}, MasterName: "m", TLSConfig: &tls.Config{}},
		"redis://a:1,b:2/4?master_name=m": {Addrs: []string{"a:1", "b:2"}, MasterName: "m", DB: 4},
		"redis://h?read_timeout=1s&write_timeout=2s&dial_timeout=4s&pool_size=7": {
			Addrs: []string{"h:6379"}, ReadTimeout: time.Second, WriteTimeout: 2 * time.Second, DialTimeout: 4 * time.Second, PoolSize: 7,
		},
	} {
		c := Config{RedisURL: url}
		got, err := c.options()
		if err != nil {
			t.Errorf("%s: %v", url, err)
			continue
		}
		if !slices.Equal(got.Addrs, want.Addrs) || got.IsClusterMode != want.IsClusterMode || got.MasterName != want.MasterName ||
			got.DB != want.DB || got.Username != want.Username || got.Password != want.Password || got.PoolSize != want.PoolSize {
			t.Errorf("%s: %+v, want %+v", url, got, want)
		}
		for _, limit := range []struct{ got, want, usual time.Duration }{
			{got.DialTimeout, want.DialTimeout, 2 * time.Second},
			{got.ReadTimeout, want.ReadTimeout, 3 * time.Second},
			{got.WriteTimeout, want.WriteTimeout, 3 * time.Second},
		} {
			if limit.want == 0 {
				limit.want = limit.usual
			}
			if limit.got != limit.want {
				t.Errorf("%s: a time limit is %v, want %v", url, limit.got, limit.want)
			}
		}
		if (got.TLSConfig == nil) != (want.TLSConfig == nil) {
			t.Errorf("%s: TLS %v, want %v", url, got.TLSConfig, want.TLSConfig)
		} else if want.TLSConfig != nil && (got.TLSConfig.ServerName != want.TLSConfig.ServerName ||
			got.TLSConfig.InsecureSkipVerify != want.TLSConfig.InsecureSkipVerify || got.TLSConfig.MinVersion < tls.VersionTLS12) {
			t.Errorf("%s: TLS with name %q, want %q", url, got.TLSConfig.ServerName, want.TLSConfig.ServerName)
		}
		if got.MaxRetries != -1 || got.MaxRedirects != -1 || !got.ContextTimeoutEnabled {
			t.Errorf("%s: commands are repeated behind the caller's back: %+v", url, got)
		}
	}
}

func TestURLRefused(t *testing.T) {
	for url, reason := range map[string]string{
		"":                              "no ://",
		"h:6379":                        "no ://",
		"http://h":                      "redis or rediss",
		"unix:///run/redis.sock":        "redis or rediss",
		"redis://h:x":                   "port",
		"redis://h:0":                   "port",
		"redis://h:65536":               "port",
		"redis://a:6379,b:99999":        "port",
		"redis://port:6379/x":           "database number",
		"redis://h/-1":                  "database number",
		"redis://h/1/2":                 "database number",
		"redis://h?db=x":                "database number",
		"redis://h?unknown=1":           "option",
		"redis://h?read_timeout=x":      "option",
		"redis://h?a;b":                 "after ?",
		"redis://h?cluster=yes":         "cluster",
		"redis://a,,b":                  "comma",
		"redis://a,":                    "comma",
		"redis://a,b/1":                 "Cluster has no database",
		"redis://a/1?cluster=1":         "Cluster has no database",
		"redis://:sesame open@h":        "%XX",
		"redis://:sesame/open@h":        "port",
		"redis://:sesame?open=1@h":      "port",
		"redis://:sesame#open@h":        "port",
		"redis://:sesame%zz@h":          "%XX",
		"redis://u:sesame@h h":          "%XX",
		"sesame@h:6379":                 "no ://",
		"redis://h?password=sesame":     "option",
		"redis://a,u:sesame@b:x":        "port",
		"redis://u:sesame@a:x,b":        "port",
		"redis://h/0?sesame":            "option",
		"redis://u:sesame@h?x=y@sesame": "option",
		"redis//u:sesame@h":             "no ://",
	} {
		c := Config{RedisURL: url, Partitions: 1, HistorySize: 1, HistoryTTL: time.Hour, SessionTTL: time.Minute, MaxData: 1024}
		err := c.Validate()
		var p *Problem
		if !errors.As(err, &p) || p.Name != "SLUICE_REDIS_URL" {
			t.Errorf("%q: error %v, want a Problem with SLUICE_REDIS_URL", url, err)
			continue
		}
		if !strings.Contains(err.Error(), reason) {
			t.Errorf("%q: %v, want the reason %q", url, err, reason)
		}
		if strings.Contains(err.Error(), "sesame") {
			t.Errorf("the error tells the password: %v", err)
		}
		if _, err := Open(c); err == nil {
			t.Errorf("%q: opened", url)
		}
	}
}

// FuzzURL looks for a URL whose error tells the password.
func FuzzURL(f *testing.F) {
	for _, seed := range [][2]string{{"redis://u:", "@h"}, {"redis://", "@h"}, {"redis://h?password=", ""}, {"", "@h"}, {"redis://a,u:", "@b:x"}} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, before, after string) {
		const password = "0pen-Sesame"
		if !strings.Contains(after, "@") && !strings.Contains(before, "?") {
			t.Skip("nobody can tell that this is a password")
		}
		c := Config{RedisURL: before + password + after}
		if err := c.Validate(); strings.Contains(err.Error(), password) {
			t.Fatalf("%q: %v", c.RedisURL, err)
		}
	})
}

func TestValidate(t *testing.T) {
	good := Config{
		RedisURL: "redis://h", Prefix: "sluice:", Partitions: 16, HistorySize: 1000,
		HistoryTTL: 24 * time.Hour, SessionTTL: time.Minute, MaxData: 64 << 10,
	}
	if err := good.Validate(); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name  string
		least func(*Config, bool) // sets the lowest allowed value, or the one below
		most  func(*Config, bool)
	}{
		{"SLUICE_PARTITIONS", func(c *Config, ok bool) { c.Partitions = pick(ok, 1, 0) }, func(c *Config, ok bool) { c.Partitions = pick(ok, 1024, 1025) }},
		{"SLUICE_HISTORY_SIZE", func(c *Config, ok bool) { c.HistorySize = pick(ok, 1, 0) }, func(c *Config, ok bool) { c.HistorySize = pick(ok, 1_000_000, 1_000_001) }},
		{"SLUICE_HISTORY_TTL", func(c *Config, ok bool) { c.HistoryTTL = pick(ok, time.Second, time.Second-1) }, func(c *Config, ok bool) { c.HistoryTTL = pick(ok, 8760*time.Hour, 8760*time.Hour+1) }},
		{"SLUICE_SESSION_TTL", func(c *Config, ok bool) { c.SessionTTL = pick(ok, time.Second, time.Second-1) }, func(c *Config, ok bool) { c.SessionTTL = pick(ok, time.Hour, time.Hour+1) }},
		{"SLUICE_MAX_FRAME_BYTES", func(c *Config, ok bool) { c.MaxData = pick(ok, 1024, 1023) }, func(c *Config, ok bool) { c.MaxData = pick(ok, 16<<20, 16<<20+1) }},
		{"SLUICE_PREFIX", func(c *Config, ok bool) { c.Prefix = pick(ok, "", "a{b") }, func(c *Config, ok bool) { c.Prefix = pick(ok, strings.Repeat("x", 64), strings.Repeat("x", 65)) }},
		{"SLUICE_PREFIX", func(c *Config, ok bool) { c.Prefix = pick(ok, "a-b", "a b") }, func(c *Config, ok bool) { c.Prefix = pick(ok, "a.b", "a}b") }},
	} {
		for _, edge := range []func(*Config, bool){c.least, c.most} {
			cfg := good
			edge(&cfg, true)
			if err := cfg.Validate(); err != nil {
				t.Errorf("%s at its edge: %v", c.name, err)
			}
			edge(&cfg, false)
			var p *Problem
			if err := cfg.Validate(); !errors.As(err, &p) || p.Name != c.name {
				t.Errorf("%s beyond its edge: %v", c.name, err)
			}
		}
	}
}

func pick[T any](first bool, a, b T) T {
	if first {
		return a
	}
	return b
}
