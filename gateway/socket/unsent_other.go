//go:build !linux

package socket

import "net"

func boundUnsent(net.Conn, int) {}
