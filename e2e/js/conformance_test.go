package js_test

import (
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"sluice/shared/conformance"
)

// TestConformance: the JavaScript client passes every script of the kit.
func TestConformance(t *testing.T) {
	t.Parallel()
	path, flags := node(t)
	scripts, err := conformance.Scripts()
	if err != nil {
		t.Fatal(err)
	}
	s, err := conformance.NewServer("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	urls := make([]string, len(scripts))
	for i, script := range scripts {
		urls[i] = s.URL(script.Name)
	}
	cmd := exec.CommandContext(t.Context(), path, append(flags, "conformance.mjs")...)
	cmd.Env = append(os.Environ(), "NODE_NO_WARNINGS=1", "SLUICE_CONFORMANCE_URL="+strings.Join(urls, " "))
	cmd.Stderr = os.Stderr
	cmd.WaitDelay = 5 * time.Second
	t.Run("scripts", func(t *testing.T) {
		for _, script := range scripts {
			t.Run(script.Name, func(t *testing.T) {
				t.Parallel()
				if err := s.Play(t.Context(), script); err != nil {
					t.Errorf("%s\n%v", script.Promise, err)
				}
			})
		}
		if err := cmd.Start(); err != nil { // now that the scripts wait to be played, or soon do
			t.Fatal(err)
		}
	})
	_ = cmd.Process.Kill()
	_ = cmd.Wait() // it was killed
}
