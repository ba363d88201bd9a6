// Command sluice-local is a whole installation in one process, for development.
package main

import (
	"context"
	"log/slog"
	"os"

	"sluice/infra/local"
	"sluice/shared/ops"
	"sluice/shared/store"
)

func main() {
	var cfg local.Config
	ops.Program{
		Name:     "sluice-local",
		Summary:  "A whole installation in one process, for development: gateway, worker, playground, and a Redis inside unless SLUICE_REDIS_URL names another.",
		Config:   &cfg,
		UseLog:   store.UseLog,
		Defaults: local.Defaults,
		Run: func(ctx context.Context, log *slog.Logger) error {
			return local.Run(ctx, cfg, os.Stdout, log)
		},
	}.Main()
}
