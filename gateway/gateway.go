package gateway

import (
	"context"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

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
	"sluice/shared/store"
)

// Gateway is one gateway of an installation.
type Gateway struct {
	cfg      Config
	limits   limits.Config // that hold
	id       string
	store    *store.Store
	listener *listen.Listener
	log      *slog.Logger
	metrics  *metrics
	verifier *auth.Verifier
	page     http.Handler

	users      *limits.Parties
	admission  *admit.Admission
	api        *api.API
	sockets    *socket.Group
	openers    *limits.Pool      // of connections
	longFrames *limits.Semaphore // by address: frames `connect` that hide their token
	flow       *live.Flow
	sessions   *sessions.Sessions
	publisher  *publish.Publisher
	acks       *acks.Acks
	history    *history.Reader
	lags       *slow.Lags
	kicks      *admit.Kicks
	waker      *wake.Waker
	calls      *calls.Calls

	ctx      context.Context // ends after the drain; set by Run
	wg       sync.WaitGroup  // goroutines of connections
	draining atomic.Bool
	heard    atomic.Int64 // when the last heartbeat came back, Redis's clock in ms

	mu    lock.Mutex[lock.Conns]
	conns map[string]*conn
}

// ID is the gateway's name in sessions and channels.
func (g *Gateway) ID() string { return g.id }

// Backlog answers with what waits for workers, as JSON; for the admin address.
func (g *Gateway) Backlog(w http.ResponseWriter, r *http.Request) { g.publisher.Backlog(w, r) }

// now is the time by which tokens expire: Redis's, so that all gateways agree.
func (g *Gateway) now() time.Time { return time.UnixMilli(g.store.NowMs()) }

// local is a time of Redis's clock by this process's; zero stays zero.
func (g *Gateway) local(t time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	now := time.Now()
	return now.Add(t.Sub(g.now()))
}

// register and unregister keep the connections by id.
func (g *Gateway) register(c *conn) {
	g.mu.Lock()
	g.conns[c.id] = c
	g.mu.Unlock()
	g.metrics.connections.Inc()
}

func (g *Gateway) unregister(c *conn) {
	g.mu.Lock()
	delete(g.conns, c.id)
	g.mu.Unlock()
	g.metrics.connections.Dec()
}

func (g *Gateway) conn(id string) *conn {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.conns[id]
}

// about is what Redis keeps of a connection for who lists its user's: when it came, in Unix ms, its transport and its device.
func (g *Gateway) about(conn string) string {
	c := g.conn(conn)
	if c == nil {
		return g.api.About(conn) // or it has ended
	}
	return strings.TrimSuffix(strconv.FormatInt(c.since, 10)+" "+c.transport()+" "+c.device, " ")
}

// all are the connections.
func (g *Gateway) all() []*conn {
	g.mu.Lock()
	defer g.mu.Unlock()
	conns := make([]*conn, 0, len(g.conns))
	for _, c := range g.conns {
		conns = append(conns, c)
	}
	return conns
}
