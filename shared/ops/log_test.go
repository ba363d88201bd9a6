package ops

import (
	"encoding/json"
	"log/slog"
	"strings"
	"testing"
)

func TestNewLogger(t *testing.T) {
	var b strings.Builder
	log := NewLogger(&b, LogConfig{Level: slog.LevelWarn, Format: "json"})
	log.Info("not this")
	log.Warn("this", "n", 1)
	var line struct {
		Msg, Level string
		N          int
	}
	if err := json.Unmarshal([]byte(b.String()), &line); err != nil || line.Msg != "this" || line.Level != "WARN" || line.N != 1 {
		t.Errorf("%v: %s", err, b.String())
	}

	b.Reset()
	log = NewLogger(&b, LogConfig{})
	log.Debug("not this")
	log.Info("this", "n", 1)
	if got := b.String(); !strings.HasSuffix(got, "level=INFO msg=this n=1\n") || strings.Contains(got, "not") {
		t.Errorf("got %s", got)
	}
}
