// Package js_test runs the tests of the JavaScript client with Node's own runner: those of its parts, which stand beside
// it, and those against real gateways and in a real browser, which stand here.
package js_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"sluice/shared/testkit"
)

const deadline = 5 * time.Minute // for all of them; they take a tenth of it on an idle machine

// node is the Node that runs the tests, with the flag that gives version 20 and 21 a WebSocket.
func node(t *testing.T) (path string, flags []string) {
	t.Helper()
	path, err := exec.LookPath("node")
	if err != nil {
		t.Skip("SKIP: the JavaScript client is not tested: no node on the PATH (version 22, or 20)")
	}
	out, err := exec.Command(path, "--version").Output()
	if err != nil {
		t.Fatal(err)
	}
	major, _, _ := strings.Cut(strings.TrimPrefix(strings.TrimSpace(string(out)), "v"), ".")
	switch n, err := strconv.Atoi(major); {
	case err != nil || n < 20:
		t.Skipf("SKIP: the JavaScript client is not tested: node is %s, it needs 22, or 20", strings.TrimSpace(string(out)))
	case n < 22:
		flags = []string{"--experimental-websocket"}
	}
	return path, flags
}

// build gives the program that is a gateway, a worker and the playground.
func build(t *testing.T) string {
	t.Helper()
	return filepath.Join(testkit.Build{Race: true, Packages: []string{"./infra/local/cmd/sluice-local"}}.Dir(t), "sluice-local")
}

// run lets Node run test files, and returns how many tests passed.
func run(t *testing.T, env []string, files ...string) (passed int) {
	t.Helper()
	path, flags := node(t)
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, append([]string{"--test", "--test-reporter=tap", "--test-concurrency=4"}, files...)...)
	cmd.Env = append(append(os.Environ(), "NODE_NO_WARNINGS=1", "NODE_OPTIONS="+strings.Join(flags, " ")), env...)
	cmd.WaitDelay = 5 * time.Second
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, failures(string(out)))
	}
	if m := regexp.MustCompile(`(?m)^# pass (\d+)$`).FindSubmatch(out); m != nil {
		passed, _ = strconv.Atoi(string(m[1]))
	}
	for _, m := range regexp.MustCompile(`(?m)^\s*ok \d+ - (.*# SKIP.*)$`).FindAllSubmatch(out, -1) {
		t.Logf("%s", m[1])
	}
	return passed
}

// failures are the parts of a report in TAP that tell what failed, or its end if there are none.
func failures(report string) string {
	var b strings.Builder
	for _, m := range regexp.MustCompile(`(?ms)^\s*not ok .*?^\s*\.\.\.$`).FindAllString(report, -1) {
		fmt.Fprintln(&b, m)
	}
	if b.Len() == 0 {
		return report[max(0, len(report)-4000):]
	}
	return b.String()
}

// files are those that match a pattern; there must be some.
func files(t *testing.T, pattern string) []string {
	t.Helper()
	found, err := filepath.Glob(pattern)
	if err != nil || len(found) == 0 {
		t.Fatalf("no files %s: %v", pattern, err)
	}
	return found
}

// TestParts: the client over a transport whose other end is the test, with a clock of the test.
func TestParts(t *testing.T) {
	t.Parallel()
	if n := run(t, nil, files(t, "../../shared/client/js/test/*.test.js")...); n < 25 {
		t.Errorf("only %d tests ran", n)
	}
}

// TestSystems: the client against real gateways, and in a real browser.
func TestSystems(t *testing.T) {
	t.Parallel()
	node(t)
	if n := run(t, []string{"SLUICE_LOCAL=" + build(t)}, files(t, "*.test.js")...); n < 10 {
		t.Errorf("only %d tests ran", n)
	}
}
