package ops

import (
	"io"
	"log/slog"
	"reflect"
)

// LogConfig says what is logged and how. Its zero value is level info as text.
type LogConfig struct {
	Level  slog.Level `env:"SLUICE_LOG_LEVEL" envDefault:"info" help:"the least level that is logged" allow:"debug, info, warn or error"`
	Format string     `env:"SLUICE_LOG_FORMAT" envDefault:"text" help:"text for people, json for machines" allow:"text or json"`
}

// Validate refuses levels between the named ones, which slog itself would take.
func (c LogConfig) Validate() error {
	switch c.Level {
	case slog.LevelDebug, slog.LevelInfo, slog.LevelWarn, slog.LevelError:
	default:
		return Invalid{Name: "SLUICE_LOG_LEVEL"}
	}
	switch c.Format {
	case "", "text", "json":
	default:
		return Invalid{Name: "SLUICE_LOG_FORMAT"}
	}
	return nil
}

// NewLogger logs to w, one line an entry.
func NewLogger(w io.Writer, c LogConfig) *slog.Logger {
	o := &slog.HandlerOptions{Level: c.Level}
	if c.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, o))
	}
	return slog.New(slog.NewTextHandler(w, o))
}

// logConfig finds the LogConfig in cfg; the zero one if there is none.
func logConfig(cfg any) (found LogConfig) {
	v := reflect.Indirect(reflect.ValueOf(cfg))
	if v.Kind() != reflect.Struct {
		return found
	}
	walk(v, func(setting) {}, func(v reflect.Value) {
		if c, ok := v.Interface().(LogConfig); ok {
			found = c
		}
	})
	return found
}
