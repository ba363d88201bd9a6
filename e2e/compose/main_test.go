// Package compose_test drives the system as it is deployed: the containers of compose.yaml, reached from outside
// through the load balancers, while parts of them are stopped, killed, paused, scaled and cut off.
//
//	system_test.go   the run: what is done, in which order, and the judgement over the whole
//	first_test.go    what a newcomer does: the page, an event, coming back; and what the images are
//	restart_test.go  scaling, rolling restart, reload, everything at once
//	faults_test.go   what dies, pauses, or is cut off
//	stack_test.go    the containers: start, find, wait, logs
//	docker_test.go   the commands of Docker and Compose
//	fleet_test.go    clients under load, and when they have everything
//	client_test.go   one client that comes back and writes down what it sees
//	producer_test.go events at a steady rate
//	tally_test.go    the figures of a step
//	judge_test.go    what Redis holds at the end, for the checker of package torture
//
// Where no Docker engine answers the test is skipped; with SLUICE_NEED_DOCKER=1 it fails. Where the engine reaches no
// registry, infra/tools/standin-images.sh makes the images that these are built from.
package compose_test

import (
	"context"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"
)

// silent keeps the producer's Redis client from telling of every connection that could not be made.
type silent struct{}

func (silent) Printf(context.Context, string, ...any) {}

func TestMain(m *testing.M) {
	redis.SetLogger(silent{})
	goleak.VerifyTestMain(m)
}

// patience is how long a condition may take before its test fails: far above what a healthy system needs, since other
// packages' tests may share the cores.
const patience = 2 * time.Minute

// eventually waits until check returns nil; at the deadline it fails with what check said last.
func eventually(t testing.TB, check func() error) {
	t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	tick := time.NewTicker(100 * time.Millisecond)
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
