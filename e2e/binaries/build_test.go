package binaries_test

import (
	"path/filepath"
	"testing"

	"sluice/shared/testkit"
)

// built are the binaries under test; each is named as its directory.
var built = testkit.Build{Race: true, Packages: []string{"./gateway/cmd/gateway", "./worker/cmd/worker", "./infra/local/cmd/sluice-local"}}

// binary returns the path of a built binary, and fails the test when it cannot be built.
func binary(t testing.TB, name string) string {
	t.Helper()
	return filepath.Join(built.Dir(t), name)
}
