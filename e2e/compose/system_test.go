package compose_test

import (
	"testing"
	"time"

	"sluice/e2e/torture"
)

// system is the stack with the clients on it.
type system struct {
	*stack
	*fleet
	faults []torture.Fault
}

// TestSystem does one thing after the other to one system, the most of them under load. After each step every client
// must have everything, and at the end the checker judges the whole.
func TestSystem(t *testing.T) {
	s := &system{stack: startStack(t)}
	for _, step := range []struct {
		name string
		do   func(*testing.T, *system)
	}{
		{"the images", images},
		{"who is believed", believesNobody},
		{"the page", page},
		{"delivery", deliver},
		{"resume across gateways", comeBack},
	} {
		if !t.Run(step.name, func(t *testing.T) { step.do(t, s) }) {
			return
		}
	}

	s.fleet = startFleet(t, s.stack)
	t.Logf("%d clients, %d events/s; clients of each gateway: %v", clients, rate, s.gateways())
	for _, step := range []struct {
		name string
		do   func(*testing.T, *system)
	}{
		{"load", load},
		{"scale both tiers up and down", scale},
		{"rolling restart of both gateways", rollingRestart},
		{"HAProxy reload", reloadHAProxy},
		{"worker death", killWorker},
		{"worker asleep", pauseWorker},
		{"no worker for a while", noWorker},
		{"Redis restart", restartRedis},
		{"gateway death", killGateway},
		{"gateway cut off from Redis", cutOff},
		{"SIGTERM of everything", stopEverything},
	} {
		if !t.Run(step.name, func(t *testing.T) { s.step(t, step.name, step.do) }) {
			return
		}
	}

	s.finish(t)
	s.noneFell(t)
	verdict := judge(t, s.fleet, s.stack, s.faults)
	t.Logf("the whole: %v", verdict)
	if !verdict.OK() {
		t.Errorf("a promise was broken:\n%s", verdict.Explain())
	}
}

// step does something to the system and waits until every client has everything.
func (s *system) step(t *testing.T, name string, do func(*testing.T, *system)) {
	s.begin()
	begin := time.Now()
	do(t, s)
	s.faults = append(s.faults, torture.Fault{Kind: name, Place: "the containers", Begin: begin, End: time.Now()})
	s.settle(t)
	t.Logf("%s: all have everything after %v: %v", name, round(time.Since(begin)), &s.tally)
	if !s.ordered() {
		t.Error("events were repeated or came out of order")
	}
}

// load does nothing but to wait for ten seconds of events.
func load(t *testing.T, s *system) {
	s.eventsMore(t, 10*rate)
}
