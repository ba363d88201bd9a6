package settings

import (
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// exampleConfig has one of each kind of field.
type exampleConfig struct {
	Redis      string        `env:"SLUICE_REDIS_URL" envDefault:"redis://127.0.0.1:6379" help:"where Redis is" allow:"redis://host:port" secret:"url"`
	Partitions int           `env:"SLUICE_PARTITIONS" envDefault:"16" min:"1" max:"1024" help:"into how many partitions targets are divided"`
	Buffer     int           `env:"SLUICE_BUFFER" envDefault:"0" min:"4096" max:"8192" or:"0" help:"a buffer"`
	Backlog    int64         `env:"SLUICE_BACKLOG" envDefault:"5" min:"0" help:"what may wait"`
	Ping       time.Duration `env:"SLUICE_PING_INTERVAL" envDefault:"25s" min:"100ms" help:"between two pings; at most half of SLUICE_SESSION_TTL"`
	Session    time.Duration `env:"SLUICE_SESSION_TTL" envDefault:"60s" min:"1s" max:"1h" help:"how long a session lives"`
	Name       string        `env:"SLUICE_NAME" max:"5" chars:"a-z 0-9 . -" help:"a name"`
	Prefix     string        `env:"SLUICE_PREFIX" envDefault:"sluice:" max:"8" without:"{ } space" help:"before every key"`
	Addr       string        `env:"SLUICE_ADDR" envDefault:":8080" form:"host:port" help:"where clients connect"`
	Origins    []string      `env:"SLUICE_ALLOWED_ORIGINS" help:"origins of pages that may connect" allow:"a list divided by commas"`
	Anywhere   bool          `env:"SLUICE_AUTH_DEV_ANYWHERE" help:"dev tokens on any address"`
	Keys       *url.URL      `env:"SLUICE_JWKS_URL" help:"where keys are fetched"`
	Auth       authConfig
	One, Two   struct {
		Twice bool `env:"SLUICE_TWICE"`
	}
	LogConfig
}

type LogConfig struct {
	Level  slog.Level `env:"SLUICE_LOG_LEVEL" envDefault:"info" oneof:"debug,info,warn,error" help:"the lowest level"`
	Format string     `env:"SLUICE_LOG_FORMAT" envDefault:"text" oneof:"text,json" help:"how"`
}

type authConfig struct {
	Mode   string `env:"SLUICE_AUTH" envDefault:"jwt" help:"how clients prove who they are" oneof:"jwt,dev,broken,keyless"`
	Secret string `env:"SLUICE_JWT_SECRET" help:"the key of HS256 tokens" allow:"at least 8 bytes" secret:"true"`
}

func (c *authConfig) Validate() error {
	var secret error
	if len(c.Secret) > 0 && len(c.Secret) < 8 {
		secret = Invalid{Name: "SLUICE_JWT_SECRET", Value: c.Secret}
	}
	switch c.Mode {
	case "broken": // an error of somebody else, with the secret in it
		return fmt.Errorf("key %q is broken", c.Secret)
	case "keyless":
		return errors.Join(Invalid{Name: "SLUICE_JWT_SECRET", Allowed: "a key, since SLUICE_AUTH is keyless"}, errors.New("so it does not start"))
	}
	return secret
}

func (c *exampleConfig) Validate() error {
	if _, err := url.Parse(c.Redis); err != nil {
		return Invalid{Name: "SLUICE_REDIS_URL", Value: c.Redis}
	}
	if c.Ping > c.Session/2 {
		return Invalid{Name: "SLUICE_PING_INTERVAL", Allowed: "at most half of SLUICE_SESSION_TTL"}
	}
	return nil
}

func TestLoadDefaults(t *testing.T) {
	var c exampleConfig
	// Set to nothing is not set.
	if err := Load(&c, map[string]string{"SLUICE_PARTITIONS": "", "SLUICE_PING_INTERVAL": ""}); err != nil {
		t.Fatal(err)
	}
	want := exampleConfig{
		Redis: "redis://127.0.0.1:6379", Partitions: 16, Backlog: 5, Ping: 25 * time.Second, Session: time.Minute,
		Prefix: "sluice:", Addr: ":8080", Auth: authConfig{Mode: "jwt"}, LogConfig: LogConfig{Format: "text"},
	}
	if !reflect.DeepEqual(c, want) {
		t.Errorf("got  %+v\nwant %+v", c, want)
	}
}

func TestLoadValues(t *testing.T) {
	var c exampleConfig
	err := Load(&c, map[string]string{
		"SLUICE_REDIS_URL": "rediss://h:1", "SLUICE_PARTITIONS": "4", "SLUICE_SESSION_TTL": "3m",
		"SLUICE_PING_INTERVAL": "1m30s", "SLUICE_ALLOWED_ORIGINS": "https://a,https://b",
		"SLUICE_AUTH_DEV_ANYWHERE": "1", "SLUICE_JWKS_URL": "https://keys/x", "SLUICE_AUTH": "dev",
		"SLUICE_JWT_SECRET": "12345678", "SLUICE_LOG_LEVEL": "warn", "SLUICE_LOG_FORMAT": "json",
	})
	if err != nil {
		t.Fatal(err)
	}
	if c.Redis != "rediss://h:1" || c.Partitions != 4 || c.Session != 3*time.Minute || c.Ping != 90*time.Second ||
		!slices.Equal(c.Origins, []string{"https://a", "https://b"}) || !c.Anywhere || c.Keys.String() != "https://keys/x" ||
		c.Auth != (authConfig{"dev", "12345678"}) || c.Level.String() != "WARN" || c.Format != "json" {
		t.Errorf("got %+v", c)
	}
}

func TestLoadFromTheProcess(t *testing.T) {
	t.Setenv("SLUICE_PARTITIONS", "7")
	var c exampleConfig
	if err := Load(&c, nil); err != nil || c.Partitions != 7 {
		t.Errorf("partitions %d, error %v", c.Partitions, err)
	}
}

func TestLoadKeepsPresetDefaults(t *testing.T) {
	c := exampleConfig{Partitions: 3, Ping: time.Second}
	if err := Load(&c, map[string]string{"SLUICE_PING_INTERVAL": "2s"}); err != nil {
		t.Fatal(err)
	}
	if c.Partitions != 3 || c.Ping != 2*time.Second {
		t.Errorf("partitions %d, want the preset 3; ping %s, want the variable's 2s", c.Partitions, c.Ping)
	}
}

func TestLoadMistakes(t *testing.T) {
	long := strings.Repeat("9", 300)
	for _, tc := range []struct {
		name string
		set  map[string]string
		want string
	}{
		{"not a number", map[string]string{"SLUICE_PARTITIONS": "abc"},
			`SLUICE_PARTITIONS="abc" is not allowed: want a whole number from 1 to 1024`},
		{"out of range", map[string]string{"SLUICE_PARTITIONS": "2000"},
			`SLUICE_PARTITIONS="2000" is not allowed: want a whole number from 1 to 1024`},
		{"spaces are shown", map[string]string{"SLUICE_PARTITIONS": " 16"},
			`SLUICE_PARTITIONS=" 16" is not allowed: want a whole number from 1 to 1024`},
		{"long", map[string]string{"SLUICE_PARTITIONS": long},
			`SLUICE_PARTITIONS="` + long[:200] + `..." is not allowed: want a whole number from 1 to 1024`},
		{"duration without a unit", map[string]string{"SLUICE_PING_INTERVAL": "25"},
			`SLUICE_PING_INTERVAL="25" is not allowed: want a duration with its unit (ms, s, m or h), at least 100ms`},
		{"duration out of range", map[string]string{"SLUICE_SESSION_TTL": "61m"},
			`SLUICE_SESSION_TTL="61m" is not allowed: want a duration with its unit (ms, s, m or h) from 1s to 1h`},
		{"neither zero nor in range", map[string]string{"SLUICE_BUFFER": "4095"},
			`SLUICE_BUFFER="4095" is not allowed: want 0, or a whole number from 4096 to 8192`},
		{"no upper bound", map[string]string{"SLUICE_BACKLOG": "-1"},
			`SLUICE_BACKLOG="-1" is not allowed: want a whole number, at least 0`},
		{"long text", map[string]string{"SLUICE_NAME": "abcdef"},
			`SLUICE_NAME="abcdef" is not allowed: want up to 5 characters of a-z 0-9 . -`},
		{"character", map[string]string{"SLUICE_NAME": "A"},
			`SLUICE_NAME="A" is not allowed: want up to 5 characters of a-z 0-9 . -`},
		{"forbidden character", map[string]string{"SLUICE_PREFIX": "a{b"},
			`SLUICE_PREFIX="a{b" is not allowed: want up to 8 characters, none of them { or } or space`},
		{"white space", map[string]string{"SLUICE_PREFIX": "a\tb"},
			`SLUICE_PREFIX="a\tb" is not allowed: want up to 8 characters, none of them { or } or space`},
		{"address without a port", map[string]string{"SLUICE_ADDR": "nowhere"},
			`SLUICE_ADDR="nowhere" is not allowed: want host:port, for example 127.0.0.1:8080, or :8080 for all addresses of this machine`},
		{"port that cannot be", map[string]string{"SLUICE_ADDR": "h:65536"},
			`SLUICE_ADDR="h:65536" is not allowed: want host:port, for example 127.0.0.1:8080, or :8080 for all addresses of this machine`},
		{"together", map[string]string{"SLUICE_PING_INTERVAL": "31s"},
			`SLUICE_PING_INTERVAL="31s" is not allowed: want at most half of SLUICE_SESSION_TTL`},
		{"together, but one is wrong", map[string]string{"SLUICE_PING_INTERVAL": "31s", "SLUICE_SESSION_TTL": "x"},
			`SLUICE_SESSION_TTL="x" is not allowed: want a duration with its unit (ms, s, m or h) from 1s to 1h`},
		{"case", map[string]string{"SLUICE_AUTH": "DEV"}, `SLUICE_AUTH="DEV" is not allowed: want jwt, dev, broken or keyless`},
		{"bool", map[string]string{"SLUICE_AUTH_DEV_ANYWHERE": "maybe"},
			`SLUICE_AUTH_DEV_ANYWHERE="maybe" is not allowed: want true or false`},
		{"level", map[string]string{"SLUICE_LOG_LEVEL": "loud"},
			`SLUICE_LOG_LEVEL="loud" is not allowed: want debug, info, warn or error`},
		{"level between", map[string]string{"SLUICE_LOG_LEVEL": "info+2"},
			`SLUICE_LOG_LEVEL="info+2" is not allowed: want debug, info, warn or error`},
		{"format", map[string]string{"SLUICE_LOG_FORMAT": "xml"},
			`SLUICE_LOG_FORMAT="xml" is not allowed: want text or json`},
		{"of two structs, once", map[string]string{"SLUICE_TWICE": "x"}, `SLUICE_TWICE="x" is not allowed: want true or false`},
		{"nested", map[string]string{"SLUICE_AUTH": "none"},
			`SLUICE_AUTH="none" is not allowed: want jwt, dev, broken or keyless`},
		{"secret", map[string]string{"SLUICE_JWT_SECRET": "geheim"},
			`SLUICE_JWT_SECRET=(hidden) is not allowed: want at least 8 bytes`},
		{"missing, as another needs it", map[string]string{"SLUICE_AUTH": "keyless"},
			"SLUICE_JWT_SECRET is not set: want a key, since SLUICE_AUTH is keyless\nso it does not start"},
		{"secret in another's error", map[string]string{"SLUICE_AUTH": "broken", "SLUICE_JWT_SECRET": `ge"heim!!`},
			`key "(hidden)" is broken`},
		{"URL with a bad port", map[string]string{"SLUICE_REDIS_URL": "redis://joe:geheim@h:port/0"},
			`SLUICE_REDIS_URL="redis://joe:xxxxx@h:port/0" is not allowed: want redis://host:port`},
		{"two of them, a sentence each", map[string]string{"SLUICE_PARTITIONS": "x", "SLUICE_PING_INTERVAL": "y"},
			`SLUICE_PARTITIONS="x" is not allowed: want a whole number from 1 to 1024` + "\n" +
				`SLUICE_PING_INTERVAL="y" is not allowed: want a duration with its unit (ms, s, m or h), at least 100ms`},
		{"by a tag and by Validate", map[string]string{"SLUICE_PARTITIONS": "0", "SLUICE_JWT_SECRET": "geheim"},
			`SLUICE_PARTITIONS="0" is not allowed: want a whole number from 1 to 1024` + "\n" +
				`SLUICE_JWT_SECRET=(hidden) is not allowed: want at least 8 bytes`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			err := Load(&exampleConfig{}, tc.set)
			if err == nil || err.Error() != tc.want {
				t.Errorf("got  %v\nwant %s", err, tc.want)
			}
		})
	}
}

// Two structs may have a field of the same name and type, and even the same
// variable; and a parser's own words must not show a secret.
func TestLoadAwkwardStructs(t *testing.T) {
	type first struct {
		Size int `env:"SLUICE_A" envDefault:"1" allow:"a small number"`
	}
	type second struct {
		Size int `env:"SLUICE_B" envDefault:"2" allow:"a large number"`
	}
	type third struct {
		Size   int `env:"SLUICE_A"`
		Secret int `env:"SLUICE_C" allow:"a secret number" secret:"true"`
		Must   int `env:"SLUICE_D,required" allow:"what the other side has"`
		Level  int `env:"SLUICE_E" envDefault:"bad"`
	}
	type all struct {
		first
		Second second
		Third  third
	}
	good := map[string]string{"SLUICE_D": "1", "SLUICE_E": "1"}
	for _, tc := range []struct{ name, value, want string }{
		{"SLUICE_A", "5", ""},
		{"SLUICE_A", "x", "SLUICE_A=\"x\" is not allowed: want a small number\nSLUICE_A=\"x\" is not allowed: want a whole number"},
		{"SLUICE_B", "x", `SLUICE_B="x" is not allowed: want a large number`},
		{"SLUICE_C", "123x", `SLUICE_C=(hidden) is not allowed: want a secret number`},
		{"SLUICE_D", "", `SLUICE_D is not set: want what the other side has`},
		{"SLUICE_E", "", `SLUICE_E="bad" is not allowed: want a whole number`},
	} {
		t.Run(tc.name+"="+tc.value, func(t *testing.T) {
			set := map[string]string{"SLUICE_D": good["SLUICE_D"], "SLUICE_E": good["SLUICE_E"]}
			set[tc.name] = tc.value
			var c all
			err := Load(&c, set)
			if got := fmt.Sprint(err); err != nil && got != tc.want || err == nil && tc.want != "" {
				t.Errorf("got  %s\nwant %s", got, tc.want)
			}
			if err == nil && (c.Size != 5 || c.Third.Size != 5 || c.Second.Size != 2) {
				t.Errorf("got %+v", c)
			}
		})
	}
}

func TestLoadOfWhatCannotBeLoaded(t *testing.T) {
	if err := Load(exampleConfig{}, nil); err == nil {
		t.Error("a struct that is no pointer was accepted")
	}
	var c struct {
		C chan int `env:"SLUICE_C"`
	}
	if err := Load(&c, map[string]string{"SLUICE_C": "1"}); err == nil || !strings.Contains(err.Error(), "SLUICE_C") {
		t.Errorf("a channel as setting: %v", err)
	}
	var f struct {
		Key string `env:"SLUICE_KEY_FILE,file"`
	}
	want := `SLUICE_KEY_FILE="/no/such" is not allowed: want the name of a file that this process can read`
	if err := Load(&f, map[string]string{"SLUICE_KEY_FILE": "/no/such"}); err == nil || err.Error() != want {
		t.Errorf("got %v", err)
	}
}

// TestEdges: the bounds themselves are allowed, and so is what stands beside them.
func TestEdges(t *testing.T) {
	for name, values := range map[string][]string{
		"SLUICE_PARTITIONS": {"1", "1024"}, "SLUICE_BUFFER": {"0", "4096", "8192"}, "SLUICE_BACKLOG": {"0", "9223372036854775807"},
		"SLUICE_PING_INTERVAL": {"100ms", "30s"}, "SLUICE_SESSION_TTL": {"1h", "60m", "50s"}, "SLUICE_NAME": {"", "a.9-z"},
		"SLUICE_PREFIX": {"-:ABCDü8"}, "SLUICE_ADDR": {":0", "[::1]:65535", "h:", "localhost:http"}, "SLUICE_LOG_LEVEL": {"DEBUG", "error"},
	} {
		for _, value := range values {
			if err := Load(&exampleConfig{}, map[string]string{name: value}); err != nil {
				t.Errorf("%s=%q: %v", name, value, err)
			}
		}
	}
}

// TestCheck: what a program has filled itself is held to the same tags.
func TestCheck(t *testing.T) {
	var c exampleConfig
	if err := Load(&c, map[string]string{}); err != nil {
		t.Fatal(err)
	}
	if err := Check(&c); err != nil {
		t.Fatal(err)
	}
	c.Partitions, c.Auth.Secret, c.Session = -1, "geheim", 2*time.Second
	want := `SLUICE_PARTITIONS="-1" is not allowed: want a whole number from 1 to 1024` + "\n" +
		`SLUICE_JWT_SECRET=(hidden) is not allowed: want at least 8 bytes` + "\n" +
		`SLUICE_PING_INTERVAL="25s" is not allowed: want at most half of SLUICE_SESSION_TTL`
	if err := Check(&c); err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
	if err := Check(c); err == nil {
		t.Error("a struct that is no pointer was accepted")
	}
	preset := exampleConfig{Partitions: 2000}
	if err := Load(&preset, map[string]string{}); err == nil || !strings.Contains(err.Error(), "2000") {
		t.Errorf("a preset that is not allowed: %v", err)
	}
}

func TestUnknown(t *testing.T) {
	environ := map[string]string{"SLUICE_PARTITIONS": "1", "SLUICE_PARTITION": "1", "SLUICE_A": "1", "SLUICE_EMPTY": "", "HOME": "/"}
	if got := Unknown(&exampleConfig{}, environ, "SLUICE_"); !slices.Equal(got, []string{"SLUICE_A", "SLUICE_PARTITION"}) {
		t.Errorf("got %q", got)
	}
}

// A tag that cannot be read is a mistake of ours, and must not wait for somebody's value.
func TestMalformedTags(t *testing.T) {
	for name, cfg := range map[string]any{
		"bound": &struct {
			N int `env:"SLUICE_N" envDefault:"1" min:"one"`
		}{},
		"type": &struct {
			F float64 `env:"SLUICE_F" envDefault:"1" max:"2"`
		}{},
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", name)
				}
			}()
			_ = Load(cfg, map[string]string{})
		}()
	}
}

func TestFind(t *testing.T) {
	want := LogConfig{Level: slog.LevelDebug, Format: "json"}
	if got := Find[LogConfig](&exampleConfig{LogConfig: want}); got != want {
		t.Errorf("embedded: %v", got)
	}
	type inner struct{ Log LogConfig }
	if got := Find[LogConfig](&struct{ Inner inner }{inner{want}}); got != want {
		t.Errorf("nested: %v", got)
	}
	if got := Find[LogConfig](&struct{ A int }{}); got != (LogConfig{}) {
		t.Errorf("absent: %v", got)
	}
}
