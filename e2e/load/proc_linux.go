package main

import (
	"fmt"
	"runtime"
	"strings"

	"github.com/prometheus/procfs"
)

// proc is /proc. If there is none, each read of it says so.
func proc() procfs.FS {
	fs, _ := procfs.NewDefaultFS()
	return fs
}

// cpuOf is the CPU time that a process has used, in seconds. The kernel counts it exactly and tells it in ticks of 10 ms.
func cpuOf(pid int) (float64, error) {
	p, err := proc().Proc(pid)
	if err != nil {
		return 0, fmt.Errorf("cannot read the CPU time of process %d: %w", pid, err)
	}
	s, err := p.Stat()
	return s.CPUTime(), err
}

// rssOf is the resident memory of a process in bytes.
func rssOf(pid int) (float64, error) {
	p, err := proc().Proc(pid)
	if err != nil {
		return 0, fmt.Errorf("cannot read the memory of process %d: %w", pid, err)
	}
	s, err := p.NewStatus()
	return float64(s.VmRSS), err
}

// machineBusy is the CPU time that all processes together have used, in seconds, and what the hypervisor gave to others.
func machineBusy() (busy, stolen float64, err error) {
	s, err := proc().Stat()
	c := s.CPUTotal
	return c.User + c.Nice + c.System + c.IRQ + c.SoftIRQ, c.Steal, err
}

// memoryAvailable is what can be used without swapping, in bytes; 0 if it is not known.
func memoryAvailable() float64 {
	m, err := proc().Meminfo()
	if err != nil || m.MemAvailableBytes == nil {
		return 0
	}
	return float64(*m.MemAvailableBytes)
}

// cpuName and kernel are for the report.
func cpuName() string {
	list, err := proc().CPUInfo()
	if err != nil || len(list) == 0 || list[0].ModelName == "" {
		return "unknown processor"
	}
	return list[0].ModelName
}

func kernel() string {
	release, _ := proc().SysctlStrings("kernel/osrelease")
	return strings.TrimSpace(runtime.GOOS + " " + strings.Join(release, " "))
}
