package gateway

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"sluice/gateway/acks"
	"sluice/gateway/admit"
	"sluice/gateway/api"
	"sluice/gateway/auth"
	"sluice/gateway/calls"
	"sluice/gateway/history"
	"sluice/gateway/limits"
	"sluice/gateway/listen"
	"sluice/gateway/live"
	"sluice/gateway/lock"
	"sluice/gateway/publish"
	"sluice/gateway/sessions"
	"sluice/gateway/slow"
	"sluice/gateway/socket"
	"sluice/gateway/wake"
	"sluice/shared/ops"
	"sluice/shared/store"
	"sluice/shared/wire"
)

// Options are what a gateway is made of.
type Options struct {
	Config   Config
	Store    *store.Store // opened and ready; the caller closes it after Run
	Listener net.Listener // where clients connect; closed by Run
	TLS      *tls.Config  // of NewTLS; nil: clients come without
	Log      *slog.Logger
	Registry *prometheus.Registry
	Page     http.Handler // optional: answers everything but /v1/
}

// New makes a gateway; Run starts it.
func New(o Options) (*Gateway, error) {
	verifier, err := auth.New(o.Config.Auth)
	if err != nil {
		return nil, err
	}
	if w := o.Config.Auth.Warning(); w != "" {
		o.Log.Warn("a setting works, but should be changed", "why", w)
	}
	if o.TLS != nil {
		o.Listener = socket.TLSListener(o.Listener, o.TLS)
	}
	if lock.Checked {
		o.Store.Before(func() { lock.None("asks Redis") })
	}
	id := o.Config.ServerID
	if id == "" {
		id = ops.ProcessName()
	}
	g := &Gateway{
		cfg: o.Config, limits: o.Config.Limits.Effective(), id: id, store: o.Store,
		users: limits.NewParties(),
		log:   o.Log.With("server", id), verifier: verifier, page: o.Page,
		metrics: newMetrics(o.Registry),
		sockets: socket.NewGroup(socket.Options{
			MaxMessage: o.Config.Store.MaxData + maxMessage, QueueBytes: o.Config.SendQueueBytes, SendBuffer: o.Config.SendBuffer,
			PingInterval: o.Config.PingInterval, StreamPing: min(streamPing, o.Config.PingInterval), CloseTimeout: closeTimeout,
		}),
		conns: make(map[string]*conn),
	}
	g.listener = listen.New(o.Listener, listen.Options{
		Config: o.Config.Listen, Files: listen.Files(), Bound: g.sockets.Bound, Log: g.log,
		Refused: func(reason string, client netip.Addr) { g.admission.Count(reason, 0, client) },
	})
	watchPending(o.Registry, g.listener.Pending)
	g.openers = newOpeners(&g.wg)
	g.longFrames = newLongFrames()
	g.sessions = sessions.New(sessions.Options{
		Server: id, Store: o.Store, Partitions: o.Config.Store.Partitions, TTL: o.Config.Store.SessionTTL,
		About: g.about, Missed: g.missed, Failed: g.metrics.sessionFailures.Inc, Log: g.log,
	})
	g.history = history.NewReader(o.Store.History, cmp.Or(o.Config.ReadBytes, defaultReadBytes), o.Config.Store.MaxData)
	g.flow = live.New(live.Options{
		Partitions: o.Config.Store.Partitions, Partition: o.Store.Partition, History: g.history, Sessions: admit.Sessions{Sessions: g.sessions, Store: o.Store},
		NowMs: o.Store.NowMs, TTLMs: o.Store.HistoryTTLMs(), HeardMs: g.heardMs, TermBegan: g.termBegan, Lost: func(p int) { g.kicks.Lost(p) },
		Metrics: &g.metrics.live, Log: g.log,
	})
	g.addParts(&o)
	return g, nil
}

// addParts makes what clients' requests go through; sockets, sessions and the live flow are there.
func (g *Gateway) addParts(o *Options) {
	g.lags = slow.New(slow.Options{Server: g.id, Store: o.Store, Metrics: &g.metrics.slow, Log: g.log})
	g.publisher = publish.New(publish.Options{
		Server: g.id, Store: o.Store, MaxEntries: o.Config.MaxBacklog, MaxBytes: o.Config.MaxBacklogBytes, Metrics: &g.metrics.publish, Log: g.log,
	})
	g.acks = acks.New(acks.Options{
		Store: o.Store, StreamSize: o.Config.AcksSize, CursorTTL: o.Config.CursorTTL, Targets: o.Config.MaxTargets,
		StoodStill: g.sockets.StoodStill, Clients: g.ackers, Metrics: &g.metrics.acks, Log: g.log,
	})
	g.kicks = admit.NewKicks(o.Store.Kicks, func(k *wire.Kick) { g.kick(k, 0) }, g.log)
	g.calls = calls.New(calls.Options{
		Server: g.id, Store: o.Store, Timeout: cmp.Or(o.Config.CallTimeout, defaultCallTimeout), NoRoom: g.publisher.RefusesCall,
		Begin: g.beginCalls, Clients: g.callers, Draining: g.draining.Load, Metrics: &g.metrics.calls, Log: g.log,
	})
	g.admission = admit.New(admit.Options{
		Server: g.id, Store: o.Store, Verifier: g.verifier, Calls: g.calls, ConnectTimeout: cmp.Or(o.Config.ConnectTimeout, defaultConnectTimeout),
		HandshakeRate: g.limits.HandshakeRate, AddressConnections: g.limits.AddressConnections, Gone: g.listener.Gone,
		Refused: g.metrics.refused, Log: g.log,
	})
	g.api = api.New(api.Options{
		MaxData: o.Config.Store.MaxData, MaxExtra: maxMessage, PingInterval: o.Config.PingInterval, AnswerTimeout: o.Config.Listen.AnswerTimeout(),
		Limits: g.limits, Store: o.Store, Verifier: g.verifier, Admission: g.admission, Users: g.users, Flow: g.flow, History: g.history,
		Sessions: g.sessions, Publisher: g.publisher, Acks: g.acks, Calls: g.calls, Local: g.local, Running: &g.wg, Log: g.log,
		Metrics: &api.Metrics{Errors: g.metrics.errors, Limited: g.metrics.limited, Kicked: g.metrics.kicked, Acks: &g.metrics.acks},
	})
	g.waker = wake.New(wake.Options{Config: o.Config.Wake, Store: o.Store, Asked: g.metrics.wakes, Log: g.log})
}

// streamPing is the time between two comments on an event stream: less than proxies wait for something to come.
const streamPing = 15 * time.Second

// closeTimeout is how long a client may take to answer a close frame.
const closeTimeout = 2 * time.Second

// Run serves clients until ctx ends, then sends them away within the drain timeout
// and returns nil. The order of the end: no new sockets; sessions and sockets, one
// after the other; what is left in the queues to Redis; the channel.
func (g *Gateway) Run(ctx context.Context) error {
	inner, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	g.ctx = inner
	server := g.server()
	g.sayLimits()
	work, inner2 := errgroup.WithContext(inner)
	g.ctx = inner2
	work.Go(func() error { return g.sockets.Run(inner2) })
	work.Go(func() error { return g.history.Run(inner2) })
	work.Go(func() error { return g.sessions.Run(inner2) })
	work.Go(func() error { return g.publisher.Run(inner2) })
	work.Go(func() error { return g.acks.Run(inner2) })
	work.Go(func() error { return g.listen(inner2) })
	work.Go(func() error { return g.lags.Run(inner2) })
	work.Go(func() error { return g.kicks.Run(inner2) })
	work.Go(func() error { return g.waker.Run(inner2) })
	work.Go(func() error { return g.calls.Run(inner2) })
	work.Go(func() error { return g.flow.Run(inner2) })
	work.Go(func() error { return g.verifier.Run(inner2, g.log, g.metrics.keyFailures.Inc) })
	serve := make(chan error, 1)
	go func() { serve <- server.Serve(g.listener) }()

	var failure error
	select {
	case <-ctx.Done():
	case <-inner2.Done():
	case err := <-serve:
		failure = fmt.Errorf("gateway %s: cannot accept clients any more: %w", g.id, err)
		serve <- err
	}
	g.draining.Store(true)
	g.api.End()
	// Sockets are no longer the server's: this ends the listener, and waits for
	// handshakes under way.
	closing, done := context.WithTimeout(inner, time.Second)
	_ = server.Shutdown(closing)
	_ = server.Close()
	done()
	if err := <-serve; failure == nil && !errors.Is(err, http.ErrServerClosed) {
		failure = fmt.Errorf("gateway %s: cannot accept clients any more: %w", g.id, err)
	}
	g.drain()
	stop()
	if err := work.Wait(); err != nil && failure == nil {
		failure = fmt.Errorf("gateway %s: %w", g.id, err)
	}
	g.sockets.Wait()
	g.wg.Wait()
	return failure
}

// server answers requests. A socket has no time limits of it: an upgrade ends them.
func (g *Gateway) server() *http.Server {
	l := &g.cfg.Listen
	return &http.Server{
		Handler: listen.Handler(g.handler()), MaxHeaderBytes: listen.MaxHeader,
		ReadHeaderTimeout: l.RequestTimeout, ReadTimeout: 2 * l.RequestTimeout, WriteTimeout: l.AnswerTimeout(), IdleTimeout: time.Minute,
		ErrorLog: slog.NewLogLogger(g.log.Handler(), slog.LevelDebug), ConnState: lastInLine, ConnContext: listen.Context,
	}
}

// Ready is nil when the gateway should get new clients.
func (g *Gateway) Ready() error {
	if g.draining.Load() {
		return errors.New("draining: its clients are being sent to other gateways")
	}
	if silent := g.store.NowMs() - g.heardMs(); silent > heartbeatTimeout.Milliseconds() {
		return errors.New("receives nothing from Redis on its own channel")
	}
	if !g.calls.Known() {
		return errors.New("has not yet been able to ask Redis what functions take")
	}
	if g.publisher.Full() {
		return errors.New("no memory is left in Redis, which refuses writes: newcomers wait; give it more maxmemory if workers make no room")
	}
	return g.verifier.Ready()
}
