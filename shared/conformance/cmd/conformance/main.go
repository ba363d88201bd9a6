// Command conformance plays scripts to a client of Sluice: see docs/conformance.md.
//
//	conformance [-addr 127.0.0.1:0] [-run script] program [argument...]
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"time"

	"sluice/shared/conformance"
)

func main() {
	addr := flag.String("addr", "127.0.0.1:0", "where to listen")
	only := flag.String("run", "", "play only the script of this name")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	failed, err := run(ctx, *addr, *only, flag.Args())
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "conformance:", err)
		os.Exit(2)
	}
	if failed > 0 {
		os.Exit(1)
	}
}

// run plays the scripts to a program, which is started for each, and says how many failed.
func run(ctx context.Context, addr, only string, program []string) (failed int, err error) {
	if len(program) == 0 {
		return 0, fmt.Errorf("which program? conformance [-run script] program [argument...]")
	}
	scripts, err := conformance.Scripts()
	if err != nil {
		return 0, err
	}
	s, err := conformance.NewServer(addr)
	if err != nil {
		return 0, err
	}
	defer func() { _ = s.Close() }()
	played := 0
	for _, script := range scripts {
		if only != "" && only != script.Name {
			continue
		}
		played++
		wrong, err := try(ctx, s, script, program)
		if err != nil {
			return failed, err
		}
		if wrong != nil {
			failed++
			fmt.Printf("FAIL %s: %s\n     %v\n", script.Name, script.Promise, wrong)
			continue
		}
		fmt.Printf("ok   %s\n", script.Name)
	}
	if played == 0 {
		return failed, fmt.Errorf("there is no script %q", only)
	}
	fmt.Printf("%d of %d scripts passed\n", played-failed, played)
	return failed, nil
}

// try plays one script; wrong is what the client did wrong.
func try(ctx context.Context, s *conformance.Server, script conformance.Script, program []string) (wrong, err error) {
	living, kill := context.WithCancel(ctx)
	defer kill()
	cmd := exec.CommandContext(living, program[0], program[1:]...)
	cmd.Env = append(os.Environ(), "SLUICE_CONFORMANCE_URL="+s.URL(script.Name))
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	cmd.WaitDelay = time.Second
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	wrong = s.Play(living, script)
	kill()
	_ = cmd.Wait() // it was killed
	return wrong, ctx.Err()
}
