//go:build linux

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
	busy, _ := machineBusy()
	limit := time.Now().Add(patience)
	for after := before; after < before+0.05; {
		if time.Now().After(limit) {
			t.Fatalf("after %v of work the CPU time grew from %v to %v s", patience, before, after)
		}
		for end := time.Now().Add(10 * time.Millisecond); time.Now().Before(end); {
		}
		if after, err = cpuOf(os.Getpid()); err != nil {
			t.Fatal(err)
		}
	}
	if now, _ := machineBusy(); now-busy < 0.05-1e-6 { // sums of ticks of 10 ms, as floats
		t.Errorf("the whole machine used %v s meanwhile", now-busy)
	}
	if rss, err := rssOf(os.Getpid()); err != nil || rss < 1<<20 || rss > 1<<40 {
		t.Errorf("own memory: %d bytes, error %v", rss, err)
	}
	if _, err := cpuOf(1 << 30); err == nil {
		t.Error("a process that does not exist has a CPU time")
	}
}
