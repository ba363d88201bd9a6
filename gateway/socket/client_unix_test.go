//go:build unix

package socket

import "syscall"

// receiveBuffer makes a dialer set the size of a socket's buffer before it connects.
func receiveBuffer(bytes int) func(string, string, syscall.RawConn) error {
	return func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) {
			_ = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, bytes)
		})
	}
}
