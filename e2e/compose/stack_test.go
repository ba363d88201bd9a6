package compose_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"sluice/shared/testkit"

	"golang.org/x/sync/errgroup"
)

const (
	project      = "sluice-e2e"
	version      = "v0.0.0-e2e"
	adminToken   = "of-operators"
	defaultDrain = 20               // seconds
	drain        = defaultDrain / 2 // for the suite's time
)

// stack are the containers of compose.yaml, with nginx beside HAProxy.
type stack struct {
	root           string   // of the checkout
	command        []string // of Compose, with its files
	env            []string
	haproxy, nginx string // where clients connect
	redis          string // where producers do
	logs           string // the directory where logs are kept
}

// startStack builds the images, starts the containers and takes them away when the test ends.
func startStack(t *testing.T) *stack {
	t.Helper()
	command, more := needDocker(t)
	root, err := run(commandTime, "", os.Environ(), "go", "list", "-m", "-f", "{{.Dir}}")
	if err != nil {
		t.Fatal(err)
	}
	s := &stack{root: strings.TrimSpace(root), command: command, haproxy: freeAddr(t), nginx: freeAddr(t), redis: freeAddr(t)}
	s.logs = filepath.Join(s.root, "bin", "e2e-compose")
	s.command = append(s.command, "-p", project, "-f", "compose.yaml", "-f", "compose.dev.yaml", "-f", "infra/nginx/compose.yaml")
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "SLUICE_") && !strings.HasPrefix(v, "COMPOSE_") {
			s.env = append(s.env, v)
		}
	}
	// All that compose.yaml asks for, so that nobody's .env counts.
	s.env = append(append(s.env, more...), "SLUICE_LIMITS=off", "SLUICE_JWT_SECRET=", "SLUICE_JWKS_URL=", "SLUICE_ADMIN_TOKEN="+adminToken, "SLUICE_REDIS_PASSWORD=",
		"SLUICE_REDIS_PASSWORD_GATEWAY=of-gateways", "SLUICE_REDIS_PASSWORD_WORKER=of-workers", "SLUICE_REDIS_PASSWORD_PRODUCER=", "SLUICE_REDIS_PASSWORD_RECEIPTS=",
		"SLUICE_ALLOWED_ORIGINS=", "SLUICE_LOG_LEVEL=info",
		"SLUICE_HISTORY_SIZE=", "SLUICE_HISTORY_TTL=", "SLUICE_VERSION="+version, "SLUICE_LISTEN="+s.haproxy, "SLUICE_NGINX_LISTEN="+s.nginx,
		"SLUICE_REDIS_LISTEN="+s.redis, fmt.Sprintf("SLUICE_DRAIN_TIMEOUT=%ds", drain))

	s.down(t) // what a run that was killed has left
	if err := os.RemoveAll(s.logs); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	if _, err := run(buildTime, s.root, s.env, slices.Concat(s.command, []string{"build"})...); err != nil {
		t.Fatalf("cannot build the images; where the engine reaches no registry, infra/tools/standin-images.sh makes what they are built from: %v", err)
	}
	t.Cleanup(func() {
		s.keepLogs(t)
		s.down(t)
	})
	built := time.Since(begin)
	s.compose(t, "up", "-d")
	t.Logf("the images were built within %v, the containers were healthy %v later", round(built), round(time.Since(begin)-built))
	return s
}

// freeAddr is a loopback address that nobody listened on a moment ago.
func freeAddr(t testing.TB) string {
	t.Helper()
	return testkit.FreeAddr(t)
}

// compose runs a command of Compose.
func (s *stack) compose(t testing.TB, args ...string) string {
	t.Helper()
	out, err := run(commandTime, s.root, s.env, slices.Concat(s.command, args)...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func (s *stack) down(t testing.TB) {
	t.Helper()
	s.compose(t, "down", "--volumes", "--remove-orphans", "--timeout", "1")
}

// containers are the ids of a service's containers, of all services if it is "", the running ones first made first.
func (s *stack) containers(t testing.TB, service string, more ...string) []string {
	t.Helper()
	filter := []string{"ps", "-q", "--no-trunc", "--filter", "label=com.docker.compose.project=" + project}
	if service != "" {
		filter = append(filter, "--filter", "label=com.docker.compose.service="+service)
	}
	return strings.Fields(docker(t, append(filter, more...)...))
}

// one is the only container of a service.
func (s *stack) one(t testing.TB, service string) string {
	t.Helper()
	ids := s.containers(t, service, "--all")
	if len(ids) != 1 {
		t.Fatalf("there are %d containers of %s, not one", len(ids), service)
	}
	return ids[0]
}

// network is the name of one of compose.yaml's networks.
func (s *stack) network(t testing.TB, name string) string {
	t.Helper()
	return docker(t, "network", "ls", "--format", "{{.Name}}", "--filter", "label=com.docker.compose.project="+project,
		"--filter", "label=com.docker.compose.network="+name)
}

// inspect is a field of a container.
func inspect(t testing.TB, id, format string) string {
	t.Helper()
	return docker(t, "inspect", "--format", format, id)
}

// name is what people call a container: gateway_1.
func name(t testing.TB, id string) string {
	t.Helper()
	return strings.TrimLeft(strings.TrimPrefix(inspect(t, id, "{{.Name}}"), "/"+project), "-_")
}

// mustEndInOrder fails unless a container that was told to stop has exited with 0.
func mustEndInOrder(t testing.TB, id string) {
	t.Helper()
	if state := inspect(t, id, "{{.State.Status}} {{.State.ExitCode}} {{.State.OOMKilled}}"); state != "exited 0 false" {
		t.Errorf("%s did not stop in order: status, exit code, out of memory: %s", name(t, id), state)
	}
}

// noneFell fails if a container has ended by itself: Docker starts it again, and counts.
func (s *stack) noneFell(t testing.TB) {
	t.Helper()
	for _, id := range s.containers(t, "", "--all") {
		if state := inspect(t, id, "{{.State.Status}} {{.RestartCount}} {{.State.OOMKilled}}"); state != "running 0 false" {
			t.Errorf("%s: state, restarts, out of memory: %s", name(t, id), state)
		}
	}
}

// all runs a command of Docker on many containers at once: given their ids together it would take one after the other.
func all(t testing.TB, ids []string, args ...string) {
	t.Helper()
	var g errgroup.Group
	for _, id := range ids {
		g.Go(func() error {
			_, err := run(commandTime, "", os.Environ(), slices.Concat([]string{"docker"}, args, []string{id})...)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
}

// remove takes stopped containers away, and keeps their logs before.
func (s *stack) remove(t testing.TB, ids ...string) {
	t.Helper()
	for _, id := range ids {
		s.keepLog(t, id)
	}
	all(t, ids, "rm")
}

// logOf is what a container has printed, as far as it can be had.
func logOf(id string) string {
	both, _ := exec.Command("docker", "logs", "--timestamps", id).CombinedOutput()
	return string(both)
}

// keepLog writes the log of a container to a file of its own and returns it.
func (s *stack) keepLog(t testing.TB, id string) (path, log string) {
	t.Helper()
	log = logOf(id)
	path = filepath.Join(s.logs, name(t, id)+"-"+id[:12]+".log")
	if err := os.MkdirAll(s.logs, 0o755); err != nil {
		t.Errorf("logs cannot be kept: %v", err)
	} else if err := os.WriteFile(path, []byte(log), 0o644); err != nil {
		t.Errorf("a log cannot be kept: %v", err)
	}
	return path, log
}

// keepLogs keeps the logs of all containers, since a step that took long is worth a look, too. It shows their ends if the
// test has failed.
func (s *stack) keepLogs(t testing.TB) {
	t.Helper()
	for _, id := range s.containers(t, "", "--all") {
		path, log := s.keepLog(t, id)
		if !t.Failed() {
			continue
		}
		t.Logf("%s, all of it in %s:\n%s", name(t, id), path, lastLines(log, 25))
	}
}
