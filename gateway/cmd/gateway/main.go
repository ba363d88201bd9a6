// Command gateway holds the sockets of clients.
package main

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"sluice/gateway"
	"sluice/shared/ops"
	"sluice/shared/store"
)

type config struct {
	Gateway   gateway.Config
	AdminAddr string `env:"SLUICE_ADMIN_ADDR" envDefault:"127.0.0.1:9090" form:"host:port" help:"The address of /healthz, /readyz, /metrics and /debug/pprof, for operators only."`
	Log       ops.LogConfig
}

func main() {
	var cfg config
	ops.Program{
		Name:     "gateway",
		Summary:  "Holds the WebSockets of clients and delivers events to them.",
		Config:   &cfg,
		UseLog:   store.UseLog,
		Run:      func(ctx context.Context, log *slog.Logger) error { return run(ctx, log, cfg) },
		Commands: map[string]ops.Command{"health": ops.HealthCommand(&cfg.AdminAddr)},
	}.Main()
}

func run(ctx context.Context, log *slog.Logger, cfg config) error {
	reg := ops.NewRegistry("gateway")
	admin, err := ops.NewAdmin(cfg.AdminAddr, reg, log)
	if err != nil {
		return err
	}
	listener, err := ops.Listen("SLUICE_ADDR", cfg.Gateway.Addr)
	if err != nil {
		return err
	}
	if w := cfg.Gateway.Auth.Warning(); w != "" {
		log.Warn("a setting works, but should be changed", "why", w)
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
		return serve(ctx, log, cfg, st, listener, func(gw *gateway.Gateway) { serving.Store(gw) }, reg)
	})
	return g.Wait()
}

func serve(ctx context.Context, log *slog.Logger, cfg config, st *store.Store, l net.Listener,
	ready func(*gateway.Gateway), reg *prometheus.Registry) error {
	err := st.Await(ctx, func(err error) { log.Warn("waiting for Redis", "err", err) })
	if err != nil {
		_ = l.Close()
		return ops.UnlessStopped(ctx, err)
	}
	gw, err := gateway.New(gateway.Options{Config: cfg.Gateway, Store: st, Listener: l, Log: log, Registry: reg})
	if err != nil {
		_ = l.Close()
		return err
	}
	ready(gw)
	log.Info("accepting clients", "addr", l.Addr().String(), "server", gw.ID())
	return gw.Run(ctx)
}
