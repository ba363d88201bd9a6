package compose_test

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

func (s *system) appendedSoFar() int {
	s.tally.mu.Lock()
	defer s.tally.mu.Unlock()
	return s.events
}

// eventsMore waits until so many events more were appended.
func (s *system) eventsMore(t testing.TB, n int) {
	t.Helper()
	before := s.appendedSoFar()
	eventually(t, func() error { return atLeast("events appended", s.appendedSoFar()-before, n) })
}

// killWorker kills one of the workers: the other one takes its partitions.
func killWorker(t *testing.T, s *system) {
	workers := s.containers(t, "worker")
	had := s.owners(t)[hostname(t, workers[0])]
	docker(t, "kill", workers[0])
	s.waitShared(t, workers[1:])
	s.settle(t)
	t.Logf("killed %s, which had %d partitions", name(t, workers[0]), had)
	docker(t, "start", workers[0])
	s.waitShared(t, workers)
}

// pauseWorker freezes a worker for longer than its lease. It wakes up deposed.
func pauseWorker(t *testing.T, s *system) {
	workers := s.containers(t, "worker")
	begin := time.Now()
	docker(t, "pause", workers[0])
	s.waitShared(t, workers[1:])
	s.settle(t)
	docker(t, "unpause", workers[0])
	t.Logf("%s slept for %v; the other one took its partitions", name(t, workers[0]), round(time.Since(begin)))
	s.waitShared(t, workers)
}

// noWorker stops all workers for some seconds of events.
func noWorker(t *testing.T, s *system) {
	workers := s.containers(t, "worker")
	all(t, workers, "stop", "--time", "15")
	for _, id := range workers {
		mustEndInOrder(t, id)
	}
	begin := time.Now()
	s.eventsMore(t, 4*rate)
	waiting, err := s.producer.rdb.XLen(t.Context(), "sluice:events").Result()
	if err != nil {
		t.Fatal(err)
	}
	if err := atLeast("entries wait in the intake", int(waiting), 3*rate); err != nil {
		t.Error(err)
	}
	all(t, workers, "start")
	t.Logf("no worker for %v, %d entries in the intake by then", round(time.Since(begin)), waiting)
	s.waitShared(t, workers)
}

// restartRedis stops Redis in order and starts it again with its append-only file.
func restartRedis(t *testing.T, s *system) {
	id := s.one(t, "redis")
	docker(t, "restart", "--time", "30", id)
	s.eventsMore(t, rate)
	if closes := s.closedWith(); len(closes) > 0 {
		t.Errorf("connections ended with %v, want that gateways keep them", closes)
	}
}

// clientsOf counts the clients of each of the containers.
func (s *system) clientsOf(t *testing.T, gateways []string) map[string]int {
	t.Helper()
	n := map[string]int{}
	counts := s.gateways()
	for _, id := range gateways {
		host := hostname(t, id)
		for server, clients := range counts {
			if strings.HasPrefix(server, host) {
				n[id] += clients
			}
		}
	}
	return n
}

// fullest is the gateway with the most clients, and how many these are.
func (s *system) fullest(t *testing.T) (id string, has int) {
	t.Helper()
	for gateway, n := range s.clientsOf(t, s.containers(t, "gateway")) {
		if n > has {
			id, has = gateway, n
		}
	}
	if has == 0 {
		t.Fatal("no gateway has clients")
	}
	return id, has
}

// killGateway kills the gateway that has the most clients.
func killGateway(t *testing.T, s *system) {
	victim, has := s.fullest(t)
	docker(t, "kill", victim)
	eventually(t, func() error { return atLeast("clients noticed it", s.closedSoFar(), has) })
	s.waitIn(t)
	t.Logf("killed %s, which had %d clients", name(t, victim), has)
	docker(t, "start", victim)
	s.waitTakesClients(t, []string{victim})
}

func (s *system) closedSoFar() (n int) {
	for _, count := range s.closedWith() {
		n += count
	}
	return n
}

// cutOff takes a gateway out of Redis's network and puts it back.
func cutOff(t *testing.T, s *system) {
	victim, has := s.fullest(t)
	network := s.network(t, "back")
	balancer := s.one(t, "haproxy")
	begin := time.Now()
	docker(t, "network", "disconnect", network, victim)
	haproxySays := func(what string) {
		t.Helper()
		eventually(t, func() error {
			if log := docker(t, "logs", "--since", begin.Format(time.RFC3339Nano), balancer); !strings.Contains(log, what) {
				return fmt.Errorf("HAProxy has not said %q; since then it has said:\n%s", what, log)
			}
			return nil
		})
	}
	haproxySays("is DOWN, reason: Layer7")
	noticed := time.Since(begin)
	for range 10 {
		if v := visit(t, s.haproxy, "prober", nil); strings.HasPrefix(v.server, hostname(t, victim)) {
			t.Errorf("a new client came to %s", v.server)
		}
	}
	s.eventsMore(t, 3*rate)
	docker(t, "network", "connect", network, victim)
	t.Logf("%s with %d clients was cut off for %v; HAProxy noticed it after %v and brought it nobody more",
		name(t, victim), has, round(time.Since(begin)), round(noticed))
	haproxySays("is UP, reason: Layer7 check passed")
}
