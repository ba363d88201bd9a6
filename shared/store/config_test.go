package store

import (
	"crypto/tls"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"sluice/shared/settings"
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
		err := settings.Check(&c)
		if err == nil || !strings.HasPrefix(err.Error(), "SLUICE_REDIS_URL") || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: error %v, want a sentence about SLUICE_REDIS_URL", url, err)
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
		if err := settings.Check(&c); strings.Contains(err.Error(), password) {
			t.Fatalf("%q: %v", c.RedisURL, err)
		}
	})
}

// What a program opens by itself, without the environment, is held to the same bounds.
func TestOpenChecksBounds(t *testing.T) {
	good := Config{
		RedisURL: "redis://h", Prefix: "sluice:", Partitions: 16, HistorySize: 1000,
		HistoryTTL: 24 * time.Hour, SessionTTL: time.Minute, MaxData: 64 << 10,
	}
	for _, c := range []struct {
		name string
		ok   []func(*Config)
		not  []func(*Config)
	}{
		{"SLUICE_PARTITIONS", []func(*Config){func(c *Config) { c.Partitions = 1 }, func(c *Config) { c.Partitions = 1024 }},
			[]func(*Config){func(c *Config) { c.Partitions = 0 }, func(c *Config) { c.Partitions = 1025 }}},
		{"SLUICE_HISTORY_TTL", []func(*Config){func(c *Config) { c.HistoryTTL = time.Second }, func(c *Config) { c.HistoryTTL = 8760 * time.Hour }},
			[]func(*Config){func(c *Config) { c.HistoryTTL = time.Second - 1 }, func(c *Config) { c.HistoryTTL = 8760*time.Hour + 1 }}},
		{"SLUICE_PREFIX", []func(*Config){func(c *Config) { c.Prefix = "" }, func(c *Config) { c.Prefix = strings.Repeat("x", 64) }, func(c *Config) { c.Prefix = "a-b.c" }},
			[]func(*Config){func(c *Config) { c.Prefix = strings.Repeat("x", 65) }, func(c *Config) { c.Prefix = "a{b" }, func(c *Config) { c.Prefix = "a}b" }, func(c *Config) { c.Prefix = "a b" }}},
	} {
		for _, change := range c.ok {
			cfg := good
			change(&cfg)
			s, err := Open(cfg)
			if err != nil {
				t.Errorf("%s at its edge: %v", c.name, err)
				continue
			}
			_ = s.Close()
		}
		for _, change := range c.not {
			cfg := good
			change(&cfg)
			if _, err := Open(cfg); err == nil || !strings.HasPrefix(err.Error(), c.name) {
				t.Errorf("%s beyond its edge: %v", c.name, err)
			}
		}
	}
}
