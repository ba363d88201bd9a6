package ops

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"sluice/shared/testkit"

	"github.com/prometheus/client_golang/prometheus"
)

// startAdmin runs an Admin until the test ends, or until stop, which returns
// what Run returned.
func startAdmin(t *testing.T) (a *Admin, stop func() error) {
	t.Helper()
	return startAdminWith(t, AdminConfig{Addr: "127.0.0.1:0", Pprof: true})
}

func startAdminWith(t *testing.T, cfg AdminConfig) (a *Admin, stop func() error) {
	t.Helper()
	a, err := NewAdmin(cfg, NewRegistry("test"), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	var ended bool
	stop = func() error {
		if ended {
			return nil
		}
		ended = true
		cancel()
		select {
		case err := <-done:
			return err
		case <-time.After(deadline):
			return errors.New("the admin server does not end")
		}
	}
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
	return a, stop
}

// get returns the status, the content type and the body.
func get(t *testing.T, a *Admin, path string) (int, string, string) {
	t.Helper()
	return ask(t, a, path, "", "")
}

// ask is get with an Authorization header and another Host, if they are not empty.
func ask(t *testing.T, a *Admin, path, authorization, host string) (int, string, string) {
	t.Helper()
	client := http.Client{Timeout: deadline, Transport: &http.Transport{DisableKeepAlives: true}}
	_, port, _ := net.SplitHostPort(a.Addr())
	request, err := http.NewRequest(http.MethodGet, "http://127.0.0.1:"+port+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if authorization != "" {
		request.Header.Set("Authorization", authorization)
	}
	request.Host = host
	resp, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, resp.Header.Get("Content-Type"), string(body)
}

func TestAdminPages(t *testing.T) {
	a, _ := startAdmin(t)
	a.Handle("GET /backlog", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "7 events") }))
	for _, tc := range []struct {
		path   string
		status int
		kind   string
		want   []string
	}{
		{"/healthz", 200, "text/plain", []string{"ok\n"}},
		{"/readyz", 200, "application/json", []string{`{"ready":true,"checks":[]}`}},
		{"/metrics", 200, "text/plain", []string{
			`sluice_build_info{component="test",version="` + Version + `"} 1`, "go_goroutines ", "process_open_fds ", "promhttp_metric_handler_errors_total",
		}},
		{"/debug/pprof/", 200, "text/html", []string{"goroutine"}},
		{"/debug/pprof/goroutine?debug=1", 200, "text/plain", []string{"goroutine profile:"}},
		{"/debug/pprof/cmdline", 200, "text/plain", []string{"ops.test"}},
		{"/debug/pprof/symbol", 200, "text/plain", []string{"num_symbols"}},
		{"/debug/pprof/profile?seconds=1", 200, "application/octet-stream", nil},
		{"/debug/pprof/trace?seconds=0.01", 200, "application/octet-stream", nil},
		{"/backlog", 200, "text/plain", []string{"7 events"}},
		{"/", 404, "text/plain", nil},
	} {
		status, kind, body := get(t, a, tc.path)
		if status != tc.status || !strings.HasPrefix(kind, tc.kind) {
			t.Errorf("%s: %d %s, want %d %s", tc.path, status, kind, tc.status, tc.kind)
		}
		for _, want := range tc.want {
			if !strings.Contains(body, want) {
				t.Errorf("%s: no %q in:\n%.2000s", tc.path, want, body)
			}
		}
	}
}

func TestReadiness(t *testing.T) {
	a, _ := startAdmin(t)
	var away atomic.Bool
	a.AddReadyCheck("redis", func() error {
		if away.Load() {
			return errors.New("no answer for 3s")
		}
		return nil
	})
	a.AddReadyCheck("drain", func() error { return nil })
	for _, tc := range []struct {
		away   bool
		status int
		body   string
	}{
		{false, 200, `{"ready":true,"checks":[{"name":"redis","ready":true},{"name":"drain","ready":true}]}`},
		{true, 503, `{"ready":false,"checks":[{"name":"redis","ready":false,"reason":"no answer for 3s"},{"name":"drain","ready":true}]}`},
		{false, 200, `{"ready":true,"checks":[{"name":"redis","ready":true},{"name":"drain","ready":true}]}`},
	} {
		away.Store(tc.away)
		if status, _, body := get(t, a, "/readyz"); status != tc.status || body != tc.body+"\n" {
			t.Errorf("got  %d %s\nwant %d %s", status, body, tc.status, tc.body)
		}
	}
	if status, _, _ := get(t, a, "/healthz"); status != 200 {
		t.Errorf("health %d", status)
	}
}

// Neither a connection that sends nothing, nor one in the middle of a request,
// nor a handler that never ends, holds up the end; their connections are cut.
func TestAdminEndsWhateverIsUnderWay(t *testing.T) {
	a, stop := startAdmin(t)
	begun, release := make(chan struct{}), make(chan struct{})
	a.Handle("GET /stuck", http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		close(begun)
		<-release
	}))
	defer close(release)
	var conns []net.Conn
	defer func() {
		for _, c := range conns {
			c.Close()
		}
	}()
	for _, send := range []string{"", "GET /healthz HT", "GET /stuck HTTP/1.1\r\nHost: localhost\r\n\r\n"} {
		c, err := net.Dial("tcp", a.Addr())
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, c)
		if _, err := io.WriteString(c, send); err != nil {
			t.Fatal(err)
		}
	}
	<-begun
	if err := stop(); err != nil {
		t.Error(err)
	}
	for i, c := range conns {
		c.SetReadDeadline(time.Now().Add(deadline))
		if _, err := io.Copy(io.Discard, c); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("connection %d is still open", i)
		}
	}
	l, err := net.Listen("tcp", a.Addr())
	if err != nil {
		t.Fatalf("the address is still taken: %v", err)
	}
	l.Close()
}

// What can end by its context, such as a profile of a minute, ends in order.
func TestAdminEndsRequestsByTheirContext(t *testing.T) {
	a, stop := startAdmin(t)
	begun := make(chan struct{})
	a.Handle("GET /long", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		close(begun)
		<-r.Context().Done()
		fmt.Fprint(w, "ended in order")
	}))
	stopped := make(chan error, 1)
	go func() {
		<-begun
		stopped <- stop()
	}()
	if status, _, body := get(t, a, "/long"); status != 200 || body != "ended in order" {
		t.Errorf("%d %q", status, body)
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}

func TestAdminWhoseContextHasEnded(t *testing.T) {
	a, err := NewAdmin(AdminConfig{Addr: "127.0.0.1:0"}, prometheus.NewRegistry(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := a.Run(ctx); err != nil {
		t.Error(err)
	}
	if c, err := net.Dial("tcp", a.Addr()); err == nil {
		c.Close()
		t.Error("it still listens")
	}
}

func TestAdminWhoseListenerBreaks(t *testing.T) {
	a, err := NewAdmin(AdminConfig{Addr: "127.0.0.1:0"}, prometheus.NewRegistry(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	if err := a.Run(ctx); err == nil || !strings.Contains(err.Error(), a.Addr()) {
		t.Errorf("got %v", err)
	}
}

func TestAdminLogsBadClients(t *testing.T) {
	var log testkit.Buffer
	a, err := NewAdmin(AdminConfig{Addr: "127.0.0.1:0"}, prometheus.NewRegistry(), slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	a.Handle("GET /panic", http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("a handler's mistake") }))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	client := http.Client{Timeout: deadline, Transport: &http.Transport{DisableKeepAlives: true}}
	if resp, err := client.Get("http://" + a.Addr() + "/panic"); err == nil {
		resp.Body.Close()
		t.Error("a panic was answered")
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if !strings.Contains(log.String(), "a handler's mistake") {
		t.Errorf("logged: %s", log.String())
	}
}
