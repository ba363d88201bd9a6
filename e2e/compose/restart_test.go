package compose_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

func atLeast(what string, n, want int) error {
	if n < want {
		return fmt.Errorf("%d %s, want %d", n, what, want)
	}
	return nil
}

// hostname is how the names of a container's processes begin.
func hostname(t testing.TB, id string) string { return inspect(t, id, "{{.Config.Hostname}}") }

// waitTakesClients waits until HAProxy brings new connections to each of the containers, which must be those with the
// fewest.
func (s *system) waitTakesClients(t *testing.T, gateways []string) {
	t.Helper()
	var lacking []string
	for _, id := range gateways {
		lacking = append(lacking, hostname(t, id))
	}
	// They stay for a moment, so that leastconn goes on to the next gateway.
	var visitors []*visitor
	defer func() {
		for _, v := range visitors {
			v.leave()
		}
	}()
	eventually(t, func() error {
		v, err := tryVisit(t, s.haproxy, "prober", nil)
		if err != nil {
			return err
		}
		visitors = append(visitors, v)
		lacking = slices.DeleteFunc(lacking, func(host string) bool { return strings.HasPrefix(v.server, host) })
		if len(lacking) > 0 {
			return fmt.Errorf("HAProxy has not brought anybody to %v", lacking)
		}
		return nil
	})
}

// without are the ids that are not among the others.
func without(ids, others []string) []string {
	return slices.DeleteFunc(slices.Clone(ids), func(id string) bool { return slices.Contains(others, id) })
}

// owners counts the partitions of each worker.
func (s *system) owners(t testing.TB) map[string]int {
	t.Helper()
	n := map[string]int{}
	for p := range partitions {
		owner, _ := s.producer.rdb.Get(t.Context(), keyOf(p, "lease")).Result() // none: it changes hands
		host, _, _ := strings.Cut(owner, "-")
		n[host]++
	}
	return n
}

// waitShared waits until the partitions are shared among the containers.
func (s *system) waitShared(t testing.TB, workers []string) {
	t.Helper()
	share := (partitions + len(workers) - 1) / len(workers)
	var hosts []string
	for _, id := range workers {
		hosts = append(hosts, hostname(t, id))
	}
	eventually(t, func() error {
		owners := s.owners(t)
		for _, host := range hosts {
			if n := owners[host]; n == 0 || n > share {
				return fmt.Errorf("worker %s has %d partitions, want 1 to %d of %v", host, n, share, owners)
			}
		}
		return nil
	})
}

// scale makes both tiers larger and then smaller again.
func scale(t *testing.T, s *system) {
	had := s.containers(t, "gateway")
	s.compose(t, "up", "-d", "--no-build", "--no-recreate", "--scale", "gateway=4", "--scale", "worker=3")
	gateways, workers := s.containers(t, "gateway"), s.containers(t, "worker")
	if len(gateways) != 4 || len(workers) != 3 {
		t.Fatalf("%d gateways and %d workers run", len(gateways), len(workers))
	}
	s.waitTakesClients(t, without(gateways, had))
	s.waitShared(t, workers)
	s.settle(t)
	for i := 0; i < clients; i += 2 {
		s.clients[i].leave()
	}
	eventually(t, func() error { return atLeast("clients left", s.closedSoFar(), clients/2) })
	s.waitIn(t)
	t.Logf("4 gateways take clients, 3 workers share the partitions: %v; half of the clients left and came back; of each gateway: %v",
		s.owners(t), s.gateways())
	mine := s.clientsOf(t, gateways)

	s.compose(t, "up", "-d", "--no-build", "--no-recreate", "--scale", "gateway=2", "--scale", "worker=2")
	s.waitIn(t)
	s.waitShared(t, s.containers(t, "worker"))
	moved := 0
	for _, id := range without(gateways, s.containers(t, "gateway")) {
		moved += mine[id]
	}
	if moved == 0 {
		t.Error("the gateways that were taken away had no clients")
	}
	t.Logf("2 of each again, %d clients had to move; clients of each gateway: %v", moved, s.gateways())
}

// rollingRestart replaces the gateways one after the other by new containers.
func rollingRestart(t *testing.T, s *system) {
	had := s.containers(t, "gateway")
	for _, id := range had {
		begin := time.Now()
		called := name(t, id)
		docker(t, "stop", "--time", "30", id)
		took := time.Since(begin)
		mustEndInOrder(t, id)
		s.remove(t, id)
		s.compose(t, "up", "-d", "--no-build", "--no-recreate", "--no-deps", "gateway")
		now := s.containers(t, "gateway")
		s.waitTakesClients(t, without(now, had))
		had = append(had, now...)
		s.waitIn(t)
		t.Logf("%s sent its clients away within %v, its successor takes some after %v", called, round(took), round(time.Since(begin)))
	}
	// A few may be cut when the machine is too slow for the drain's time.
	if closes := s.closedWith(); closes["1012"] < clients || closes["1006"] > closes["1012"]/100 {
		t.Errorf("connections ended with %v, want 1012, the close code of a restart", closes)
	}
}

// reloadHAProxy makes HAProxy read its configuration again, as after a change.
func reloadHAProxy(t *testing.T, s *system) {
	id := s.one(t, "haproxy")
	processes := func() int { return strings.Count(docker(t, "top", id, "-eo", "pid,comm"), "haproxy") }
	before := processes()
	docker(t, "kill", "--signal", "USR2", id)
	eventually(t, func() error { return atLeast("processes of HAProxy", processes(), before+1) })
	s.waitTakesClients(t, s.containers(t, "gateway"))
	if closes := s.closedWith(); len(closes) > 0 {
		t.Errorf("connections ended with %v, want that all stay", closes)
	}
	t.Log("the new process takes clients, the old one keeps its own")
}

// stopEverything tells all containers to stop at once, and starts them again.
func stopEverything(t *testing.T, s *system) {
	everything := s.containers(t, "")
	inOrder := slices.Concat(s.containers(t, "gateway"), s.containers(t, "worker"), s.containers(t, "playground"), s.containers(t, "redis"))
	begin := time.Now()
	all(t, everything, "kill", "--signal", "TERM")
	eventually(t, func() error {
		if left := s.containers(t, ""); len(left) > 0 {
			return fmt.Errorf("%d of %d containers still run", len(left), len(everything))
		}
		return nil
	})
	took := time.Since(begin)
	for _, id := range inOrder {
		mustEndInOrder(t, id)
	}
	begin = time.Now()
	all(t, everything, "start")
	started := time.Since(begin)
	s.waitIn(t)
	t.Logf("%d containers stopped within %v; they were started within %v, and %v later all clients are back",
		len(everything), round(took), round(started), round(time.Since(begin)-started))
}
