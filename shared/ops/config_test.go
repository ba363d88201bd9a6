package ops

import (
	"errors"
	"fmt"
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
	Partitions int           `env:"SLUICE_PARTITIONS" envDefault:"16" help:"into how many partitions targets are divided" allow:"a whole number from 1 to 1024"`
	Frame      ByteSize      `env:"SLUICE_MAX_FRAME_BYTES" envDefault:"64KiB" help:"the largest data of an event"`
	Ping       time.Duration `env:"SLUICE_PING_INTERVAL" envDefault:"25s" help:"between two pings"`
	Origins    []string      `env:"SLUICE_ALLOWED_ORIGINS" help:"origins of pages that may connect" allow:"a list divided by commas"`
	Anywhere   bool          `env:"SLUICE_AUTH_DEV_ANYWHERE" help:"dev tokens on any address"`
	Keys       *url.URL      `env:"SLUICE_JWKS_URL" help:"where keys are fetched"`
	Auth       authConfig
	One, Two   struct {
		Twice bool `env:"SLUICE_TWICE"`
	}
	LogConfig
}

type authConfig struct {
	Mode   string `env:"SLUICE_AUTH" envDefault:"jwt" help:"how clients prove who they are" allow:"jwt or dev"`
	Secret string `env:"SLUICE_JWT_SECRET" help:"the key of HS256 tokens" allow:"at least 8 bytes" secret:"true"`
}

func (c *authConfig) Validate() error {
	var secret error
	if len(c.Secret) > 0 && len(c.Secret) < 8 {
		secret = Invalid{Name: "SLUICE_JWT_SECRET", Value: c.Secret}
	}
	if c.Mode == "broken" { // an error of somebody else, with the secret in it
		return fmt.Errorf("key %q is broken", c.Secret)
	}
	if c.Mode == "keyless" {
		return Invalid{Name: "SLUICE_JWT_SECRET", Allowed: "a key, since SLUICE_AUTH is keyless"}
	}
	if c.Mode != "jwt" && c.Mode != "dev" {
		return errors.Join(Invalid{Name: "SLUICE_AUTH"}, secret)
	}
	return secret
}

func (c *exampleConfig) Validate() error {
	if c.Partitions < 1 || c.Partitions > 1024 {
		return Invalid{Name: "SLUICE_PARTITIONS"}
	}
	if _, err := url.Parse(c.Redis); err != nil {
		return Invalid{Name: "SLUICE_REDIS_URL", Value: c.Redis}
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
		Redis: "redis://127.0.0.1:6379", Partitions: 16, Frame: 64 * KiB, Ping: 25 * time.Second,
		Auth: authConfig{Mode: "jwt"}, LogConfig: LogConfig{Format: "text"},
	}
	if !reflect.DeepEqual(c, want) {
		t.Errorf("got  %+v\nwant %+v", c, want)
	}
}

func TestLoadValues(t *testing.T) {
	var c exampleConfig
	err := Load(&c, map[string]string{
		"SLUICE_REDIS_URL": "rediss://h:1", "SLUICE_PARTITIONS": "4", "SLUICE_MAX_FRAME_BYTES": "1MiB",
		"SLUICE_PING_INTERVAL": "1m30s", "SLUICE_ALLOWED_ORIGINS": "https://a,https://b",
		"SLUICE_AUTH_DEV_ANYWHERE": "1", "SLUICE_JWKS_URL": "https://keys/x", "SLUICE_AUTH": "dev",
		"SLUICE_JWT_SECRET": "12345678", "SLUICE_LOG_LEVEL": "warn", "SLUICE_LOG_FORMAT": "json",
	})
	if err != nil {
		t.Fatal(err)
	}
	if c.Redis != "rediss://h:1" || c.Partitions != 4 || c.Frame != MiB || c.Ping != 90*time.Second ||
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
			`SLUICE_PING_INTERVAL="25" is not allowed: want a duration such as 500ms, 25s or 24h`},
		{"size", map[string]string{"SLUICE_MAX_FRAME_BYTES": "64 kilo"},
			`SLUICE_MAX_FRAME_BYTES="64 kilo" is not allowed: want a size such as 65536, 64KiB or 1MiB`},
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
			`SLUICE_AUTH="none" is not allowed: want jwt or dev`},
		{"secret", map[string]string{"SLUICE_JWT_SECRET": "geheim"},
			`SLUICE_JWT_SECRET=(hidden) is not allowed: want at least 8 bytes`},
		{"missing, as another needs it", map[string]string{"SLUICE_AUTH": "keyless"},
			`SLUICE_JWT_SECRET is not set: want a key, since SLUICE_AUTH is keyless`},
		{"secret in another's error", map[string]string{"SLUICE_AUTH": "broken", "SLUICE_JWT_SECRET": `ge"heim!!`},
			`key "(hidden)" is broken`},
		{"URL with a bad port", map[string]string{"SLUICE_REDIS_URL": "redis://joe:geheim@h:port/0"},
			`SLUICE_REDIS_URL="redis://joe:xxxxx@h:port/0" is not allowed: want redis://host:port`},
		{"two of them, a sentence each", map[string]string{"SLUICE_PARTITIONS": "x", "SLUICE_PING_INTERVAL": "y"},
			`SLUICE_PARTITIONS="x" is not allowed: want a whole number from 1 to 1024` + "\n" +
				`SLUICE_PING_INTERVAL="y" is not allowed: want a duration such as 500ms, 25s or 24h`},
		{"two of one Validate", map[string]string{"SLUICE_AUTH": "x", "SLUICE_JWT_SECRET": "geheim"},
			`SLUICE_AUTH="x" is not allowed: want jwt or dev` + "\n" +
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
