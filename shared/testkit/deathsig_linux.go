package testkit

import "syscall"

// DieWithParent makes the kernel end a child with the thread that has started it, so that also a run that is killed, or that
// panics at its time limit, leaves no servers behind.
func DieWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
