package main

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/google/pprof/profile"
)

// stage is a part of what a process does, by the functions that do it: their names begin so.
type stage struct {
	name      string
	functions []string
}

// runtimeStages are those of every process: behind its own, since they may run within these.
var runtimeStages = []stage{
	{"collecting garbage", []string{"runtime.gcBgMarkWorker", "runtime.gcAssistAlloc", "runtime.bgsweep", "runtime.bgscavenge"}},
	{"waking and parking goroutines", []string{"runtime.schedule", "runtime.mcall", "runtime.goready", "runtime.sysmon"}},
}

// stages are those of an event, by role.
var stages = map[string][]stage{
	roleGateway: {
		{"writing to sockets", []string{"sluice/gateway/socket.(*Conn).write"}},
		{"reading from Redis's channel", []string{"sluice/shared/store.(*Subscription).Receive"}},
		{"finding the subscribers", []string{"sluice/gateway.(*Gateway).receive"}},
		{"reading from sockets", []string{"sluice/gateway/socket.(*turns)", "sluice/gateway/socket.(*poller).run"}},
		{"sessions", []string{"sluice/gateway/sessions."}},
	},
	roleWorker: {
		{"forward the intake", []string{"sluice/shared/store.(*Lane).Forward", "sluice/worker.(*intake)"}},
		{"prepare", []string{"sluice/shared/store.(*Lane).Prepare"}},
		{"append and route", []string{"sluice/shared/store.(*Lane).AppendAndRoute"}},
		{"publish, acknowledge, read", []string{"sluice/shared/store.(*Lane).Commit"}},
		{"check, plan and render", []string{"sluice/worker.(*step)"}},
	},
}

// shares tell how a process's CPU time is divided among the stages of its role, from a CPU profile: by the innermost
// function of each sample that is one of theirs.
func shares(role string, pprof []byte) (map[string]float64, error) {
	p, err := profile.Parse(bytes.NewReader(pprof))
	if err != nil {
		return nil, fmt.Errorf("cannot read a profile: %w", err)
	}
	all := slices.Concat(stages[role], runtimeStages)
	sum, of := 0.0, make(map[string]float64)
	for _, s := range p.Sample {
		took := float64(s.Value[len(s.Value)-1])
		sum += took
		of[stageOf(s, all)] += took
	}
	for name := range of {
		of[name] /= max(sum, 1)
	}
	return of, nil
}

func stageOf(s *profile.Sample, all []stage) string {
	for _, l := range s.Location {
		for _, line := range l.Line {
			for _, x := range all {
				if slices.ContainsFunc(x.functions, func(f string) bool { return strings.HasPrefix(line.Function.Name, f) }) {
					return x.name
				}
			}
		}
	}
	return "other"
}

// stageCosts are the stages of a role that took something, the largest first; nothing without -profile.
func (w *window) stageCosts(role, of string) (list []measurement) {
	shares := w.shares[role]
	names := slices.Collect(maps.Keys(shares))
	slices.SortFunc(names, func(a, b string) int { return cmp.Or(cmp.Compare(shares[b], shares[a]), cmp.Compare(a, b)) })
	for _, name := range names {
		list = append(list, cost(role+" "+of+": "+name, shares[name]*w.cost(role)).also("of it", 100*shares[name], "%"))
	}
	return list
}
