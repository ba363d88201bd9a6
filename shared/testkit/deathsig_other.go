//go:build !linux

package testkit

import "syscall"

// DieWithParent exists on Linux only; elsewhere the tests' cleanups end the children.
func DieWithParent() *syscall.SysProcAttr { return nil }
