//go:build unix

package listen

import (
	"math"
	"syscall"
)

// Files is how many files this process may open, 0 if that is not known. Go has raised the
// soft limit to the hard one by then (os, since 1.19).
func Files() int {
	var l syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l); err != nil {
		return 0
	}
	return int(min(uint64(l.Cur), math.MaxInt32)) //nolint:unconvert // signed on some systems
}
