package testkit

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Keeper is the lifetime of a program: a test's, or that of a whole suite.
type Keeper interface {
	Cleanup(f func())
	Failed() bool
	Errorf(format string, args ...any)
}

// Program is what is to be started.
type Program struct {
	Name string   // in messages; by default the last element of Path
	Path string   // or a name on the PATH
	Args []string // without the name
	// Env is added to the test's own environment, of which nothing that begins with SLUICE_ is passed on.
	Env []string
	Dir string // by default one without the files of the checkout: a binary must not need them
	// Log is the file to which it prints. By default the newest megabytes are kept in memory.
	Log string
}

// Start starts the program. It is killed at the end of its keeper, which fails if the program has reported a data race or a
// panic, and tells what it printed last if it has failed. Without a keeper (nil) the caller ends it. In any case it
// does not outlive the tests (on Linux).
func (o Program) Start(tb testing.TB, k Keeper) *Process {
	tb.Helper()
	if o.Name == "" {
		o.Name = filepath.Base(o.Path)
	}
	// No context ends it: its keeper does, so that it outlives whatever a test cancels.
	cmd := exec.CommandContext(context.Background(), o.Path, o.Args...)
	p := &Process{Name: o.Name, cmd: cmd, Log: o.Log, done: make(chan struct{})}
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "SLUICE_") {
			p.cmd.Env = append(p.cmd.Env, v)
		}
	}
	// Without this a race-instrumented process sleeps for one second before it exits.
	p.cmd.Env = append(append(p.cmd.Env, "GORACE=atexit_sleep_ms=0"), o.Env...)
	if p.cmd.Dir = o.Dir; o.Dir == "" {
		p.cmd.Dir = os.TempDir()
	}
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.out
	if o.Log != "" {
		file, err := os.Create(o.Log)
		if err != nil {
			tb.Fatal(err)
		}
		defer func() { _ = file.Close() }() // the process has its own
		p.cmd.Stdout, p.cmd.Stderr = file, file
	}
	if err := p.start(); err != nil {
		tb.Fatalf("cannot start %s: %v", p.Name, err)
	}
	if k != nil {
		k.Cleanup(func() { p.bury(k) })
	}
	return p
}

// Process is a program that was started.
type Process struct {
	Name string
	Log  string // the file to which it prints, if there is one
	cmd  *exec.Cmd
	out  Buffer
	done chan struct{}
}

func (p *Process) start() error {
	p.cmd.SysProcAttr = DieWithParent()
	began := make(chan error, 1)
	go func() {
		// Where the kernel kills a child with its parent, the parent is this thread.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := p.cmd.Start()
		began <- err
		if err == nil {
			_ = p.cmd.Wait() // its outcome is in ProcessState
			close(p.done)
		}
	}()
	return <-began
}

func (p *Process) bury(k Keeper) {
	p.Kill()
	if line := p.Crash(); line != "" {
		k.Errorf("%s printed %q", p.Name, line)
	}
	if k.Failed() {
		k.Errorf("%s", p.Tail())
	}
}

// Pid is its number; 0 if it was not started.
func (p *Process) Pid() int {
	if p.cmd == nil {
		return 0
	}
	return p.cmd.Process.Pid
}

// Done is closed when it has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Ended reports whether it has ended.
func (p *Process) Ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// State says how it ended.
func (p *Process) State() string {
	if !p.Ended() {
		return "running"
	}
	return p.cmd.ProcessState.String()
}

// Kill ends it with SIGKILL, and waits. It may be called again.
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill() // already ended is as good
	<-p.done
}

// TrySignal sends a signal, if it still runs.
func (p *Process) TrySignal(sig os.Signal) { _ = p.cmd.Process.Signal(sig) }

// Signal sends a signal to a process that must still run. After SIGSTOP it returns when the process has stopped: on a busy
// machine it runs on for a while.
func (p *Process) Signal(tb testing.TB, sig os.Signal) {
	tb.Helper()
	if err := p.cmd.Process.Signal(sig); err != nil {
		tb.Fatalf("cannot send %v to %s: %v\n%s", sig, p.Name, err, p.Tail())
	}
	for end := time.Now().Add(stopFor); sig == syscall.SIGSTOP && p.runs(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			tb.Fatalf("%s does not stop within %v", p.Name, stopFor)
		}
	}
}

const stopFor = 10 * time.Second

// runs reports whether a thread of the process has not stopped. false where there is no /proc.
func (p *Process) runs() bool {
	threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", p.Pid()))
	return slices.ContainsFunc(threads, func(path string) bool {
		stat, err := os.ReadFile(path)
		at := bytes.LastIndexByte(stat, ')') + 2                                                   // behind the name, which may hold anything
		return err == nil && at < len(stat) && !bytes.ContainsRune([]byte("TtZX"), rune(stat[at])) // stopped, traced, over
	})
}

// End asks it to end, and kills it if it does not: then a Go program prints first what its goroutines do. It reports whether
// it ended by itself.
func (p *Process) End(within time.Duration) bool {
	p.TrySignal(syscall.SIGTERM)
	select {
	case <-p.done:
		return true
	case <-time.After(within):
	}
	p.TrySignal(syscall.SIGQUIT)
	select {
	case <-p.done:
	case <-time.After(2 * time.Second):
		p.Kill()
	}
	return false
}

// ExitCode waits for it to end by itself, and returns its exit code: -1 for death by a signal.
func (p *Process) ExitCode(tb testing.TB, within time.Duration) int {
	tb.Helper()
	select {
	case <-p.done:
		return p.cmd.ProcessState.ExitCode()
	case <-time.After(within):
		tb.Fatalf("%s did not exit within %v\n%s", p.Name, within, p.Tail())
		return -1
	}
}

// Printed is what it has printed: all of it in a file, the newest megabytes in memory.
func (p *Process) Printed() string {
	if p.Log == "" {
		return p.out.String()
	}
	text, err := os.ReadFile(p.Log)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// AwaitOutput waits until it has printed what an expression matches, and returns the submatches.
func (p *Process) AwaitOutput(tb testing.TB, within time.Duration, expression string) []string {
	tb.Helper()
	re := regexp.MustCompile(expression)
	for limit := time.Now().Add(within); ; time.Sleep(5 * time.Millisecond) {
		ended := p.Ended() // before the look, so that the last words count
		found := re.FindStringSubmatch(p.Printed())
		switch {
		case found != nil:
			return found
		case ended:
			tb.Fatalf("%s exited before it printed %s\n%s", p.Name, expression, p.Tail())
		case time.Now().After(limit):
			tb.Fatalf("%s has not printed %s within %v\n%s", p.Name, expression, within, p.Tail())
		}
	}
}

// Crash returns the line with which it reported a data race or a panic, or nothing.
func (p *Process) Crash() string {
	for line := range strings.Lines(p.Printed()) {
		for _, sign := range []string{"WARNING: DATA RACE", "panic: ", "fatal error: "} {
			if strings.Contains(line, sign) {
				return strings.TrimSpace(line)
			}
		}
	}
	return ""
}

// Tail is the end of what it printed, for messages of failures.
func (p *Process) Tail() string {
	const most = 6000
	text := p.Printed()
	if cut := len(text) - most; cut > 0 {
		text = "..." + text[cut:]
	}
	return fmt.Sprintf("--- %s (pid %d) printed:\n%s\n---", p.Name, p.Pid(), text)
}
