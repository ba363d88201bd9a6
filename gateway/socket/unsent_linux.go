package socket

import (
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// boundUnsent bounds the bytes that the kernel keeps for a client that does not take
// them. Else it would be megabytes (tcp(7): tcp_wmem), and a slow client would have to
// read a third of them before the socket may be written to again: it would look stuck.
func boundUnsent(nc net.Conn, bytes int) { setTCP(nc, unix.TCP_NOTSENT_LOWAT, bytes) }

// boundSilence ends a connection of which the other side confirms nothing for so long (tcp(7): TCP_USER_TIMEOUT). Where
// there are no pongs, only the kernel can tell a client that has vanished from one that has nothing to say.
func boundSilence(nc net.Conn, d time.Duration) {
	setTCP(nc, unix.TCP_USER_TIMEOUT, int(d.Milliseconds()))
}

// setTCP sets an option of the TCP connection below nc, if there is one.
func setTCP(nc net.Conn, option, value int) {
	tcp := tcpOf(nc)
	if tcp == nil {
		return
	}
	if raw, err := tcp.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) { _ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, option, value) })
	}
}
