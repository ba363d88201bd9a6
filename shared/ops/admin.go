package ops

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

const (
	adminShutdown   = 2 * time.Second  // for requests that are under way when Run is to end
	adminHeader     = 5 * time.Second  // for a client to send its request's head
	adminRead       = 10 * time.Second // and the whole of it
	adminWrite      = 30 * time.Second // to take the answer; pprof adds its own seconds to it
	adminIdle       = 60 * time.Second
	adminHeaderSize = 16 << 10 // bytes
	adminScrapes    = 4        // at a time; more are refused
)

// AdminConfig are the settings of the admin address. A program may have another
// default for Addr.
type AdminConfig struct {
	Addr  string `env:"SLUICE_ADMIN_ADDR" envDefault:"127.0.0.1:9090" form:"host:port" help:"The address of /healthz, /readyz, /metrics and the like, for operators only."`
	Token string `env:"SLUICE_ADMIN_TOKEN" secret:"true" allow:"any text without spaces, better 32 characters or more" without:"space" help:"What requests to the admin address must bring as Authorization: Bearer <token>, except to /healthz and /readyz. Without it these two are all that is served where SLUICE_ADMIN_ADDR is not a loopback address."`
	Pprof bool   `env:"SLUICE_ADMIN_PPROF" envDefault:"false" help:"Whether /debug/pprof is served, one profile at a time, of at most 60 seconds."`
}

// Admin serves operators and their tools: /healthz and /readyz to everybody, and
// /metrics, /debug/pprof/ and what Handle adds to those who may (adminguard.go).
// It is not for clients: its address belongs on the loopback or on an internal network.
type Admin struct {
	listener net.Listener
	mux      *http.ServeMux
	guard    guard
	log      *slog.Logger

	mu     sync.Mutex // guards checks
	checks []readyCheck
}

type readyCheck struct {
	name  string
	check func() error
}

// NewAdmin binds the address (port 0 takes a free one) at once, so that a start
// fails early. End it with Run, or with Close if Run is never called.
func NewAdmin(cfg AdminConfig, reg *prometheus.Registry, log *slog.Logger) (*Admin, error) {
	listener, err := Listen("SLUICE_ADMIN_ADDR", cfg.Addr)
	if err != nil {
		return nil, err
	}
	a := &Admin{listener: listener, mux: http.NewServeMux(), guard: newGuard(cfg.Token, listener.Addr()), log: log}
	if a.guard.closed() {
		log.Warn("metrics are not served: SLUICE_ADMIN_ADDR is not a loopback address, and SLUICE_ADMIN_TOKEN is not set", "addr", a.Addr())
	}
	a.mux.HandleFunc("GET /healthz", healthy)
	a.mux.HandleFunc("GET /readyz", a.ready)
	a.Handle("GET /metrics", promhttp.HandlerFor(reg, promhttp.HandlerOpts{
		Registry:            reg,
		ErrorLog:            slog.NewLogLogger(log.Handler(), slog.LevelError),
		MaxRequestsInFlight: adminScrapes,
	}))
	a.Handle("GET /debug/pprof/", profiles(cfg.Pprof))
	return a, nil
}

// Addr is the address that was bound.
func (a *Admin) Addr() string { return a.listener.Addr().String() }

// Handle adds a handler for those who may, also while Run serves. A pattern (as of
// http.ServeMux) that is there already panics.
func (a *Admin) Handle(pattern string, h http.Handler) { a.mux.Handle(pattern, a.guard.wrap(h)) }

// AddReadyCheck makes /readyz depend on check, which says why the process is
// not ready, or nil. It runs at each request, at several at once, and so must
// not block: look at a state that something else keeps.
func (a *Admin) AddReadyCheck(name string, check func() error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.checks = append(a.checks, readyCheck{name, check})
}

// Run serves until ctx ends, then gives requests under way two seconds. Its
// ctx should outlive the drain of what it reports on: a process that drains
// answers 503 on /readyz, and its metrics still matter.
func (a *Admin) Run(ctx context.Context) error {
	srv := &http.Server{
		Handler:           a.mux,
		ReadHeaderTimeout: adminHeader,
		ReadTimeout:       adminRead,
		WriteTimeout:      adminWrite,
		IdleTimeout:       adminIdle,
		MaxHeaderBytes:    adminHeaderSize,
		ErrorLog:          slog.NewLogLogger(a.log.Handler(), slog.LevelWarn),
		// A profile of 30 s ends with ctx and does not hold up the shutdown.
		BaseContext: func(net.Listener) context.Context { return ctx },
	}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(a.listener) }()
	var err error
	select {
	case err = <-served:
	case <-ctx.Done():
		bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), adminShutdown)
		defer cancel()
		if srv.Shutdown(bounded) != nil {
			srv.Close()
		}
		err = <-served
	}
	if !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("the admin server on %s stopped serving: %w", a.Addr(), err)
	}
	return nil
}

// Close frees the address of an Admin that was never run.
func (a *Admin) Close() error { return a.listener.Close() }

func healthy(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	fmt.Fprintln(w, "ok")
}

// readiness is the answer of /readyz.
type readiness struct {
	Ready  bool          `json:"ready"`
	Checks []checkResult `json:"checks"`
}

type checkResult struct {
	Name   string `json:"name"`
	Ready  bool   `json:"ready"`
	Reason string `json:"reason,omitempty"`
}

func (a *Admin) ready(w http.ResponseWriter, _ *http.Request) {
	a.mu.Lock()
	checks := a.checks // only ever appended to
	a.mu.Unlock()

	answer := readiness{Ready: true, Checks: []checkResult{}}
	for _, c := range checks {
		result := checkResult{Name: c.name, Ready: true}
		if err := c.check(); err != nil {
			result.Ready, result.Reason = false, err.Error()
			answer.Ready = false
		}
		answer.Checks = append(answer.Checks, result)
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	if !answer.Ready {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	json.NewEncoder(w).Encode(answer) //nolint:errcheck // the prober has gone
}
