// Package inproc_test runs gateways and workers in the test's own process against a
// real redis-server, with a proxy between any of them that knows Redis's protocol:
// so a test can count round trips, hold a command back, lose a reply, or swallow one
// message of a channel, at exactly the place that it is about.
//
//	machine_test.go deadlines, in the time that the machine gives to the tests
//	redis_test.go   a redis-server
//	resp_test.go    Redis's protocol, as far as the proxy needs it
//	proxy_test.go   the proxy and its faults
//	rig_test.go     gateways and workers
//	client_test.go  a WebSocket client that can stop reading
//	goroad_test.go  Go clients, and links of theirs that can be broken
//	check_test.go   producers, and what every subscriber must have got
//
// The other files are the tests, by what they are about.
package inproc_test

import (
	"context"
	"flag"
	"fmt"
	"os"
	"strconv"
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
	if err := flag.Set("test.parallel", strconv.Itoa(atOnce)); err != nil {
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
