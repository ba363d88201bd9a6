package torture

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"sluice/shared/store/storetest"
)

// builds are the directories of the binaries under test, without and with deliberate defects.
var builds = struct {
	sync.Mutex
	dirs map[bool]string
}{dirs: map[bool]string{}}

// binaries builds gateway and worker with the race detector, once without and once with deliberate defects, of which
// the environment of each process chooses, and returns the directory that holds them.
func binaries(t testing.TB, defects bool) string {
	t.Helper()
	builds.Lock()
	defer builds.Unlock()
	if dir, ok := builds.dirs[defects]; ok {
		if dir == "" {
			t.Fatal("cannot build the binaries under test: see the first failure")
		}
		return dir
	}
	builds.dirs[defects] = ""
	dir, err := os.MkdirTemp("", "sluice-torture-bin-")
	if err != nil {
		t.Fatal(err)
	}
	args := []string{"build", "-race", "-o", dir + string(filepath.Separator)}
	if defects {
		args = append(args, "-overlay", overlay(t))
	}
	build := exec.Command("go", append(args, "sluice/gateway/cmd/gateway", "sluice/worker/cmd/worker")...)
	if out, err := build.CombinedOutput(); err != nil {
		_ = os.RemoveAll(dir)
		t.Fatalf("cannot build the binaries under test (%s: %v):\n%s", build, err, out)
	}
	builds.dirs[defects] = dir
	return dir
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

// process is a started binary. What it prints goes to a file.
type process struct {
	name string
	cmd  *exec.Cmd
	log  string
	done chan struct{} // closed when it has ended and was waited for
}

// run starts a binary that ends with the test. Variables that begin with SLUICE_ are only those of env.
func (s *system) run(name, path string, args []string, env ...string) *process {
	s.t.Helper()
	s.mu.Lock()
	s.started++
	p := &process{name: name, cmd: exec.Command(path, args...), done: make(chan struct{}),
		log: filepath.Join(s.dir, fmt.Sprintf("%03d-%s.log", s.started, name))}
	s.mu.Unlock()
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "SLUICE_") {
			p.cmd.Env = append(p.cmd.Env, v)
		}
	}
	// Without this a race-instrumented process sleeps for one second before it exits.
	p.cmd.Env = append(p.cmd.Env, "GORACE=atexit_sleep_ms=0")
	p.cmd.Env = append(p.cmd.Env, env...)
	p.cmd.Dir = s.dir
	p.cmd.SysProcAttr = dieWithParent()
	out, err := os.Create(p.log)
	if err != nil {
		s.t.Fatal(err)
	}
	p.cmd.Stdout, p.cmd.Stderr = out, out
	if err := p.cmd.Start(); err != nil {
		s.t.Fatalf("cannot start %s: %v", name, err)
	}
	_ = out.Close() // the process has its own
	go func() {
		_ = p.cmd.Wait() // how it ended does not matter: it is killed most times
		close(p.done)
	}()
	s.mu.Lock()
	s.processes = append(s.processes, p)
	s.mu.Unlock()
	return p
}

// signal may come when the process has ended already.
func (p *process) signal(sig syscall.Signal) { _ = p.cmd.Process.Signal(sig) }

func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.done
}

// end asks the process to end, and kills it if it does not: then it prints first what its goroutines do. It reports
// whether it ended by itself.
func (p *process) end(within time.Duration) bool {
	p.signal(syscall.SIGTERM)
	select {
	case <-p.done:
		return true
	case <-time.After(within):
	}
	p.signal(syscall.SIGQUIT)
	select {
	case <-p.done:
	case <-time.After(2 * time.Second):
		p.kill()
	}
	return false
}

// crash returns the line with which the process reported a data race or a panic, or nothing.
func (p *process) crash() string {
	out, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	for line := range bytes.Lines(out) {
		for _, sign := range []string{"WARNING: DATA RACE", "panic: ", "fatal error: "} {
			if bytes.Contains(line, []byte(sign)) {
				return string(bytes.TrimSpace(line))
			}
		}
	}
	return ""
}

func freeAddr(t testing.TB) string {
	t.Helper()
	return fmt.Sprintf("127.0.0.1:%d", storetest.FreePort(t))
}
