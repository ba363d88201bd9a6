package compose_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const (
	commandTime = 90 * time.Second
	buildTime   = 10 * time.Minute // downloads modules and base images, the first time
)

// run runs a command and returns what it printed on its standard output; an error tells all that it printed.
func run(limit time.Duration, dir string, env []string, argv ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Dir, cmd.Env = dir, env
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.WaitDelay = 10 * time.Second // for the output of its children
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			err = fmt.Errorf("no end within %v", limit)
		}
		return "", fmt.Errorf("%s: %w\n%s", strings.Join(argv, " "), err, lastLines(stdout.String()+stderr.String(), 40))
	}
	return stdout.String(), nil
}

func lastLines(s string, n int) string {
	lines := strings.Split(strings.TrimRight(s, "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// docker runs a command of Docker's client and fails the test if it fails.
func docker(t testing.TB, args ...string) string {
	t.Helper()
	out, err := run(commandTime, "", os.Environ(), append([]string{"docker"}, args...)...)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(out)
}

// composeCommand is `docker compose`, or docker-compose where that is not installed, with what it wants in the
// environment.
func composeCommand() (argv, env []string, err error) {
	if _, err := run(commandTime, "", os.Environ(), "docker", "compose", "version"); err == nil {
		return []string{"docker", "compose"}, nil, nil
	}
	path, err := exec.LookPath("docker-compose")
	if err != nil {
		return nil, nil, errors.New("neither `docker compose` nor docker-compose is installed")
	}
	// It calls docker to build. That one must know BuildKit without a plug-in, as one of the same age does.
	return []string{path}, []string{
		"PATH=" + filepath.Dir(path) + string(filepath.ListSeparator) + os.Getenv("PATH"),
		"COMPOSE_DOCKER_CLI_BUILD=1", "DOCKER_BUILDKIT=1",
	}, nil
}

// needDocker skips the test where it cannot run.
func needDocker(t *testing.T) (compose, env []string) {
	t.Helper()
	refuse := t.Skipf
	if os.Getenv("SLUICE_NEED_DOCKER") != "" {
		refuse = t.Fatalf
	}
	if _, err := run(10*time.Second, "", os.Environ(), "docker", "version", "--format", "{{.Server.Version}}"); err != nil {
		refuse("no Docker engine answers: install and start one (Debian, as root: apt-get install docker.io docker-compose, then dockerd &), "+
			"then run `make compose`. It was asked with %v", err)
	}
	compose, env, err := composeCommand()
	if err != nil {
		refuse("a Docker engine answers, but %v: install one of them (Debian: apt-get install docker-compose), then run `make compose`", err)
	}
	return compose, env
}
