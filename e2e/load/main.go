package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"sluice/shared/store"
)

func main() {
	if os.Getenv(floorVariable) != "" {
		if err := runFloor(os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	store.UseLog(slog.New(slog.NewTextHandler(os.Stderr, nil)))
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "load:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	cfg, err := parse(ctx, args, os.Getenv("SLUICE_JWT_SECRET"), out)
	if err != nil {
		return err
	}
	if err := raiseFiles(uint64(cfg.n(maxClients) + 500)); err != nil {
		return err
	}
	for _, dir := range []string{cfg.out, cfg.profile} {
		if dir != "" {
			if err := os.MkdirAll(dir, 0o755); err != nil {
				return err
			}
		}
	}
	ctx, cancel := context.WithTimeoutCause(ctx, cfg.timeout, fmt.Errorf("the whole run took more than -timeout %v", cfg.timeout))
	defer cancel()
	res := newResult(append([]string{"load"}, args...))
	p := newProgress(os.Stderr)
	err = runAll(ctx, cfg, res, p, out)
	p.close()
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	data, page := filepath.Join(cfg.out, "result.json"), filepath.Join(cfg.out, "report.html")
	written := errors.Join(write(data, res.json), write(page, res.page))
	if written == nil {
		fmt.Fprintf(out, "\n%s and %s hold all figures.\n", data, page)
	}
	return errors.Join(err, written)
}

// write makes a file of what is rendered.
func write(path string, render func(io.Writer) error) error {
	out, err := os.Create(path)
	if err != nil {
		return err
	}
	return errors.Join(render(out), out.Close())
}

// maxClients is the most connections that a scenario has at a time.
const maxClients = 12_000
