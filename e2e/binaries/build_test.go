package binaries_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// commands are the packages of the binaries under test, from the module's root; a binary is named as its directory.
var commands = []string{"./gateway/cmd/gateway", "./worker/cmd/worker", "./infra/local/cmd/sluice-local"}

// buildOnce builds the three binaries with the race detector and returns the directory that holds them.
var buildOnce = sync.OnceValues(func() (string, error) {
	root, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}").Output()
	if err != nil {
		return "", fmt.Errorf("cannot find the module's root with `go list -m`: %w", err)
	}
	dir, err := os.MkdirTemp("", "sluice-binaries-")
	if err != nil {
		return "", fmt.Errorf("no directory to build into: %w", err)
	}
	suite.Cleanup(func() { _ = os.RemoveAll(dir) })
	build := exec.Command("go", append([]string{"build", "-race", "-o", dir + string(filepath.Separator)}, commands...)...)
	build.Dir = strings.TrimSpace(string(root))
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("cannot build the binaries under test (`%s` in %s: %w):\n%s", build, build.Dir, err, out)
	}
	return dir, nil
})

// buildFailure is told in full once.
var buildFailure sync.Once

// binary returns the path of a built binary, and fails the test when it cannot be built.
func binary(t testing.TB, name string) string {
	t.Helper()
	dir, err := buildOnce()
	if err != nil {
		told := true
		buildFailure.Do(func() { told = false })
		if told {
			t.Fatal("cannot build the binaries under test: see the first failure")
		}
		t.Fatal(err)
	}
	return filepath.Join(dir, name)
}
