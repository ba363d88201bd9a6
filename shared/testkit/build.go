package testkit

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// Build is how programs of this module are built. With Race alone they are in bin/race of the checkout and stay there:
// go builds what is up to date no second time, so the tests of all packages share them.
type Build struct {
	Packages []string // by their paths; a binary has the name of the last element
	Race     bool
	Args     []string // more of `go build`
	Env      []string // added to the test's own
}

var builds = struct {
	sync.Mutex
	dirs map[string]string // "": it failed
	temp []string          // those of them that RemoveBuilds deletes
}{dirs: make(map[string]string)}

// Dir builds the programs at the first call, and returns the directory that holds them. What cannot be built is
// told in full once.
func (b Build) Dir(tb testing.TB) string {
	tb.Helper()
	builds.Lock()
	defer builds.Unlock()
	key := fmt.Sprint(b.Packages, b.Race, b.Args, b.Env)
	dir, known := builds.dirs[key]
	if !known {
		builds.dirs[key] = ""
		var err error
		if dir, err = b.make(); err != nil {
			tb.Fatal(err)
		}
		builds.dirs[key] = dir
	}
	if dir == "" {
		tb.Fatal("cannot build the binaries under test: see the first failure")
	}
	return dir
}

func (b Build) make() (string, error) {
	ctx := context.Background() // other tests wait for it, too
	root, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}").Output()
	if err != nil {
		return "", fmt.Errorf("cannot find the module's root with `go list -m`: %w", err)
	}
	top := strings.TrimSpace(string(root))
	dir, err := filepath.Join(top, "bin", "race"), error(nil)
	if b.Race && len(b.Args)+len(b.Env) == 0 {
		err = os.MkdirAll(dir, 0o755)
	} else if dir, err = os.MkdirTemp("", "sluice-binaries-"); err == nil {
		builds.temp = append(builds.temp, dir)
	}
	if err != nil {
		return "", fmt.Errorf("no directory to build into: %w", err)
	}
	args := []string{"build", "-o", dir + string(filepath.Separator)}
	if b.Race {
		args = append(args, "-race")
	}
	build := exec.CommandContext(ctx, "go", append(append(args, b.Args...), b.Packages...)...)
	build.Dir, build.Env = top, append(os.Environ(), b.Env...)
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("cannot build the binaries under test (`%s` in %s: %w):\n%s", build, build.Dir, err, out)
	}
	return dir, nil
}

// RemoveBuilds deletes what was built for this package alone, after its last test.
func RemoveBuilds() {
	builds.Lock()
	defer builds.Unlock()
	for _, dir := range builds.temp {
		_ = os.RemoveAll(dir)
	}
	clear(builds.dirs)
	builds.temp = nil
}
