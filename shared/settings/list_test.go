package settings

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

type listConfig struct {
	Redis string `env:"SLUICE_REDIS_URL" envDefault:"redis://127.0.0.1:6379" help:"where Redis is: one address, the addresses of a Cluster, or of Sentinels, and a good deal more that does not fit into one line" allow:"redis://host:port" secret:"url"`
	Log   LogConfig
	Again LogConfig
	Key   string        `env:"SLUICE_KEY" help:"a key" secret:"true"`
	Must  string        `env:"SLUICE_MUST,required" help:"a must"`
	Wait  time.Duration `env:"SLUICE_WAIT" envDefault:"1s" min:"1s" max:"10m" or:"0s" help:"a wait"`
	Own   int           `env:"SLUICE_OWN" envDefault:"1" help:"what the program has another default for"`
	Not   string        `env:"SLUICE_NOT" help:"nothing"`
}

const listPage = `  SLUICE_REDIS_URL   where Redis is: one address, the addresses of a Cluster, or of Sentinels, and a
                     good deal more that does not fit into one line
                     allowed: redis://host:port
                     default: redis://joe:xxxxx@h:1

  SLUICE_LOG_LEVEL   the lowest level
                     allowed: debug, info, warn or error
                     default: info

  SLUICE_LOG_FORMAT  how
                     allowed: text or json
                     default: text

  SLUICE_KEY         a key
                     allowed: any text
                     default: (hidden)

  SLUICE_MUST        a must
                     allowed: any text
                     default: none, it must be set

  SLUICE_WAIT        a wait
                     allowed: 0s, or a duration with its unit (ms, s, m or h) from 1s to 10m
                     default: 2s

  SLUICE_OWN         what the program has another default for
                     allowed: a whole number
                     default: 7

  SLUICE_NOT         nothing
                     allowed: any text
                     default: not set
`

func TestList(t *testing.T) {
	got := List(&listConfig{Redis: "redis://joe:geheim@h:1", Key: "geheim", Wait: 2 * time.Second}, map[string]string{"SLUICE_OWN": "7"})
	if got != listPage {
		t.Errorf("got:\n%s\nwant:\n%s", got, listPage)
	}
}

func TestColumn(t *testing.T) {
	var b strings.Builder
	Column(&b, "  NAME", strings.Repeat("x", pageWidth-10-3)+" ab cd", 10)
	Column(&b, "  NAME", strings.Repeat("x", pageWidth-10-3)+" abc", 10)
	if got := strings.Count(b.String(), "\n"); got != 4 || !strings.Contains(b.String(), "x ab\n") {
		t.Errorf("not two lines and two lines, the first one full:\n%s", b.String())
	}
	b.Reset()
	Column(&b, "", strings.Repeat("wörd ", 60), 4)
	for line := range strings.Lines(b.String()) {
		if n := utf8.RuneCountInString(strings.TrimRight(line, "\n")); n > pageWidth {
			t.Errorf("%d columns: %s", n, line)
		}
	}
}
