// Command gateway holds the sockets of clients.
package main

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"sluice/gateway"
	"sluice/shared/ops"
	"sluice/shared/store"
)

type config struct {
	Gateway gateway.Config
	Admin   ops.AdminConfig
	Log     ops.LogConfig
}

func main() {
	var cfg config
	ops.Program{
		Name:     "gateway",
		Summary:  "Holds the WebSockets of clients and delivers events to them.",
		Config:   &cfg,
		UseLog:   store.UseLog,
		Run:      func(ctx context.Context, log *slog.Logger) error { return run(ctx, log, cfg) },
		Commands: map[string]ops.Command{"health": ops.HealthCommand(&cfg.Admin.Addr)},
	}.Main()
}

func run(ctx context.Context, log *slog.Logger, cfg config) error {
	reg := ops.NewRegistry("gateway")
	admin, err := ops.NewAdmin(cfg.Admin, reg, log)
	if err != nil {
		return err
	}
	listener, err := ops.Listen("SLUICE_ADDR", cfg.Gateway.Addr)
	if err != nil {
		return err
	}
	clients, err := gateway.NewTLS(cfg.Gateway, reg, log)
	if err != nil {
		return err
	}
	st, err := store.Open(cfg.Gateway.Store)
	if err != nil {
		return err
	}
	defer func() { _ = st.Close() }()
	var serving atomic.Pointer[gateway.Gateway]
	admin.Handle("GET /backlog", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if gw := serving.Load(); gw != nil {
			gw.Backlog(w, r)
			return
		}
		http.Error(w, `{"error":"waiting for Redis"}`, http.StatusServiceUnavailable)
	}))
	admin.AddReadyCheck("redis", st.Check)
	admin.AddReadyCheck("gateway", func() error {
		if gw := serving.Load(); gw != nil {
			return gw.Ready()
		}
		return errors.New("waiting for Redis")
	})

	// The admin address lives longer than the gateway: it says that it drains.
	adminCtx, stopAdmin := context.WithCancel(context.WithoutCancel(ctx))
	defer stopAdmin()
	g, adminCtx := errgroup.WithContext(adminCtx)
	g.Go(func() error { return admin.Run(adminCtx) })
	g.Go(func() error { return ops.TidyMemory(adminCtx) })
	g.Go(func() error {
		defer stopAdmin()
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		defer context.AfterFunc(adminCtx, cancel)()
		options := gateway.Options{Config: cfg.Gateway, Store: st, Listener: listener, TLS: clients, Log: log, Registry: reg}
		return serve(ctx, options, func(gw *gateway.Gateway) { serving.Store(gw) })
	})
	return g.Wait()
}

func serve(ctx context.Context, o gateway.Options, ready func(*gateway.Gateway)) error {
	err := o.Store.Await(ctx, func(err error) { o.Log.Warn("waiting for Redis", "err", err) })
	if err != nil {
		_ = o.Listener.Close()
		return ops.UnlessStopped(ctx, err)
	}
	gw, err := gateway.New(o)
	if err != nil {
		_ = o.Listener.Close()
		return err
	}
	ready(gw)
	o.Log.Info("accepting clients", "addr", o.Listener.Addr().String(), "server", gw.ID())
	return gw.Run(ctx)
}
