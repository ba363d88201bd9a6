package ops

import (
	"context"
	"io"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

type usageConfig struct {
	Redis string `env:"SLUICE_REDIS_URL" envDefault:"redis://127.0.0.1:6379" help:"where Redis is: one address, the addresses of a Cluster, or of Sentinels, and a good deal more that does not fit into one line" allow:"redis://host:port" secret:"url"`
	Log   LogConfig
	Again LogConfig
	Key   string        `env:"SLUICE_KEY" help:"a key" allow:"any text" secret:"true"`
	Must  string        `env:"SLUICE_MUST,required" help:"a must" allow:"any text"`
	Wait  time.Duration `env:"SLUICE_WAIT" envDefault:"1s" help:"a wait"`
}

const usagePage = `worker: consumes the streams.

Usage: worker [-h] [-version] [command]

Commands:

  dead   list, requeue or drop dead letters
  other  nothing

Settings are environment variables; one that is set to "" counts as not set:

  SLUICE_REDIS_URL   where Redis is: one address, the addresses of a Cluster, or of Sentinels, and a
                     good deal more that does not fit into one line
                     allowed: redis://host:port
                     default: redis://joe:xxxxx@h:1

  SLUICE_LOG_LEVEL   the least level that is logged
                     allowed: debug, info, warn or error
                     default: info

  SLUICE_LOG_FORMAT  text for people, json for machines
                     allowed: text or json
                     default: text

  SLUICE_KEY         a key
                     allowed: any text
                     default: (hidden)

  SLUICE_MUST        a must
                     allowed: any text
                     default: none, it must be set

  SLUICE_WAIT        a wait
                     allowed: a duration such as 500ms, 25s or 24h
                     default: 2s
`

func TestUsage(t *testing.T) {
	nothing := func(context.Context, []string, io.Writer) error { return nil }
	var b strings.Builder
	writeUsage(&b, Program{
		Name: "worker", Summary: "consumes the streams.",
		Config: &usageConfig{Redis: "redis://joe:geheim@h:1", Key: "geheim", Wait: 2 * time.Second},
		Commands: map[string]Command{
			"dead":  {Summary: "list, requeue or drop dead letters", Run: nothing},
			"other": {Summary: "nothing", Run: nothing},
		},
	})
	if b.String() != usagePage {
		t.Errorf("got:\n%s\nwant:\n%s", b.String(), usagePage)
	}
}

func TestUsageWithoutCommands(t *testing.T) {
	var b strings.Builder
	Usage(&b, "gateway", strings.Repeat("wörd ", 60), &exampleConfig{})
	if !strings.Contains(b.String(), "Usage: gateway [-h] [-version]\n") {
		t.Errorf("got:\n%s", b.String())
	}
	if !strings.Contains(b.String(), "default: not set") {
		t.Error("no default is not said")
	}
	b.Reset()
	column(&b, "  NAME", strings.Repeat("x", pageWidth-10-3)+" ab cd", 10)
	column(&b, "  NAME", strings.Repeat("x", pageWidth-10-3)+" abc", 10)
	if got := strings.Count(b.String(), "\n"); got != 4 || !strings.Contains(b.String(), "x ab\n") {
		t.Errorf("not two lines and two lines, the first one full:\n%s", b.String())
	}
}

func TestUsageFits(t *testing.T) {
	var b strings.Builder
	Usage(&b, "gateway", strings.Repeat("wörd ", 60), &exampleConfig{})
	for line := range strings.Lines(b.String()) {
		if n := utf8.RuneCountInString(strings.TrimRight(line, "\n")); n > pageWidth {
			t.Errorf("%d columns: %s", n, line)
		}
	}
}
