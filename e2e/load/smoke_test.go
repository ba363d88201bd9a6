//go:build linux

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sluice/shared/testkit"
)

// servers are built with the race detector as other tests do it: they share the compiler's cache.
var servers = testkit.Build{Race: true, Packages: []string{"./gateway/cmd/gateway", "./worker/cmd/worker"}}

func readResult(t *testing.T, dir string) (res result) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, "result.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &res); err != nil {
		t.Fatal(err)
	}
	return res
}

// TestScenarios runs the scenarios with a hundredth of the numbers against real servers: every event must come, once
// and in order, and every figure must be there. What the figures say does not matter here.
func TestScenarios(t *testing.T) {
	bin, out := servers.Dir(t), t.TempDir()
	profiles := filepath.Join(out, "profiles")
	small := []string{"-bin", bin, "-out", out, "-scale", "0.01", "-time", "100ms", "-settle", "100ms"}
	for _, args := range [][]string{{"-profile", profiles, "idle"}, {"connect", "idle", "fanout", "unicast", "intake", "resume", "slow", "calls", "post"}} {
		var table strings.Builder
		if err := run(t.Context(), slices.Concat(small, args), &table); err != nil {
			t.Fatalf("%v: %v\n%s", args, err, table.String())
		}
	}
	res := readResult(t, out)
	if len(res.Sections) != 9 || !strings.HasPrefix(res.Machine.Redis, "7.") && !strings.HasPrefix(res.Machine.Redis, "8.") {
		t.Errorf("%d sections, Redis %q", len(res.Sections), res.Machine.Redis)
	}
	value := func(section, figure string) float64 {
		for _, s := range res.Sections {
			for _, m := range s.Measurements {
				if s.Name == section && m.Name == figure {
					return m.Value
				}
			}
		}
		t.Errorf("%s has no figure %q", section, figure)
		return 0
	}
	for _, x := range [][2]string{{"idle", "connections"}, {"fanout", "deliveries"}, {"fanout", "XADD to client, p99"}, {"fanout", "as fast as it goes"},
		{"calls", "calls at 20/s"}, {"calls", "call to reply at 3/s, p50"}, {"unicast", "XADD to client at 50/s, p50"}, {"intake", "XADD to client through the intake, p50"}, {"intake", "Redis direct: xadd"}, {"post", "all, over HTTP"}, {"resume", "own user: last one complete after"}, {"connect", "storm: connects"}} {
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

// TestAttach loads an installation that runs already.
func TestAttach(t *testing.T) {
	cfg, err := parse(t.Context(), []string{"-bin", servers.Dir(t)}, "", io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	in, err := install(t.Context(), cfg, 2)
	if err != nil {
		t.Fatal(err)
	}
	defer in.close()
	out := t.TempDir()
	var table strings.Builder
	err = run(t.Context(), []string{"-url", fmt.Sprintf("ws://%s,ws://%s", in.gateways[0], in.gateways[1]), "-redis", "redis://" + in.options.Addr,
		"-out", out, "-scale", "0.01", "-time", "100ms", "-via", "intake", "fanout"}, &table)
	if err != nil {
		t.Fatalf("%v\n%s", err, table.String())
	}
	for _, m := range readResult(t, out).Sections[0].Measurements {
		if m.Name == "deliveries" && m.Value <= 0 {
			t.Errorf("%s: %v", m.Name, m.Value)
		}
		if strings.Contains(m.Name, "gateways") {
			t.Errorf("%q is told of processes that are not known", m.Name)
		}
	}
}
