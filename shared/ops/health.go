package ops

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"sluice/shared/settings"
)

const (
	healthTimeout = 2 * time.Second // for the whole answer; below the time that container engines give a check
	healthAnswer  = 4 << 10         // bytes of the answer that are shown
)

// HealthCommand is a sub-command that asks the process which runs with the same
// settings, on its admin address, whether it is alive, or with the argument
// "ready" whether it is ready. So a container needs no other program for its
// health check. addr points to the SLUICE_ADMIN_ADDR of the program's Config.
//
// Alive is what a supervisor may restart for. Ready is for load balancers: a
// restart does not bring a Redis back that is away.
func HealthCommand(addr *string) Command {
	return Command{
		Summary: `Asks the running process whether it is alive, or with "health ready" whether it is ready; the exit code is 0 or 1.`,
		Run: func(ctx context.Context, args []string, stdout io.Writer) error {
			path := "/healthz"
			switch {
			case len(args) == 1 && args[0] == "ready":
				path = "/readyz"
			case len(args) > 0:
				return UsageError(fmt.Sprintf(`health takes no argument or "ready", not %q`, strings.Join(args, " ")))
			}
			return askHealth(ctx, *addr, path, stdout)
		},
	}
}

func askHealth(ctx context.Context, addr, path string, stdout io.Writer) error {
	host, err := reachable(addr)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, healthTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+host+path, nil)
	if err != nil {
		return settings.Invalid{Name: "SLUICE_ADMIN_ADDR", Value: addr, Allowed: "host:port, for example 127.0.0.1:9090 or :9090"}
	}
	// A transport of its own: the default one would ask the proxy of HTTP_PROXY.
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	answer, err := client.Do(request)
	if err != nil {
		return fmt.Errorf("no answer on SLUICE_ADMIN_ADDR=%q: %w; it must be the same as for the process that is asked, which must run on this machine",
			addr, errors.Unwrap(err))
	}
	defer func() { _ = answer.Body.Close() }()
	said, err := io.ReadAll(io.LimitReader(answer.Body, healthAnswer))
	if err != nil {
		return fmt.Errorf("the answer to GET %s on %s ended too early: %w", path, host, err)
	}
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("GET %s on %s: %s: %s", path, host, answer.Status, strings.TrimSpace(string(said)))
	}
	_, _ = stdout.Write(said)
	return nil
}

// reachable is an address under which a listener on addr is to be found from the same machine.
func reachable(addr string) (string, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil || port == "0" {
		return "", settings.Invalid{Name: "SLUICE_ADMIN_ADDR", Value: addr, Allowed: "host:port with the port that the process listens on"}
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "localhost" // both 127.0.0.1 and ::1 are tried
	}
	return net.JoinHostPort(host, port), nil
}
