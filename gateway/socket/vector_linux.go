//go:build linux && !sluice_goroutines

package socket

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

type vector [maxBatch]unix.Iovec

func writev(fd int, v []unix.Iovec) (int, error) {
	n, _, e := unix.Syscall(unix.SYS_WRITEV, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(v))), uintptr(len(v)))
	if e != 0 {
		return 0, e
	}
	return int(n), nil
}
