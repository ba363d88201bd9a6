package local

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"sluice/gateway"
	"sluice/shared/ops"
	"sluice/shared/store"
)

// second is the other gateway of the playground, which the page kills and starts. Its metrics are shown nowhere.
type second struct {
	cfg   gateway.Config
	addr  string // where it listens, also when it is started again
	tls   *tls.Config
	store *store.Store
	log   *slog.Logger

	mu       sync.Mutex
	listener *cutter
	stop     context.CancelFunc // nil: it does not run
	stopped  chan struct{}
}

// newSecond binds a port beside the first gateway's, whose page may connect to it. It answers no requests before Run.
func newSecond(cfg gateway.Config, first string, st *store.Store, clientTLS *tls.Config, log *slog.Logger) (*second, error) {
	host, port, _ := net.SplitHostPort(first)
	l, err := ops.Listen("SLUICE_ADDR", net.JoinHostPort(host, "0"))
	if err != nil {
		return nil, err
	}
	if cfg.ServerID != "" {
		cfg.ServerID += "-2"
	}
	origins := cfg.Auth.AllowedOrigins
	for _, name := range []string{host, "localhost", "127.0.0.1"} {
		origins = append(origins[:len(origins):len(origins)], scheme(clientTLS)+net.JoinHostPort(name, port))
	}
	cfg.Auth.AllowedOrigins = origins
	return &second{cfg: cfg, addr: l.Addr().String(), tls: clientTLS, store: st, log: log, listener: &cutter{Listener: l}}, nil
}

func scheme(clientTLS *tls.Config) string {
	if clientTLS != nil {
		return "https://"
	}
	return "http://"
}

// url is where the page finds it.
func (s *second) url() string { return scheme(s.tls) + s.addr }

// run has it running until ctx ends, except while the page has killed it.
func (s *second) run(ctx context.Context) error {
	if err := s.start(); err != nil {
		return err
	}
	<-ctx.Done()
	s.end(false)
	return nil
}

// start starts it if it does not run.
func (s *second) start() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stop != nil {
		return nil
	}
	if s.listener == nil {
		l, err := ops.Listen("SLUICE_ADDR", s.addr)
		if err != nil {
			return err
		}
		s.listener = &cutter{Listener: l}
	}
	gw, err := gateway.New(gateway.Options{
		Config: s.cfg, Store: s.store, Listener: s.listener, TLS: s.tls, Log: s.log, Registry: prometheus.NewRegistry(),
	})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	stopped := make(chan struct{})
	s.stop, s.stopped = cancel, stopped
	go func() {
		defer close(stopped)
		if err := gw.Run(ctx); err != nil {
			s.log.Error("the second gateway ended", "err", err)
		}
	}()
	return nil
}

// end ends it if it runs, and waits for that. kill: all of its connections break at once, without a word to its clients.
func (s *second) end(kill bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stop == nil {
		return
	}
	if kill {
		s.listener.cut()
	}
	s.stop()
	<-s.stopped
	s.stop, s.listener = nil, nil
}

func (s *second) runs() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stop != nil
}

// handler is what the page asks: which gateways there are, and that this one be killed or started. Other pages cannot ask
// that, and there is none unless everybody is believed, which is on a loopback address only. fn may be nil.
func (s *second) handler(fn *example) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /playground/gateways", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]any{"url": s.url(), "runs": s.runs(), "function": fn != nil})
	})
	if fn != nil {
		mux.HandleFunc("GET /playground/function", fn.log)
	}
	do := func(name string, f func() error) {
		mux.HandleFunc("POST /playground/gateways/"+name, func(w http.ResponseWriter, _ *http.Request) {
			if err := f(); err != nil {
				http.Error(w, fmt.Sprintf("it cannot be done: %v", err), http.StatusServiceUnavailable)
				return
			}
			w.WriteHeader(http.StatusNoContent)
		})
	}
	do("start", s.start)
	do("kill", func() error { s.end(true); return nil })
	return http.NewCrossOriginProtection().Handler(mux)
}

// mostToCut is how many connections a cutter knows; this is no place for crowds.
const mostToCut = 1024

// cutter is a listener that can break the newest of the connections that it accepted.
type cutter struct {
	net.Listener
	mu    sync.Mutex
	conns []net.Conn
}

func (c *cutter) Accept() (net.Conn, error) {
	conn, err := c.Listener.Accept()
	if err == nil {
		c.mu.Lock()
		defer c.mu.Unlock()
		if len(c.conns) == mostToCut {
			c.conns = c.conns[1:]
		}
		c.conns = append(c.conns, conn)
	}
	return conn, err
}

// cut shuts the connections down. It does not close them: the gateway does, which polls them.
func (c *cutter) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, conn := range c.conns {
		if tcp, ok := conn.(*net.TCPConn); ok {
			_ = tcp.CloseWrite() // has been closed already, or is
			_ = tcp.CloseRead()
		}
	}
}
