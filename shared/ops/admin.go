package ops

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
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

// Admin serves operators and their tools: /healthz, /readyz, /metrics,
// /debug/pprof/ and what Handle adds. It is not for clients: its address
// belongs on the loopback or on an internal network.
type Admin struct {
	listener net.Listener
	mux      *http.ServeMux
	log      *slog.Logger

	mu     sync.Mutex // guards checks
	checks []readyCheck
}

type readyCheck struct {
	name  string
	check func() error
}

// NewAdmin binds addr (SLUICE_ADMIN_ADDR; port 0 takes a free one) at once, so
// that a start fails early. End it with Run, or with Close if Run is never called.
func NewAdmin(addr string, reg *prometheus.Registry, log *slog.Logger) (*Admin, error) {
	listener, err := Listen("SLUICE_ADMIN_ADDR", addr)
	if err != nil {
		return nil, err
	}
	a := &Admin{listener: listener, mux: http.NewServeMux(), log: log}
	a.mux.HandleFunc("GET /healthz", healthy)
	a.mux.HandleFunc("GET /readyz", a.ready)
	a.mux.Handle("GET /metrics", promhttp.HandlerFor(reg, promhttp.HandlerOpts{
		Registry:            reg,
		ErrorLog:            slog.NewLogLogger(log.Handler(), slog.LevelError),
		MaxRequestsInFlight: adminScrapes,
	}))
	a.mux.HandleFunc("/debug/pprof/", pprof.Index)
	a.mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	a.mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	a.mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	a.mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	return a, nil
}

// Addr is the address that was bound.
func (a *Admin) Addr() string { return a.listener.Addr().String() }

// Handle adds a handler, also while Run serves. A pattern (as of
// http.ServeMux) that is there already panics.
func (a *Admin) Handle(pattern string, h http.Handler) { a.mux.Handle(pattern, h) }

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
