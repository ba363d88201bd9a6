//go:build !unix

package socket

import "syscall"

func receiveBuffer(int) func(string, string, syscall.RawConn) error { return nil }
