package testkit_test

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"sluice/shared/testkit"
)

const patience = 20 * time.Second

func TestMain(m *testing.M) {
	code := m.Run()
	testkit.RemoveBuilds()
	if err := goleak.Find(); code == 0 && err != nil {
		fmt.Fprintln(os.Stderr, "the tests leaked goroutines:", err)
		code = 1
	}
	os.Exit(code)
}

// shell is a program of /bin/sh.
func shell(name, script string, env ...string) testkit.Program {
	return testkit.Program{Name: name, Path: "/bin/sh", Args: []string{"-c", script}, Env: env}
}

func TestProcess(t *testing.T) {
	t.Setenv("SLUICE_OF_THE_TEST", "must not be passed on")
	for _, log := range []string{"", filepath.Join(t.TempDir(), "log")} {
		o := shell("polite", `trap 'echo bye; exit 3' TERM; echo "hello $SLUICE_TEST $SLUICE_OF_THE_TEST."; while :; do sleep 0.05; done`, "SLUICE_TEST=there")
		o.Log = log
		p := o.Start(t, t)
		if got := p.AwaitOutput(t, patience, `hello (there) \.`); got[1] != "there" {
			t.Errorf("the submatches are %q", got)
		}
		p.Signal(t, syscall.SIGTERM)
		if code := p.ExitCode(t, patience); code != 3 {
			t.Errorf("exit code %d, want 3", code)
		}
		p.AwaitOutput(t, patience, `bye`)
	}
	stubborn := shell("stubborn", `trap '' TERM QUIT; echo up; while :; do sleep 0.05; done`).Start(t, t)
	stubborn.AwaitOutput(t, patience, `up`)
	if stubborn.End(10*time.Millisecond) || !stubborn.Ended() || stubborn.ExitCode(t, patience) != -1 {
		t.Error("a killed process is not known to have ended by a signal")
	}
	stubborn.Kill() // again
}

// deaf is a test that fails without the real one doing so.
type deaf struct {
	end  []func()
	said []string
}

func (d *deaf) Cleanup(f func())          { d.end = append(d.end, f) }
func (d *deaf) Failed() bool              { return len(d.said) > 0 }
func (d *deaf) Errorf(f string, a ...any) { d.said = append(d.said, fmt.Sprintf(f, a...)) }

// TestCrash: a keeper hears of a data race, and what was printed last.
func TestCrash(t *testing.T) {
	for _, script := range []string{"echo all is well", "echo all is well; echo WARNING: DATA RACE"} {
		keeper := &deaf{}
		p := shell("racy", script).Start(t, keeper)
		p.ExitCode(t, patience)
		for _, f := range keeper.end {
			f()
		}
		said := strings.Join(keeper.said, "\n")
		if crashed := strings.Contains(script, "RACE"); keeper.Failed() != crashed || crashed && !strings.Contains(said, "all is well") {
			t.Errorf("%s: the keeper heard %q", script, said)
		}
	}
}

// TestPorts: no port is given twice, neither by this process nor by another one, whoever listens on them meanwhile.
func TestPorts(t *testing.T) {
	const n = 300 // more than a block
	if os.Getenv("OTHER_PROCESS") != "" {
		for range n {
			fmt.Println(testkit.FreeAddr(t))
		}
		_, _ = io.Copy(io.Discard, os.Stdin) // its ports are its own until then
		return
	}
	other := exec.Command(os.Args[0], "-test.run=^TestPorts$")
	other.Env = append(os.Environ(), "OTHER_PROCESS=1")
	until, err := other.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	said, err := other.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	seen := make(map[string]bool)
	for range n {
		addr := testkit.FreeAddr(t)
		if seen[addr] {
			t.Errorf("%s was given twice", addr)
		}
		seen[addr] = true
	}
	lines := bufio.NewScanner(said)
	for range n {
		if !lines.Scan() || seen[lines.Text()] {
			t.Fatalf("the other process was given %q, too", lines.Text())
		}
	}
	_ = until.Close()
	_, _ = io.Copy(io.Discard, said)
	if err := other.Wait(); err != nil {
		t.Error(err)
	}
}

func TestAuthority(t *testing.T) {
	a := testkit.NewAuthority(t)
	pair, err := tls.LoadX509KeyPair(a.Issue(t, "server"))
	if err != nil {
		t.Fatal(err)
	}
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	go func() {
		for c, err := l.Accept(); err == nil; c, err = l.Accept() {
			_ = c.(*tls.Conn).Handshake()
			_ = c.Close()
		}
	}()
	for _, x := range []struct {
		of   *testkit.Authority
		good bool
	}{{a, true}, {testkit.NewAuthority(t), false}} {
		c, err := tls.Dial("tcp", l.Addr().String(), &tls.Config{RootCAs: x.of.Pool(), MinVersion: tls.VersionTLS12})
		if (err == nil) != x.good {
			t.Errorf("of its own authority: %v; %v", x.good, err)
		}
		if err == nil {
			_ = c.Close()
		}
	}
}

func TestBuild(t *testing.T) {
	b := testkit.Build{Packages: []string{"./shared/testkit/testdata/hello"}}
	dir := b.Dir(t)
	if again := b.Dir(t); again != dir {
		t.Errorf("built into %s and %s", dir, again)
	}
	testkit.Program{Path: filepath.Join(dir, "hello")}.Start(t, t).AwaitOutput(t, patience, "hello")
}
