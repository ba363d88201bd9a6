package settings

import (
	"errors"
	"fmt"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestRedactURL(t *testing.T) {
	for in, want := range map[string]string{
		"":                             "",
		"redis://127.0.0.1:6379/0":     "redis://127.0.0.1:6379/0",
		"redis://[::1]:6379":           "redis://[::1]:6379",
		"redis://a:1,b:2,c":            "redis://a:1,b:2,c",
		"redis://h:1?addr=h2:2&db=3":   "redis://h:1?addr=h2:2&db=3",
		"redis://h:1?geheim":           "redis://(hidden)",
		"redis://h:1?db=3&geheim":      "redis://(hidden)",
		"redis://:geheim@h:1":          "redis://:xxxxx@h:1",
		"redis://joe:geheim@h:1/2?x=y": "redis://joe:xxxxx@h:1/2?x=y",
		"redis://joe@h":                "redis://xxxxx@h", // it may be a password in the wrong place
		"redis://joe:@h":               "redis://joe:@h",
		"redis://joe:geheim@h:port":    "redis://joe:xxxxx@h:port",
		"redis://joe:g@h/e#i?m:@h:1":   "(hidden)",
		"redis://joe:g@h/e#im:@h:1":    "redis://joe:xxxxx@h:1",
		"redis://joe:g@h?x=y@geheim":   "(hidden)",
		"redis://:12/34@h:1":           "redis://:xxxxx@h:1", // parses, as host, port and path
		"redis://ge/heim:x@h":          "redis://xxxxx@h",
		"redis://h:1?master_name=m&sentinel_password=geheim&db=1": "redis://h:1?master_name=m&sentinel_password=xxxxx",
		"redis://h?password=g@h":                                  "(hidden)",
		"redis://:geheim":                                         "redis://(hidden)",
		"redis://joe:geheim:h":                                    "redis://(hidden)",
		"geheim":                                                  "(hidden)",
		"localhost:6379":                                          "localhost:6379",
		":geheim@h:1":                                             ":xxxxx@h:1",
		"redis://:geheim@a:1, redis://:streng@b:2":                "redis://:xxxxx@a:1, redis://:xxxxx@b:2",
		"redis://a:1,redis://b:2":                                 "redis://a:1,redis://b:2",
		"redis://:gehe,x://im@h":                                  "redis://(hidden),x://xxxxx@h",
		"redis://joe:12,x://im@h":                                 "redis://(hidden),x://xxxxx@h",
		"redis://:gehe,im@h":                                      "redis://:xxxxx@h",
		"redis://:geheim@h:1\n":                                   "redis://:xxxxx@h:1\n",
	} {
		if got := RedactURL(in); got != want {
			t.Errorf("RedactURL(%q) = %q, want %q", in, got, want)
		}
	}
}

// Whatever the password, and whatever follows the host, it is not shown.
func FuzzRedactURL(f *testing.F) {
	for _, p := range []string{"geheim", "12/34", "p@ss", "a?b#c", "x?password=y@z", "%zz", "a,b", "<>\"\\", "p?key=q"} {
		f.Add(p, "host:6379")
		f.Add(p, "host:port/0?db=1")
	}
	f.Add("?pass", "host:p=1")
	f.Fuzz(func(t *testing.T, password, rest string) {
		if strings.Contains(password, "://") || strings.ContainsAny(rest, "@,;&?") {
			t.Skip("several URLs, or a password after the password")
		}
		in := "redis://joe:" + password + "@" + rest
		got := RedactURL(in)
		// What is shown besides the password may hold its letters by chance.
		if n := strings.Count("redis://joe:"+mask+"@"+rest+mask+hidden, password); len(password) > 0 && strings.Count(got, password) > n {
			t.Errorf("RedactURL(%q) = %q shows the password", in, got)
		}
		// More than needed may be hidden, but not all of it lightly.
		if !strings.HasPrefix(got, "redis://joe:"+mask+"@") && got != hidden && password != "" {
			t.Errorf("RedactURL(%q) = %q", in, got)
		}
	})
}

func TestRedacted(t *testing.T) {
	c := exampleConfig{
		Redis: "redis://joe:geheim@h:port", Partitions: 16, Ping: 25 * time.Second,
		Origins: []string{"https://a", "https://b"}, Keys: &url.URL{Scheme: "https", Host: "keys"},
		Auth: authConfig{Mode: "jwt", Secret: "geheim"}, LogConfig: LogConfig{Format: "json"},
	}
	want := []any{
		"SLUICE_REDIS_URL", "redis://joe:xxxxx@h:port", "SLUICE_PARTITIONS", 16, "SLUICE_BUFFER", 0, "SLUICE_BACKLOG", int64(0),
		"SLUICE_PING_INTERVAL", "25s", "SLUICE_SESSION_TTL", "0s", "SLUICE_NAME", "", "SLUICE_PREFIX", "", "SLUICE_ADDR", "",
		"SLUICE_ALLOWED_ORIGINS", "https://a,https://b", "SLUICE_AUTH_DEV_ANYWHERE", false,
		"SLUICE_JWKS_URL", "https://keys", "SLUICE_AUTH", "jwt", "SLUICE_JWT_SECRET", "(set)", "SLUICE_TWICE", false,
		"SLUICE_LOG_LEVEL", "INFO", "SLUICE_LOG_FORMAT", "json",
	}
	if got := Redacted(&c); !reflect.DeepEqual(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
	if got := Redacted(c); !reflect.DeepEqual(got, want) {
		t.Errorf("by value: got  %v\nwant %v", got, want)
	}
	c.Auth.Secret = ""
	if got := fmt.Sprint(Redacted(&c)...); !strings.Contains(got, "(not set)") {
		t.Errorf("no %q for an empty secret in %s", "(not set)", got)
	}
}

// A tag that is spelt wrong hides too much, never too little.
func TestSecretTagMisspelt(t *testing.T) {
	c := struct {
		Key string `env:"SLUICE_KEY" secret:"ture"`
	}{Key: "geheim"}
	if got := Redacted(&c); got[1] != "(set)" {
		t.Errorf("shown as %v", got[1])
	}
}

func TestScrub(t *testing.T) {
	const redis = "redis://joe:ge%2Fheim@h:port/0"
	environ := map[string]string{"SLUICE_REDIS_URL": redis, "SLUICE_JWT_SECRET": "str\"eng"}
	list := all(&exampleConfig{})
	parse := parseError(t, redis)
	for _, err := range []error{
		parse,
		fmt.Errorf("dial: %w", parse),
		errors.New("dial: " + parse.Error()),
		errors.New("AUTH ge%2Fheim refused"),
		errors.New("AUTH ge/heim refused"),
		fmt.Errorf("key %q or %s", "str\"eng", "str\"eng"),
	} {
		got := scrub(err, list, environ)
		for _, secret := range []string{"heim", "eng"} {
			if strings.Contains(got, secret) {
				t.Errorf("%q became %q", err, got)
			}
		}
	}
	// The reason of url.Parse alone can hold a piece of a password.
	parse = parseError(t, "redis://:geh/eim@h")
	if got := scrub(parse, list, map[string]string{}); strings.Contains(got, "geh") {
		t.Errorf("%q became %q", parse, got)
	}
	if got := scrub(errors.New("connection refused"), list, environ); got != "connection refused" {
		t.Errorf("a harmless error became %q", got)
	}
}

func parseError(t *testing.T, raw string) error {
	t.Helper()
	_, err := url.Parse(raw)
	if err == nil {
		t.Fatalf("%q was to be a bad URL", raw)
	}
	return err
}
