//go:build !sluice_goroutines

package socket

import (
	"crypto/tls"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

// tlsCrowdVariable has the address for TestTLSCrowd, and how many clients.
const tlsCrowdVariable = "SOCKET_BENCHMARK_TLS_CLIENTS"

// TestTLSCrowd is the clients of BenchmarkIdleTLS, in a process of their own.
func TestTLSCrowd(t *testing.T) {
	where := os.Getenv(tlsCrowdVariable)
	if where == "" {
		t.Skip("for BenchmarkIdleTLS")
	}
	var addr string
	var n int
	if _, err := fmt.Sscan(where, &addr, &n); err != nil {
		t.Fatal(err)
	}
	dialer := websocket.Dialer{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, HandshakeTimeout: time.Minute} //nolint:gosec // our own
	clients := make([]*websocket.Conn, n)
	for i := range clients {
		ws, _, err := dialer.Dial("wss://"+addr+"/", nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := ws.WriteMessage(websocket.TextMessage, []byte("hello")); err != nil {
			t.Fatal(err)
		}
		if _, _, err := ws.ReadMessage(); err != nil {
			t.Fatal(err)
		}
		clients[i] = ws
	}
	_, _ = os.Stdin.Read(make([]byte, 1)) // until it is killed
	runtime.KeepAlive(clients)
}

// BenchmarkIdleTLS holds 2,000 sockets over TLS that have received and sent a message.
func BenchmarkIdleTLS(b *testing.B) {
	for name, goroutines := range map[string]bool{"poll": false, "goroutines": true} {
		b.Run(name, func(b *testing.B) {
			const n = 2000
			s := serveTLS(b, Options{
				MaxMessage: 1 << 16, QueueBytes: 64 << 10, PingInterval: 25 * time.Second, CloseTimeout: time.Second, goroutines: goroutines,
			}, echo)
			heap, rss := memory()
			cmd := exec.Command(os.Args[0], "-test.run=^TestTLSCrowd$")
			cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s %d", tlsCrowdVariable, s.addr, n))
			stdin, err := cmd.StdinPipe()
			if err != nil {
				b.Fatal(err)
			}
			defer func() { _ = stdin.Close() }()
			if err := cmd.Start(); err != nil {
				b.Fatal(err)
			}
			b.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
			peers := make([]*peer, n)
			for i := range peers {
				select {
				case peers[i] = <-s.peers:
				case <-time.After(time.Minute):
					b.Fatal("the clients do not come")
				}
			}
			for end := time.Now().Add(time.Minute); heard(peers) < n && time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
			}
			until(b, "the end of net/http's goroutines", func() bool {
				return runtime.NumGoroutine() < n/10 || goroutines && runtime.NumGoroutine() < n+n/10
			})
			heap2, rss2 := memory()
			b.ReportMetric(float64(heap2-heap)/n, "B/conn")
			b.ReportMetric(float64(rss2-rss)/n, "RSS/conn")
			runtime.KeepAlive(peers)
		})
	}
}
