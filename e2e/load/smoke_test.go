//go:build linux

package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestScenarios runs the scenarios with a hundredth of the numbers against real servers: every event must come, once
// and in order, and every figure must be there. What the figures say does not matter here.
func TestScenarios(t *testing.T) {
	bin, out := t.TempDir(), t.TempDir()
	// With the race detector, as other tests build them: they share the compiler's cache.
	build := exec.Command("go", "build", "-race", "-o", bin+string(filepath.Separator), "sluice/gateway/cmd/gateway", "sluice/worker/cmd/worker")
	if text, err := build.CombinedOutput(); err != nil {
		t.Fatalf("cannot build the servers (%s: %v):\n%s", build, err, text)
	}
	profiles := filepath.Join(out, "profiles")
	small := []string{"-bin", bin, "-out", out, "-scale", "0.01", "-time", "100ms", "-settle", "100ms"}
	for _, args := range [][]string{{"-profile", profiles, "idle"}, {"connect", "idle", "fanout", "unicast", "resume", "slow"}} {
		var table strings.Builder
		if err := run(t.Context(), slices.Concat(small, args), &table); err != nil {
			t.Fatalf("%v: %v\n%s", args, err, table.String())
		}
	}
	b, err := os.ReadFile(filepath.Join(out, "result.json"))
	if err != nil {
		t.Fatal(err)
	}
	var res result
	if err := json.Unmarshal(b, &res); err != nil {
		t.Fatal(err)
	}
	if len(res.Sections) != 6 || !strings.HasPrefix(res.Machine.Redis, "7.") && !strings.HasPrefix(res.Machine.Redis, "8.") {
		t.Errorf("%d sections, Redis %q", len(res.Sections), res.Machine.Redis)
	}
	value := func(section, figure string) float64 {
		for _, s := range res.Sections {
			for _, f := range s.Figures {
				if s.Name == section && f.Name == figure {
					return f.Value
				}
			}
		}
		t.Errorf("%s has no figure %q", section, figure)
		return 0
	}
	for _, x := range [][2]string{{"idle", "connections"}, {"fanout", "deliveries"}, {"fanout", "XADD to client, p99"}, {"fanout", "as fast as it goes"},
		{"unicast", "XADD to client at 50/s, p50"}, {"resume", "own user: last one complete after"}, {"connect", "storm: connects"}} {
		if value(x[0], x[1]) <= 0 {
			t.Errorf("%s: %s is nothing", x[0], x[1])
		}
	}
	if n := value("slow", "events that they missed"); n != 0 {
		t.Errorf("slow clients missed %v events", n)
	}
	for _, file := range []string{"report.html", "profiles/idle-idle-gateway-1.pprof"} {
		if info, err := os.Stat(filepath.Join(out, file)); err != nil || info.Size() == 0 {
			t.Errorf("%s: %v", file, err)
		}
	}
}
