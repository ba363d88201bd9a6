//go:build !linux

package socket

import (
	"net"
	"time"
)

func boundUnsent(net.Conn, int) {}

func boundSilence(net.Conn, time.Duration) {}
