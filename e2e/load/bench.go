package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
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
	run   func(ctx context.Context, b *bench) error
}

// scenarios in the order in which they run.
var scenarios = []scenario{connects, idle, fanout, unicast, resume, slow, growth}

// chosen are the scenarios of these names, or all that can be run.
func chosen(names []string, attached bool) ([]scenario, error) {
	if len(names) == 0 {
		return slices.DeleteFunc(slices.Clone(scenarios), func(s scenario) bool { return attached && s.own }), nil
	}
	var list []scenario
	for _, name := range names {
		found := false
		for _, s := range scenarios {
			if s.name == name {
				list, found = append(list, s), true
			}
		}
		if !found {
			return nil, fmt.Errorf("there is no scenario %q; -h lists them", name)
		}
	}
	return list, nil
}

// bench is what a scenario works with.
type bench struct {
	cfg      *config
	progress *progress
	*section
	redisVersion string
}

// runAll runs the chosen scenarios, one after the other. A failure does not keep the others from running.
func runAll(ctx context.Context, cfg *config, res *result, progress *progress, out io.Writer) (failed error) {
	for _, s := range cfg.scenarios {
		b := &bench{cfg: cfg, progress: progress, section: &section{Name: s.name, Title: s.title, About: s.about, judged: cfg.scale == 1}}
		progress.begin(s.name)
		begin := time.Now()
		err := s.run(ctx, b)
		b.Seconds = time.Since(begin).Seconds()
		if err != nil {
			b.Error = err.Error()
			failed = errors.Join(failed, fmt.Errorf("%s: %w", s.name, err))
		}
		if b.redisVersion != "" {
			res.Machine.Redis = b.redisVersion
		}
		res.Sections = append(res.Sections, b.section)
		progress.clear()
		b.table(out)
		if ctx.Err() != nil {
			break
		}
	}
	return failed
}

// install gives the scenario an installation, and its clients a fleet. Both end with done.
func (b *bench) install(ctx context.Context, gateways int, env ...string) (in *installation, f *fleet, done func(), err error) {
	b.progress.enter("starting")
	if in, err = install(ctx, b.cfg, gateways, env...); err != nil {
		return nil, nil, nil, err
	}
	if f, err = newFleet(b.cfg.loops); err != nil {
		in.close()
		return nil, nil, nil, err
	}
	if info, err := in.rdb.Info(ctx, "server").Result(); err == nil {
		_, rest, _ := strings.Cut(info, "redis_version:")
		b.redisVersion, _, _ = strings.Cut(rest, "\r\n")
	}
	return in, f, func() { f.close(); in.close() }, nil
}

// heap fetches the heap profile of a process, after a garbage collection, if profiles are wanted.
func (b *bench) heap(ctx context.Context, p *process) {
	if b.cfg.profile == "" {
		return
	}
	path := filepath.Join(b.cfg.profile, fmt.Sprintf("%s-%s.heap.pprof", b.Name, p.name))
	if err := fetch(ctx, "http://"+p.admin+"/debug/pprof/heap?gc=1", path); err != nil {
		fmt.Fprintln(os.Stderr, "no profile:", err)
	}
}

// profiles fetches the CPU profiles of a gateway and a worker while a window is measured, if they are wanted. The
// function that it returns waits for them.
func (b *bench) profiles(ctx context.Context, in *installation, phase string) func() {
	if b.cfg.profile == "" || in == nil {
		return func() {}
	}
	var wg sync.WaitGroup
	for _, role := range []string{roleGateway, roleWorker} {
		list := in.role(role)
		if len(list) == 0 {
			continue
		}
		name := strings.Map(func(r rune) rune {
			if r >= '0' && r <= '9' || r >= 'a' && r <= 'z' {
				return r
			}
			return '-'
		}, strings.ToLower(b.Name+"-"+phase))
		path := filepath.Join(b.cfg.profile, name+"-"+list[0].name+".pprof")
		wg.Go(func() {
			if err := fetch(ctx, fmt.Sprintf("http://%s/debug/pprof/profile?seconds=%d", list[0].admin, max(1, int(b.cfg.time.Seconds()))), path); err != nil {
				fmt.Fprintln(os.Stderr, "no profile:", err)
			}
		})
	}
	return wg.Wait
}

func fetch(ctx context.Context, url, path string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	res, err := plain.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %s: %w", url, res.Status, err)
	}
	return os.WriteFile(path, body, 0o644)
}
