package binaries_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"sluice/shared/testkit"
)

// goPrograms are the whole Go programs that README.md prints, by the package of ours that they import.
func goPrograms(t *testing.T) map[string]string {
	t.Helper()
	programs := map[string]string{}
	for _, m := range regexp.MustCompile("(?ms)^```go\n(package main\n.*?)^```$").FindAllStringSubmatch(read(t, "../../README.md"), -1) {
		ours := regexp.MustCompile(`"sluice/shared/(\w+)"`).FindStringSubmatch(m[1])
		if ours == nil {
			t.Fatalf("this imports nothing of ours:\n%s", m[1])
		}
		programs[ours[1]] = m[1]
	}
	return programs
}

// start builds a printed program and runs it, with addresses of this test in place of the printed ones.
func (l *local) start(t *testing.T, text string, names ...string) *testkit.Process {
	t.Helper()
	text = strings.NewReplacer(append([]string{"http://127.0.0.1:8080", "http://" + l.addr, "redis://127.0.0.1:6379", "redis://" + l.redis}, names...)...).Replace(text)
	dir := t.TempDir()
	file, path := filepath.Join(dir, "main.go"), filepath.Join(dir, "example")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("go", "build", "-o", path, file).CombinedOutput(); err != nil {
		t.Fatalf("a printed program cannot be built: %v\n%s\n%s", err, out, text)
	}
	return startProcess(t, t, "example", path, nil)
}

// TestGoExamples runs the Go programs that README.md prints.
func TestGoExamples(t *testing.T) {
	t.Parallel()
	programs := goPrograms(t)
	l := startLocal(t)
	rdb := newRedisClient(l.redis, "")
	t.Cleanup(func() { _ = rdb.Close() })

	reader := l.start(t, programs["client"])
	eventually(t, func() error { // until it has subscribed, events come again
		l.add(t, rdb, "topic:room-1", `{"text":"from Redis"}`)
		if !strings.Contains(reader.Printed(), `{"text":"from Redis"}`) {
			return fmt.Errorf("the client printed %q", reader.Printed())
		}
		return nil
	})

	writer := l.start(t, programs["producer"])
	if code := writer.ExitCode(t, patience); code != 0 {
		t.Fatalf("the producer exited with %d\n%s", code, writer.Tail())
	}
	eventually(t, func() error {
		if !strings.Contains(reader.Printed(), `{"text":"hi from Go"}`) {
			return fmt.Errorf("the client printed %q", reader.Printed())
		}
		return nil
	})
}
