// Command playground serves the playground's page beside gateways that run elsewhere: a load balancer brings both
// together under one address, since the page opens its WebSocket on the host that it came from.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"golang.org/x/sync/errgroup"

	"sluice/infra/local/page"
	"sluice/shared/ops"
)

type config struct {
	Addr     string `env:"SLUICE_ADDR" envDefault:":8080" form:"host:port" help:"The address of the page."`
	RedisURL string `env:"SLUICE_REDIS_URL" secret:"url" allow:"a Redis URL" help:"The address of Redis that the page shows in its examples; the playground does not connect to it."`
	Admin    ops.AdminConfig
	Log      ops.LogConfig
}

func main() {
	var cfg config
	ops.Program{
		Name:     "playground",
		Summary:  "Serves the playground's page, beside gateways behind the same load balancer.",
		Config:   &cfg,
		Defaults: map[string]string{"SLUICE_ADMIN_ADDR": "127.0.0.1:9092"},
		Run:      func(ctx context.Context, log *slog.Logger) error { return run(ctx, log, cfg) },
		Commands: map[string]ops.Command{"health": ops.HealthCommand(&cfg.Admin.Addr)},
	}.Main()
}

func run(ctx context.Context, log *slog.Logger, cfg config) error {
	admin, err := ops.NewAdmin(cfg.Admin, ops.NewRegistry("playground"), log)
	if err != nil {
		return err
	}
	listener, err := ops.Listen("SLUICE_ADDR", cfg.Addr)
	if err != nil {
		return err
	}
	server := &http.Server{
		Handler: page.Handler(page.Options{RedisURL: cfg.RedisURL}), ReadTimeout: 10 * time.Second, WriteTimeout: 10 * time.Second,
		IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return admin.Run(ctx) })
	g.Go(func() error {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("cannot serve the page on %s any more: %w", listener.Addr(), err)
		}
		return nil
	})
	g.Go(func() error {
		<-ctx.Done()
		return server.Close() // a page is loaded again
	})
	return g.Wait()
}
