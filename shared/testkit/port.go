package testkit

import (
	"errors"
	"fmt"
	"net"
	"sync"
	"syscall"
	"testing"
)

// Ports that are handed out lie below the range from which the kernel takes those of outgoing connections: a port of
// that range could be taken between its choice and the start of the server, also of a server that restarts. For the same
// reason a process takes them in blocks of which each is its own: it listens on the first port of a block for its life.
const (
	firstPort, lastPort = 20000, 32000
	portBlock           = 200
)

var ports struct {
	sync.Mutex
	next, end int
	blocks    []net.Listener // kept open
}

// FreePort is a loopback port that nobody listens on, and that neither this process nor another one that asks here was given
// before, while both live.
func FreePort(tb testing.TB) int {
	tb.Helper()
	ports.Lock()
	defer ports.Unlock()
	for {
		if ports.next == ports.end && !takeBlock() {
			tb.Fatal("no free loopback port")
		}
		port := ports.next
		ports.next++
		if l, err := listen(port); err == nil {
			_ = l.Close()
			return port
		} else if !errors.Is(err, syscall.EADDRINUSE) {
			tb.Fatalf("cannot listen on loopback: %v", err)
		}
	}
}

// takeBlock begins the first block of which no process has taken the first port.
func takeBlock() bool {
	for first := firstPort; first < lastPort; first += portBlock {
		if l, err := listen(first); err == nil {
			ports.blocks = append(ports.blocks, l)
			ports.next, ports.end = first+1, first+portBlock
			return true
		}
	}
	return false
}

func listen(port int) (net.Listener, error) {
	return net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
}

// FreeAddr is an address with a free port.
func FreeAddr(tb testing.TB) string {
	tb.Helper()
	return fmt.Sprintf("127.0.0.1:%d", FreePort(tb))
}
