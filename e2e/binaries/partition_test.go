package binaries_test

import (
	"fmt"
	"strings"
	"testing"

	"sluice/shared/testkit"
)

// TestPartitionCommand: `worker partition TARGET` tells where a target's events may be appended, also when Redis is away.
func TestPartitionCommand(t *testing.T) {
	t.Parallel()
	c := &cluster{prefix: "mine:", partitions: 12}
	ask := func(code int, args ...string) string {
		p := startProcess(t, t, "worker partition", binary(t, "worker"), append([]string{"partition"}, args...),
			fmt.Sprintf("SLUICE_REDIS_URL=redis://127.0.0.1:%d", testkit.FreePort(t)), "SLUICE_PREFIX=mine:", "SLUICE_PARTITIONS=12")
		if got := p.ExitCode(t, patience); got != code {
			t.Errorf("worker partition %s exits with %d, want %d\n%s", strings.Join(args, " "), got, code, p.Tail())
		}
		return p.Printed()
	}
	for _, target := range []string{"all", "user:alice", "topic:room-1"} {
		p := int(crc16(target)) % c.partitions
		if got, want := ask(0, target), fmt.Sprintln(p, hashTag(p, c.partitions), c.ingress(target)); got != want {
			t.Errorf("of %s it prints %q, want %q", target, got, want)
		}
	}
	ask(2)
	ask(2, "room")
	ask(2, "all", "all")
}
