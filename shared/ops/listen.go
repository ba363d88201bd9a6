package ops

import (
	"errors"
	"fmt"
	"net"
	"syscall"

	"sluice/shared/settings"
)

// Listen binds a TCP address, host:port, that came from the named variable.
// Port 0 takes a free one. The error names the variable and says what to do.
func Listen(variable, addr string) (net.Listener, error) {
	// net.Listen would take "" and serve a random port to the whole network.
	if _, _, err := net.SplitHostPort(addr); err != nil {
		return nil, settings.Invalid{Name: variable, Value: addr, Allowed: "host:port, for example 127.0.0.1:8080 or :8080"}
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("cannot listen on %s=%q: %w; %s", variable, addr, err, advice(err))
	}
	return l, nil
}

func advice(err error) string {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return "stop the process that listens there, or set another port"
	case errors.Is(err, syscall.EACCES), errors.Is(err, syscall.EPERM):
		return "ports below 1024 need a privilege that this process does not have: set a higher one"
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return "this machine does not have that address: set one that it has, or leave the host out for all"
	}
	return "set host:port, for example 127.0.0.1:8080 or :8080"
}
