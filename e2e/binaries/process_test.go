package binaries_test

import (
	"testing"

	"sluice/shared/testkit"
)

// startProcess starts a binary and ends it with its keeper. env is added to the test's own environment, of which
// nothing that begins with SLUICE_ is passed on.
func startProcess(t testing.TB, k keeper, name, path string, args []string, env ...string) *testkit.Process {
	t.Helper()
	return testkit.Program{Name: name, Path: path, Args: args, Env: env}.Start(t, k)
}
