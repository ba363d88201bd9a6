//go:build !linux

package storetest

import "syscall"

func processAttributes() *syscall.SysProcAttr { return nil }
