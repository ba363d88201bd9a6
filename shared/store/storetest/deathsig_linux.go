package storetest

import "syscall"

// processAttributes lets the kernel kill a server whose test was killed itself.
func processAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
