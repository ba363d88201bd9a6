//go:build !linux

package hostile_test

import "syscall"

// dieWithParent exists on Linux only; elsewhere the tests' cleanups end the children.
func dieWithParent() *syscall.SysProcAttr { return nil }
