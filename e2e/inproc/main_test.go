// Package inproc_test runs gateways and workers in the test's own process against a
// real redis-server, with a proxy between any of them that knows Redis's protocol:
// so a test can count round trips, hold a command back, lose a reply, or swallow one
// message of a channel, at exactly the place that it is about.
//
//	redis_test.go  a redis-server
//	resp_test.go   Redis's protocol, as far as the proxy needs it
//	proxy_test.go  the proxy and its faults
//	rig_test.go    gateways and workers
//	client_test.go a WebSocket client that can stop reading
//	check_test.go  producers, and what every subscriber must have got
//
// The other files are the tests, by what they are about.
package inproc_test

import (
	"context"
	"flag"
	"fmt"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"
)

// patience bounds the waits for things that should take no time at all.
const patience = 20 * time.Second

var ctx = context.Background()

func TestMain(m *testing.M) {
	flag.Parse()
	// Most of these tests wait for leases and heartbeats, so more of them than there
	// are processors can run at once.
	if err := flag.Set("test.parallel", "8"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	redis.SetLogger(quiet{})
	go watchMachine()
	goleak.VerifyTestMain(m, goleak.IgnoreCurrent())
}

// quiet keeps the Redis client from telling of each attempt to connect.
type quiet struct{}

func (quiet) Printf(context.Context, string, ...any) {}

// late is by how much timers of this process have been late, in all, in nanoseconds: the
// time for which the machine was busy with others.
var late atomic.Int64

func watchMachine() {
	const every = 10 * time.Millisecond
	tick := time.NewTicker(every)
	last := time.Now()
	for now := range tick.C {
		_ = now // when it was due; what counts is when it came
		came := time.Now()
		if d := came.Sub(last) - every; d > every/2 {
			late.Add(int64(d))
		}
		last = came
	}
}

// deadline is a limit in the time that the machine gave to this process: a promise of
// three seconds cannot be held, nor checked, by who was not let run for four.
type deadline struct {
	at   time.Time
	late int64
}

func within(limit time.Duration) deadline {
	return deadline{time.Now().Add(limit), late.Load()}
}

func (d deadline) left() time.Duration {
	return time.Until(d.at) + time.Duration(late.Load()-d.late)
}

// eventually waits until check returns nil.
func eventually(t testing.TB, limit time.Duration, what string, check func() error) {
	t.Helper()
	d := within(limit)
	for {
		err := check()
		if err == nil {
			return
		}
		if d.left() <= 0 {
			t.Fatalf("not within %v: %s: %v", limit, what, err)
		}
		time.Sleep(5 * time.Millisecond)
	}
}
