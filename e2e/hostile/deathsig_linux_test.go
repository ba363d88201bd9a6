package hostile_test

import "syscall"

// dieWithParent makes the kernel end a child with the test process, so that also a test run that is killed or that
// panics at its time limit leaves no servers behind.
func dieWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
