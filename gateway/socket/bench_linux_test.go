//go:build !sluice_goroutines

package socket

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The clients of a benchmark are a process of their own, so that their work does not
// count: this test binary, with the server's address in crowdVariable.
const crowdVariable = "SOCKET_BENCHMARK_CLIENTS"

func TestMain(m *testing.M) {
	if where := os.Getenv(crowdVariable); where != "" {
		if err := crowd(where); err != nil {
			fmt.Fprintln(os.Stderr, "clients:", err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// crowd connects many clients, then reads what they get until it is killed, and
// answers each read if it talks.
func crowd(where string) error {
	var addr string
	var n int
	var talk bool
	if _, err := fmt.Sscan(where, &addr, &n, &talk); err != nil {
		return err
	}
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return err
	}
	hello := []byte("GET / HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
	for range n {
		nc, err := net.Dial("tcp", addr)
		if err != nil {
			return err
		}
		if _, err = nc.Write(hello); err != nil {
			return err
		}
		answer, err := http.ReadResponse(bufio.NewReader(nc), nil)
		if err != nil {
			return err
		}
		_ = answer.Body.Close() // there is none
		if _, err = nc.Write(text("hello")); err != nil {
			return err
		}
		file, err := nc.(*net.TCPConn).File()
		if err != nil {
			return err
		}
		_ = nc.Close()
		fd := int(file.Fd())
		everybody = append(everybody, file)
		if err = unix.SetNonblock(fd, true); err != nil {
			return err
		}
		if err = unix.EpollCtl(epoll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)}); err != nil {
			return err
		}
	}
	runtime.LockOSThread()
	events, b := make([]unix.EpollEvent, 256), make([]byte, 256<<10)
	for {
		n, err := unix.EpollWait(epoll, events, -1)
		if err != nil && err != unix.EINTR {
			return err
		}
		for _, e := range events[:max(n, 0)] {
			if n, err := unix.Read(int(e.Fd), b); n == 0 || err == unix.ECONNRESET {
				return nil
			}
			if talk {
				_, _ = unix.Write(int(e.Fd), text("hello"))
			}
		}
	}
}

var everybody []*os.File // keeps their descriptors

// gather connects a crowd and returns its sockets, after a message of each.
func gather(b *testing.B, n int, goroutines, talk bool) []*peer {
	b.Helper()
	s := serve(b, Options{
		MaxMessage: 1 << 16, QueueBytes: 64 << 10, PingInterval: 25 * time.Second, CloseTimeout: time.Second,
		goroutines: goroutines,
	}, echo)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s %d %v", crowdVariable, s.addr, n, talk), "GOMAXPROCS=1")
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	peers := make([]*peer, n)
	for i := range peers {
		select {
		case peers[i] = <-s.peers:
		case <-time.After(patience):
			b.Fatal("the clients do not come")
		}
	}
	until(b, "messages", func() bool { return heard(peers) >= n })
	return peers
}

func heard(peers []*peer) (n int) {
	for _, p := range peers {
		n += int(p.messages.Load())
	}
	return n
}

func cpu() time.Duration {
	var u unix.Rusage
	_ = unix.Getrusage(unix.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// bare writes with write(2) and nothing around it.
func bare(peers []*peer, f []byte) func() {
	return func() {
		for _, p := range peers {
			for {
				if _, err := unix.Write(p.link.(*pollLink).fd, f); err != unix.EAGAIN {
					break
				}
			}
		}
	}
}

func sendAll(peers []*peer, f []byte) func() {
	return func() {
		for _, p := range peers {
			for !p.Send(f) {
				time.Sleep(100 * time.Microsecond)
			}
		}
	}
}

var benchmarked = []struct {
	name       string
	goroutines bool
	loop       func([]*peer, []byte) func()
}{
	{"write(2)", false, bare},
	{"poll", false, sendAll},
	{"goroutines", true, sendAll},
}

// BenchmarkFanOut delivers a frame of 256 bytes to 1,000 sockets, 100 times a second.
func BenchmarkFanOut(b *testing.B) {
	floor := 0.0
	for _, way := range benchmarked {
		b.Run(way.name, func(b *testing.B) {
			peers := gather(b, 1000, way.goroutines, false)
			deliver := way.loop(peers, serverText(make([]byte, 256)))
			tick := time.NewTicker(10 * time.Millisecond)
			defer tick.Stop()
			b.ResetTimer()
			before := cpu()
			for range b.N {
				<-tick.C
				deliver()
			}
			<-tick.C
			each := float64(cpu()-before) / float64(b.N*len(peers))
			if way.name == benchmarked[0].name {
				floor = each
			}
			b.ReportMetric(each, "cpu-ns/delivery")
			if floor > 0 {
				b.ReportMetric(each/floor, "x-write(2)")
			}
		})
	}
}

// BenchmarkFlood delivers to 1,000 sockets as fast as it goes: frames gather in the
// queues and leave together.
func BenchmarkFlood(b *testing.B) {
	for _, way := range benchmarked {
		b.Run(way.name, func(b *testing.B) {
			peers := gather(b, 1000, way.goroutines, false)
			deliver := way.loop(peers, serverText(make([]byte, 256)))
			b.ResetTimer()
			before := cpu()
			for range b.N {
				deliver()
			}
			n := float64(b.N * len(peers))
			b.ReportMetric(n/b.Elapsed().Seconds(), "deliveries/s")
			b.ReportMetric(float64(cpu()-before)/n, "cpu-ns/delivery")
		})
	}
}

// BenchmarkEcho lets 1,000 clients send a message as soon as the last one is answered.
func BenchmarkEcho(b *testing.B) {
	for _, way := range benchmarked[1:] {
		b.Run(way.name, func(b *testing.B) {
			peers := gather(b, 1000, way.goroutines, true)
			b.ResetTimer()
			before, first := cpu(), heard(peers)
			for heard(peers) < first+b.N {
				time.Sleep(10 * time.Millisecond)
			}
			n := float64(heard(peers) - first)
			b.ReportMetric(n/b.Elapsed().Seconds(), "messages/s")
			b.ReportMetric(float64(cpu()-before)/n, "cpu-ns/message")
		})
	}
}

// BenchmarkIdle holds 9,000 sockets that have received and sent a message.
func BenchmarkIdle(b *testing.B) {
	for _, way := range benchmarked[1:] {
		b.Run(way.name, func(b *testing.B) {
			const n = 9000
			heap, rss := memory()
			peers := gather(b, n, way.goroutines, false)
			var heap2, rss2 uint64
			until(b, "the end of net/http's goroutines", func() bool {
				return runtime.NumGoroutine() < n/10 || way.goroutines && runtime.NumGoroutine() < n+n/10
			})
			heap2, rss2 = memory()
			b.ReportMetric(float64(heap2-heap)/n, "B/conn")
			b.ReportMetric(float64(rss2-rss)/n, "RSS/conn")
			const watched = 5 * time.Second
			before := cpu()
			time.Sleep(watched)
			b.ReportMetric(100*float64(cpu()-before)/float64(watched), "cpu-%")
			runtime.KeepAlive(peers)
		})
	}
}

// memory is what the process uses, heap and stacks, and what it has of the system.
func memory() (used, rss uint64) {
	debug.FreeOSMemory()
	debug.FreeOSMemory()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	statm, _ := os.ReadFile("/proc/self/statm")
	var size, resident uint64
	_, _ = fmt.Sscan(string(statm), &size, &resident)
	return m.HeapAlloc + m.StackInuse, resident * uint64(os.Getpagesize())
}
