package main

import (
	"os"
	"testing"
	"time"
)

func TestOwnProcess(t *testing.T) {
	before, err := cpuOf(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	const work = 0.3 // seconds
	busy, stolen, err := machineBusy()
	if err != nil {
		t.Fatal(err)
	}
	limit := time.Now().Add(patience)
	for after := before; after < before+work; {
		if time.Now().After(limit) {
			t.Fatalf("after %v of work the CPU time grew from %v to %v s", patience, before, after)
		}
		for end := time.Now().Add(10 * time.Millisecond); time.Now().Before(end); {
		}
		if after, err = cpuOf(os.Getpid()); err != nil {
			t.Fatal(err)
		}
	}
	// A process's time is measured, the machine's is sampled a hundred times a second, and what the hypervisor took
	// may count for the process: the two agree in their unit, not in every tick.
	nowBusy, nowStolen, err := machineBusy()
	if err != nil {
		t.Fatal(err)
	}
	if all := nowBusy - busy + nowStolen - stolen; all < work/2 {
		t.Errorf("the whole machine used %v s while one process used %v s", all, work)
	}
	if rss, err := rssOf(os.Getpid()); err != nil || rss < 1<<20 || rss > 1<<40 {
		t.Errorf("own memory: %.0f bytes, error %v", rss, err)
	}
	if _, err := cpuOf(1 << 30); err == nil {
		t.Error("a process that does not exist has a CPU time")
	}
}
