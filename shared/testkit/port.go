package testkit

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"syscall"
	"testing"
)

// ports hands out loopback ports below the range from which the kernel takes those of outgoing connections: a port of
// that range could be taken between its choice and the start of the server, also of a server that restarts.
var ports = struct {
	sync.Mutex
	next int
}{next: 20000 + rand.IntN(8000)}

// FreePort is a loopback port that nobody listens on, and that this process has not given before.
func FreePort(tb testing.TB) int {
	tb.Helper()
	ports.Lock()
	defer ports.Unlock()
	for range 4000 {
		ports.next++
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", ports.next))
		if err == nil {
			_ = l.Close()
			return ports.next
		}
		if !errors.Is(err, syscall.EADDRINUSE) {
			tb.Fatalf("cannot listen on loopback: %v", err)
		}
	}
	tb.Fatal("no free loopback port")
	return 0
}

// FreeAddr is an address with a free port.
func FreeAddr(tb testing.TB) string {
	tb.Helper()
	return fmt.Sprintf("127.0.0.1:%d", FreePort(tb))
}
