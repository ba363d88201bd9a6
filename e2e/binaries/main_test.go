// Package binaries_test drives the built binaries as an operator and a client would: separate processes, a real
// redis-server, and nothing but the documented wire, keys and environment variables. Of the project it imports only what
// runs programs, so that it is an independent reading of the contract; what it needs of it (partition numbers, cursors,
// tokens, frames) it works out by itself.
//
// Read build, process, redis, cluster, client, frame and names for the tools; every other file checks one part of the
// contract. Most tests share one running cluster (sharedCluster) under target names of their own.
package binaries_test

import (
	"flag"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"sluice/shared/testkit"

	"go.uber.org/goleak"
)

// patience is how long a condition may take before its test fails. It is far above what a healthy system needs, since
// race-instrumented binaries may share two slow cores with other packages' tests.
const patience = 20 * time.Second

// parallelTests is used unless -parallel is given: the tests wait for other processes much more than they compute, so
// the default of one test per core would only make the suite slower.
const parallelTests = 6

// suite keeps what outlives a single test: the built binaries and the shared cluster.
var suite = &suiteKeeper{}

func TestMain(m *testing.M) {
	flag.Parse()
	chosen := false
	flag.Visit(func(f *flag.Flag) { chosen = chosen || f.Name == "test.parallel" })
	if !chosen {
		if err := flag.Set("test.parallel", fmt.Sprint(parallelTests)); err != nil {
			panic(err)
		}
	}
	code := m.Run()
	suite.close()
	testkit.RemoveBuilds()
	if suite.Failed() {
		code = 1
	}
	if code == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, "the suite leaked goroutines:", err)
			code = 1
		}
	}
	os.Exit(code)
}

// keeper is the lifetime of a process: a test's, or the whole suite's.
type keeper = testkit.Keeper

// suiteKeeper is the keeper that ends after the last test.
type suiteKeeper struct {
	mu       sync.Mutex // guards both fields
	cleanups []func()
	failed   bool
}

func (s *suiteKeeper) Cleanup(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cleanups = append(s.cleanups, f)
}

func (s *suiteKeeper) Errorf(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failed = true
	fmt.Fprintf(os.Stderr, format+"\n", args...)
}

func (s *suiteKeeper) Failed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failed
}

// close runs the cleanups, the youngest first, as a test would.
func (s *suiteKeeper) close() {
	for {
		s.mu.Lock()
		n := len(s.cleanups)
		if n == 0 {
			s.mu.Unlock()
			return
		}
		last := s.cleanups[n-1]
		s.cleanups = s.cleanups[:n-1]
		s.mu.Unlock()
		last()
	}
}

// eventually waits until check returns nil; at the deadline it fails with what check said last.
func eventually(t testing.TB, check func() error) {
	t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := check()
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("still not so after %v: %v", patience, err)
		}
	}
}
