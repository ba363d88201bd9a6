package ops

import (
	"io"
	"log/slog"
)

// LogConfig says what is logged and how. Its zero value is level info as text.
type LogConfig struct {
	Level  slog.Level `env:"SLUICE_LOG_LEVEL" envDefault:"info" oneof:"debug,info,warn,error" help:"The lowest level that is logged."`
	Format string     `env:"SLUICE_LOG_FORMAT" envDefault:"text" oneof:"text,json" help:"How a line of the log looks: text is for people, json for machines."`
}

// NewLogger logs to w, one line an entry.
func NewLogger(w io.Writer, c LogConfig) *slog.Logger {
	o := &slog.HandlerOptions{Level: c.Level}
	if c.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, o))
	}
	return slog.New(slog.NewTextHandler(w, o))
}
