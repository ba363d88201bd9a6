package binaries_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// process is a started binary with what it has printed.
type process struct {
	name string
	cmd  *exec.Cmd
	out  *output
	done chan struct{} // closed when the process has ended and was waited for
}

// startProcess starts a binary and ends it with its keeper. env is added to the test's own environment, of which
// nothing that begins with SLUICE_ is passed on.
func startProcess(t testing.TB, k keeper, name, path string, args []string, env ...string) *process {
	t.Helper()
	p := &process{name: name, cmd: exec.Command(path, args...), out: &output{}, done: make(chan struct{})}
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "SLUICE_") {
			p.cmd.Env = append(p.cmd.Env, v)
		}
	}
	// Without this a race-instrumented process sleeps for one second before it exits.
	p.cmd.Env = append(p.cmd.Env, "GORACE=atexit_sleep_ms=0")
	p.cmd.Env = append(p.cmd.Env, env...)
	p.cmd.Dir = os.TempDir() // not the checkout: a binary must not need files of it
	p.cmd.Stdout, p.cmd.Stderr = p.out, p.out
	p.cmd.SysProcAttr = dieWithParent()
	if err := p.cmd.Start(); err != nil {
		t.Fatalf("cannot start %s: %v", name, err)
	}
	go func() {
		_ = p.cmd.Wait() // its outcome is in ProcessState
		close(p.done)
	}()
	k.Cleanup(func() {
		p.kill()
		if line := p.crash(); line != "" {
			k.Errorf("%s printed %q", p.name, line)
		}
		if k.Failed() {
			k.Errorf("%s", p.tail())
		}
	})
	return p
}

// kill ends the process with SIGKILL, and waits. It may be called again.
func (p *process) kill() {
	_ = p.cmd.Process.Kill() // already ended is as good
	<-p.done
}

func (p *process) signal(t testing.TB, sig syscall.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(sig); err != nil {
		t.Fatalf("cannot send %v to %s: %v\n%s", sig, p.name, err, p.tail())
	}
}

func (p *process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// waitExit waits for the process to end by itself and returns its exit code, -1 for death by a signal.
func (p *process) waitExit(t testing.TB) int {
	t.Helper()
	select {
	case <-p.done:
		return p.cmd.ProcessState.ExitCode()
	case <-time.After(patience):
		t.Fatalf("%s did not exit within %v\n%s", p.name, patience, p.tail())
		return -1
	}
}

// waitOutput waits until the process has printed what the expression matches, and returns the submatches.
func (p *process) waitOutput(t testing.TB, expression string) []string {
	t.Helper()
	re := regexp.MustCompile(expression)
	var found []string
	eventually(t, func() error {
		ended := p.ended() // before the look, so that the last words count
		if found = re.FindStringSubmatch(p.out.String()); found != nil {
			return nil
		}
		if ended {
			t.Fatalf("%s exited before it printed %s\n%s", p.name, expression, p.tail())
		}
		return fmt.Errorf("%s has not printed %s\n%s", p.name, expression, p.tail())
	})
	return found
}

// crash returns the line with which the process reported a data race or a panic, or nothing.
func (p *process) crash() string {
	for line := range strings.Lines(p.out.String()) {
		for _, sign := range []string{"WARNING: DATA RACE", "panic: ", "fatal error: "} {
			if strings.Contains(line, sign) {
				return line
			}
		}
	}
	return ""
}

// tail is the end of what the process printed, for failure messages.
func (p *process) tail() string {
	const most = 6000
	text := p.out.String()
	if cut := len(text) - most; cut > 0 {
		text = "..." + text[cut:]
	}
	return fmt.Sprintf("--- %s (pid %d) printed:\n%s\n---", p.name, p.cmd.Process.Pid, text)
}

// output collects what a process prints, from both streams, and keeps the newest megabytes.
type output struct {
	mu  sync.Mutex // guards buf
	buf []byte
}

func (o *output) Write(b []byte) (int, error) {
	const most = 4 << 20
	o.mu.Lock()
	defer o.mu.Unlock()
	o.buf = append(o.buf, b...)
	if len(o.buf) > 2*most {
		o.buf = append([]byte(nil), o.buf[len(o.buf)-most:]...)
	}
	return len(b), nil
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return string(o.buf)
}

// ports hands out loopback ports below the range from which the kernel takes the ports of outgoing connections: a port
// of that range could be taken again between its choice here and the start of the server that is told to use it.
var ports = struct {
	sync.Mutex
	next int
}{next: 20000 + rand.IntN(8000)}

func freePort(t testing.TB) int {
	t.Helper()
	ports.Lock()
	defer ports.Unlock()
	for range 4000 {
		ports.next++
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", ports.next))
		if err == nil {
			_ = l.Close()
			return ports.next
		}
		if !errors.Is(err, syscall.EADDRINUSE) {
			t.Fatalf("cannot listen on loopback: %v", err)
		}
	}
	t.Fatal("no free loopback port")
	return 0
}

func freeAddr(t testing.TB) string {
	t.Helper()
	return fmt.Sprintf("127.0.0.1:%d", freePort(t))
}
