package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// scenario is one way to load an installation.
type scenario struct {
	name  string
	title string
	about string // what is done and what it is compared with
	own   bool   // it must start the processes itself: it counts them or reads their memory
	run   func(ctx context.Context, b *bench) (findings, error)
}

// scenarios in the order in which they run.
var scenarios = []scenario{connects, idle, fanout, unicast, intake, resume, slow, calls, post, growth}

// chosen are the scenarios of these names, or all that can be run.
func chosen(names []string, attached bool) ([]scenario, error) {
	if len(names) == 0 {
		return slices.DeleteFunc(slices.Clone(scenarios), func(s scenario) bool { return attached && s.own }), nil
	}
	var list []scenario
	for _, name := range names {
		i := slices.IndexFunc(scenarios, func(s scenario) bool { return s.name == name })
		if i < 0 {
			return nil, fmt.Errorf("there is no scenario %q; -h lists them", name)
		}
		list = append(list, scenarios[i])
	}
	return list, nil
}

// bench is what a scenario works with.
type bench struct {
	cfg          *config
	progress     *progress
	scenario     string
	redisVersion string // of the Redis that was met last
}

// runAll runs the chosen scenarios, one after the other. A failure does not keep the others from running.
func runAll(ctx context.Context, cfg *config, res *result, progress *progress, out io.Writer) (failed error) {
	for _, s := range cfg.scenarios {
		b := &bench{cfg: cfg, progress: progress, scenario: s.name, redisVersion: res.Machine.Redis}
		progress.begin(s.name)
		begin := time.Now()
		found, err := s.run(ctx, b)
		done := &section{Name: s.name, Title: s.title, About: s.about, Seconds: time.Since(begin).Seconds(), findings: found}
		if err != nil {
			done.Error = err.Error()
			failed = errors.Join(failed, fmt.Errorf("%s: %w", s.name, err))
		}
		if cfg.scale == 1 { // goals were set for these numbers of things
			for i := range done.Measurements {
				done.Measurements[i].judge()
			}
		}
		res.Machine.Redis = b.redisVersion
		res.Sections = append(res.Sections, done)
		progress.clear()
		done.table(out)
		if ctx.Err() != nil {
			break
		}
	}
	return failed
}

// heap fetches the heap profile of a process, after a garbage collection, if profiles are wanted.
func (b *bench) heap(ctx context.Context, p *process) {
	if b.cfg.profile != "" {
		b.fetch(ctx, "http://"+p.admin+"/debug/pprof/heap?gc=1", fmt.Sprintf("%s-%s.heap.pprof", b.scenario, p.name))
	}
}

// profiles fetches the CPU profiles of a gateway and a worker while a window is measured, if they are wanted. The
// function that it returns waits for them, and tells how they divide among the stages, by role.
func (b *bench) profiles(ctx context.Context, in *installation, phase string) func() map[string]map[string]float64 {
	if b.cfg.profile == "" || in == nil {
		return func() map[string]map[string]float64 { return nil }
	}
	plainName := strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' || r >= 'a' && r <= 'z' {
			return r
		}
		return '-'
	}, strings.ToLower(b.scenario+"-"+phase))
	var wg sync.WaitGroup
	var mu sync.Mutex
	of := make(map[string]map[string]float64)
	for _, role := range []string{roleGateway, roleWorker} {
		list := in.role(role)
		if len(list) == 0 {
			continue
		}
		url := fmt.Sprintf("http://%s/debug/pprof/profile?seconds=%d", list[0].admin, max(1, int(b.cfg.time.Seconds())))
		wg.Go(func() {
			body := b.fetch(ctx, url, plainName+"-"+list[0].name+".pprof")
			if body == nil {
				return
			}
			divided, err := shares(role, body)
			if err != nil {
				fmt.Fprintln(os.Stderr, "no stages:", err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			of[role] = divided
		})
	}
	return func() map[string]map[string]float64 {
		wg.Wait()
		return of
	}
}

// fetch keeps a profile as a file. The scenario goes on without it; then it returns nil.
func (b *bench) fetch(ctx context.Context, url, name string) []byte {
	body, err := get(ctx, url)
	if err == nil {
		err = os.WriteFile(filepath.Join(b.cfg.profile, name), body, 0o644)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "no profile:", err)
		return nil
	}
	return body
}
