// Package clock gives the redis-server of a test another time of day than that of the processes under test, so that all
// of them have a wrong clock: what a process makes of its own clock shows, since Redis's is the one that counts.
package clock

import (
	_ "embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
	"time"
)

//go:embed testdata/clock.c
var source []byte

// Supported reports whether Shift works on this system.
func Supported() bool { return runtime.GOOS == "linux" }

// Shift returns the environment for a redis-server that is ahead by a time, rounded to seconds; behind if it is negative.
// What it needs stands in dir.
func Shift(tb testing.TB, dir string, by time.Duration) []string {
	tb.Helper()
	if by == 0 {
		return nil
	}
	c, so := filepath.Join(dir, "clock.c"), filepath.Join(dir, "clock.so")
	if err := os.WriteFile(c, source, 0o600); err != nil {
		tb.Fatal(err)
	}
	if out, err := exec.CommandContext(tb.Context(), "cc", "-shared", "-fPIC", "-o", so, c, "-ldl").CombinedOutput(); err != nil {
		tb.Fatalf("cannot build the library that shifts a clock (this test needs cc): %v\n%s", err, out)
	}
	return []string{"LD_PRELOAD=" + so, fmt.Sprintf("CLOCK_SHIFT=%d", int(by.Seconds()))}
}
