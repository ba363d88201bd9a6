package conformance

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/gorilla/websocket"

	"sluice/shared/wire"
)

// maxMessage bounds what a client sends, in bytes.
const maxMessage = 64 << 10

// Server is a gateway for clients that are tried. Each script has a URL of its own.
type Server struct {
	Patience time.Duration // for whatever a client has to do; set before Play, 0: 15 s

	listener net.Listener
	http     *http.Server
	upgrader websocket.Upgrader

	mu      sync.Mutex
	playing map[string]*player // by script
	peers   sync.WaitGroup     // goroutines that read
}

// NewServer is one that listens on addr, a host and port. The caller closes it.
func NewServer(addr string) (*Server, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, err
	}
	s := &Server{listener: l, playing: map[string]*player{}}
	s.upgrader = websocket.Upgrader{
		Subprotocols: []string{"sluice.v1.json"}, HandshakeTimeout: patience,
		CheckOrigin: func(*http.Request) bool { return true }, // pages are tried, too
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{script}/v1/ws", s.accept)
	s.http = &http.Server{Handler: mux, ReadHeaderTimeout: patience}
	go func() { _ = s.http.Serve(l) }() // until Close
	return s, nil
}

// Close ends it, and waits for its connections.
func (s *Server) Close() error {
	err := s.http.Close()
	s.peers.Wait()
	return err
}

// URL is what the client is given for a script; it adds /v1/ws.
func (s *Server) URL(script string) string {
	return fmt.Sprintf("http://%s/%s", s.listener.Addr(), script)
}

// Play plays a script to the client that connects to its URL. The error says what the client did wrong.
func (s *Server) Play(ctx context.Context, script Script) error {
	p := &player{patience: cmp.Or(s.Patience, patience), conns: make(chan *peer), done: make(chan struct{}), known: map[string]bool{}}
	s.mu.Lock()
	if s.playing[script.Name] != nil {
		s.mu.Unlock()
		return errors.New("this script is being played already")
	}
	s.playing[script.Name] = p
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.playing, script.Name)
		s.mu.Unlock()
		close(p.done)
		p.leave()
	}()
	return p.play(ctx, script)
}

func (s *Server) accept(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	p := s.playing[r.PathValue("script")]
	s.mu.Unlock()
	if p == nil {
		http.Error(w, "this script is not being played", http.StatusServiceUnavailable)
		return
	}
	at, err := askedInURL(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	ws, err := s.upgrader.Upgrade(w, r, nil)
	if err != nil {
		return // it was answered
	}
	ws.SetReadLimit(maxMessage)
	c := &peer{ws: ws, frames: make(chan wire.ClientFrame), bad: make(chan error, 1), over: make(chan struct{}), at: at}
	s.peers.Go(func() { c.read(p.done) })
	select {
	case p.conns <- c:
	case <-p.done:
		c.cut()
	case <-time.After(patience):
		c.cut()
	}
}
