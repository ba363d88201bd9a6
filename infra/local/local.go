// Package local is a whole installation in one process, for development: two gateways,
// a worker, the playground, and a Redis inside unless another one is given.
package local

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"syscall"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"sluice/gateway"
	"sluice/gateway/auth"
	"sluice/infra/local/page"
	"sluice/shared/ops"
	"sluice/shared/settings"
	"sluice/shared/store"
	"sluice/worker"
	"sluice/worker/functions"
)

// Config are the settings of the process.
type Config struct {
	Gateway   gateway.Config
	Acks      worker.AckConfig
	Slow      worker.SlowConfig
	Functions functions.Config
	Admin     ops.AdminConfig
	Log       ops.LogConfig
}

// Embedded in the place of a Redis URL asks for the Redis inside.
const Embedded = "redis://embedded"

// Defaults are those of the variables that differ from the binaries' for production.
var Defaults = map[string]string{
	"SLUICE_REDIS_URL":     Embedded,
	"SLUICE_ADDR":          "127.0.0.1:8080",
	"SLUICE_AUTH":          "dev",
	"SLUICE_DRAIN_TIMEOUT": "2s",
	"SLUICE_LOG_LEVEL":     "warn",
}

// Run serves until ctx ends. What a newcomer needs is written to out.
func Run(ctx context.Context, cfg Config, out io.Writer, log *slog.Logger) error {
	clients, err := listen("SLUICE_ADDR", cfg.Gateway.Addr, out)
	if err != nil {
		return err
	}
	defer func() { _ = clients.Close() }()
	reg := ops.NewRegistry("local")
	admin, err := adminOn(cfg.Admin, reg, log, out)
	if err != nil {
		return err
	}
	clientTLS, err := gateway.NewTLS(cfg.Gateway, reg, log)
	if err != nil {
		return err
	}
	embedded := cfg.Gateway.Store.RedisURL == Embedded
	if embedded {
		stop, url, err := startRedis(out)
		if err != nil {
			return err
		}
		defer stop()
		cfg.Gateway.Store.RedisURL = url
	}
	// In the Redis of others it might take their functions' place.
	var fn *example
	if embedded && cfg.Gateway.Auth.Mode == auth.ModeDev && !cfg.Functions.Enabled() {
		if fn, err = startExample(&cfg.Functions); err != nil {
			return err
		}
		defer fn.stop()
	}
	st, err := store.Open(cfg.Gateway.Store)
	if err != nil {
		return err
	}
	defer func() { _ = st.Close() }()
	admin.AddReadyCheck("redis", st.Check)

	inner, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	g, inner := errgroup.WithContext(inner)
	g.Go(func() error { return admin.Run(inner) })
	g.Go(func() error {
		defer stop()
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		defer context.AfterFunc(inner, cancel)()
		if err := st.Await(ctx, func(err error) { log.Warn("waiting for Redis", "err", err) }); err != nil {
			return ops.UnlessStopped(ctx, err)
		}
		return tiers(ctx, cfg, st, clients, clientTLS, fn, out, log, reg, admin)
	})
	return g.Wait()
}

// tiers runs the gateways and the worker. The worker ends last, so that the gateway's
// clients get what is on its way.
func tiers(ctx context.Context, cfg Config, st *store.Store, clients net.Listener, clientTLS *tls.Config, fn *example, out io.Writer,
	log *slog.Logger, reg *prometheus.Registry, admin *ops.Admin) error {
	redisURL, addr := cfg.Gateway.Store.RedisURL, clients.Addr().String()
	shown := page.Options{RedisURL: redisURL}
	other := func(context.Context) error { return nil }
	if cfg.Gateway.Auth.Mode == auth.ModeDev { // else a page has no token
		s, err := newSecond(cfg.Gateway, addr, st, clientTLS, log)
		if err != nil {
			return err
		}
		shown.Second, shown.Control, other = s.addr, s.handler(fn), s.run
	}
	gw, err := gateway.New(gateway.Options{
		Config: cfg.Gateway, Store: st, Listener: clients, TLS: clientTLS, Log: log, Registry: reg, Page: page.Handler(shown),
	})
	if err != nil {
		return err
	}
	admin.AddReadyCheck("gateway", gw.Ready)
	w := worker.New(worker.Options{
		Store: st, Log: log, Registry: reg,
		Config: worker.Config{Store: cfg.Gateway.Store, Acks: cfg.Acks, Slow: cfg.Slow, Functions: cfg.Functions, ServerID: cfg.Gateway.ServerID},
	})
	admin.AddReadyCheck("worker", w.Ready)
	if cfg.Functions.Enabled() { // the worker says so as well, but a page may call in the gateway's first second
		if err := st.SetFunctions(ctx, cfg.Functions.Kinds()); err != nil {
			return ops.UnlessStopped(ctx, err)
		}
	}
	introduce(out, addr, clientTLS != nil, redisURL, cfg.Gateway.Store.Prefix, cfg.Gateway.Auth.Mode)

	working, stopWorking := context.WithCancel(context.WithoutCancel(ctx))
	defer stopWorking()
	g, working := errgroup.WithContext(working)
	g.Go(func() error { return w.Run(working) })
	g.Go(func() error {
		defer stopWorking()
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		defer context.AfterFunc(working, cancel)()
		gateways, ctx := errgroup.WithContext(ctx)
		gateways.Go(func() error { return gw.Run(ctx) })
		gateways.Go(func() error { return other(ctx) })
		return gateways.Wait()
	})
	return g.Wait()
}

// listen binds addr, or a free port beside it when that one is taken, and says so.
func listen(variable, addr string, out io.Writer) (net.Listener, error) {
	l, err := ops.Listen(variable, addr)
	if !errors.Is(err, syscall.EADDRINUSE) {
		return l, err
	}
	host, _, _ := net.SplitHostPort(addr)
	free, err := ops.Listen(variable, net.JoinHostPort(host, "0"))
	if err == nil {
		_, _ = fmt.Fprintf(out, "%s is taken (%s), using %s\n", addr, variable, free.Addr())
	}
	return free, err
}

func adminOn(cfg ops.AdminConfig, reg *prometheus.Registry, log *slog.Logger, out io.Writer) (*ops.Admin, error) {
	admin, err := ops.NewAdmin(cfg, reg, log)
	if !errors.Is(err, syscall.EADDRINUSE) {
		return admin, err
	}
	taken := cfg.Addr
	host, _, _ := net.SplitHostPort(taken)
	cfg.Addr = net.JoinHostPort(host, "0")
	if admin, err = ops.NewAdmin(cfg, reg, log); err == nil {
		_, _ = fmt.Fprintf(out, "%s is taken (SLUICE_ADMIN_ADDR), using %s\n", taken, admin.Addr())
	}
	return admin, err
}

// introduce tells a newcomer what to do.
func introduce(out io.Writer, addr string, secure bool, redisURL, prefix, mode string) {
	token := "dev:alice"
	if mode != "dev" {
		token = "<your JWT>"
	}
	s := ""
	if secure {
		s = "s"
	}
	ws := "ws" + s + "://" + addr + "/v1/ws?token=" + token
	_, _ = fmt.Fprintf(out, `
Sluice runs. Ctrl-C stops it.

  page     http%s://%s/
  connect  npx wscat -c '%s'
  add      redis-cli -u %s XADD %sevents '*' to user:alice data '{"hello":1}'
  resume   npx wscat -c '%s&last_event_id=<id of the last event you got>'

`, s, addr, ws, strings.TrimSuffix(settings.RedactURL(redisURL), "/"), prefix, ws)
}
