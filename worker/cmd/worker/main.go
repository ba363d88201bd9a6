// Command worker brings events from Redis Streams to the gateways.
package main

import (
	"context"
	"io"
	"log/slog"
	"os"
	"runtime/debug"

	"golang.org/x/sync/errgroup"

	"sluice/shared/ops"
	"sluice/shared/store"
	"sluice/worker"
)

type config struct {
	Worker worker.Config
	Admin  ops.AdminConfig
	Log    ops.LogConfig
}

func main() {
	var cfg config
	var drain bool
	ops.Program{
		Name:    "worker",
		Summary: "Takes events from Redis Streams, in order, keeps their history and sends them to the gateways.",
		Config:  &cfg,
		// A gateway on the same machine has the usual one.
		Defaults: map[string]string{"SLUICE_ADMIN_ADDR": "127.0.0.1:9091"},
		UseLog:   store.UseLog,
		Run:      func(ctx context.Context, log *slog.Logger) error { return run(ctx, log, cfg, drain) },
		Switches: map[string]ops.Switch{
			"drain": {Summary: "Ends the worker, with 0, when nothing has waited for SLUICE_DRAIN_IDLE.", On: &drain},
		},
		Commands: map[string]ops.Command{
			"dead": {
				Summary: "Lists dead letters (dead list [-json]), appends them again (dead requeue ID... or all) or deletes them (dead drop ID... or all).",
				Run: func(ctx context.Context, args []string, out io.Writer) error {
					return worker.DeadLetters(ctx, cfg.Worker.Store, args, out)
				},
			},
			"partition": {
				Summary: "partition, hash tag and stream of a target: partition TARGET",
				Run: func(_ context.Context, args []string, out io.Writer) error {
					return partition(&cfg.Worker.Store, args, out)
				},
			},
			"acl": {
				Summary: "Prints the rights in Redis of each tier, as lines of a file of users; add \"on\" and a password to each.",
				Run: func(_ context.Context, args []string, out io.Writer) error {
					return acl(cfg.Worker.Store.Prefix, args, out)
				},
			},
			"health": ops.HealthCommand(&cfg.Admin.Addr),
		},
	}.Main()
}

func run(ctx context.Context, log *slog.Logger, cfg config, drain bool) error {
	reg := ops.NewRegistry("worker")
	admin, err := ops.NewAdmin(cfg.Admin, reg, log)
	if err != nil {
		return err
	}
	st, err := store.Open(cfg.Worker.Store)
	if err != nil {
		return err
	}
	defer func() { _ = st.Close() }()
	admin.AddReadyCheck("redis", st.Check)

	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(200) // what it holds is small, and every event makes garbage
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return admin.Run(ctx) })
	g.Go(func() error {
		defer stop() // with -drain it ends by itself
		err := st.Await(ctx, func(err error) { log.Warn("waiting for Redis", "err", err) })
		if err != nil {
			return ops.UnlessStopped(ctx, err)
		}
		w := worker.New(worker.Options{Store: st, Config: cfg.Worker, Log: log, Registry: reg, OwnThreads: true, Drain: drain})
		admin.AddReadyCheck("worker", w.Ready)
		return w.Run(ctx)
	})
	return g.Wait()
}
