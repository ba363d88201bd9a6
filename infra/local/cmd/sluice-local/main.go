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
		Summary:  "Runs a whole installation in one process, for development: two gateways, worker, playground and an embedded Redis, or the Redis of SLUICE_REDIS_URL.",
		Config:   &cfg,
		UseLog:   store.UseLog,
		Defaults: local.Defaults,
		Run: func(ctx context.Context, log *slog.Logger) error {
			return local.Run(ctx, cfg, os.Stdout, log)
		},
	}.Main()
}
