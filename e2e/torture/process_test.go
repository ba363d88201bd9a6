package torture

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"sluice/shared/testkit"
)

// binaries builds gateway and worker with the race detector, once without and once with deliberate defects, of which
// the environment of each process chooses, and returns the directory that holds them.
func binaries(t testing.TB, defects bool) string {
	t.Helper()
	b := testkit.Build{Race: true, Packages: []string{"./gateway/cmd/gateway", "./worker/cmd/worker"}}
	if defects {
		b.Args = []string{"-overlay", overlay(t)}
	}
	return b.Dir(t)
}

// overlay is a file that tells the build to add the defects to the packages that they are of.
func overlay(t testing.TB) string {
	t.Helper()
	root, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	from := filepath.Join(root, "e2e", "torture", "testdata", "defects")
	data, err := json.Marshal(map[string]map[string]string{"Replace": {
		filepath.Join(root, "shared", "store", "defects.go"): filepath.Join(from, "store.go"),
		filepath.Join(root, "gateway", "live", "defects.go"): filepath.Join(from, "live.go"),
	}})
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "overlay.json")
	if err := os.WriteFile(name, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// run starts a binary, which the system ends. What it prints goes to a file.
func (s *system) run(name, path string, args []string, env ...string) *testkit.Process {
	s.t.Helper()
	s.mu.Lock()
	s.started++
	log := filepath.Join(s.dir, fmt.Sprintf("%03d-%s.log", s.started, name))
	s.mu.Unlock()
	p := testkit.Program{Name: name, Path: path, Args: args, Env: env, Dir: s.dir, Log: log}.Start(s.t, nil)
	s.mu.Lock()
	s.processes = append(s.processes, p)
	s.mu.Unlock()
	return p
}
