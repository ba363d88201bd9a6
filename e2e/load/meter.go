package main

import (
	"context"
	"errors"
	"math"
	"os"
	"sync"
	"time"
)

// watched is a process whose CPU time counts, under a role.
type watched struct {
	role string
	pid  int
}

// window is what happened during one measurement.
type window struct {
	phase   string
	took    time.Duration
	events  uint64 // that clients got
	latency hist
	cpu     map[string]float64 // CPU seconds by role; others: of the machine's other processes
	stolen  float64            // CPU seconds that the hypervisor gave to others
	samples []sample
	shares  map[string]map[string]float64 // of a role's CPU, by stage; with -profile
}

// sample is a short part of a window.
type sample struct {
	at, took      time.Duration
	events        uint64
	p50, p99, max time.Duration
	cpu           map[string]float64
}

// cost is CPU seconds for a million events, of some roles together.
func (w *window) cost(roles ...string) float64 { return w.costPer(int(w.events), roles...) }

// costPer is CPU seconds for a million of something else; NaN if a role's processes are not known.
func (w *window) costPer(n int, roles ...string) float64 {
	sum := 0.0
	for _, r := range roles {
		used, ok := w.cpu[r]
		if !ok {
			return math.NaN()
		}
		sum += used
	}
	return sum / float64(max(n, 1)) * 1e6
}

// load is the part of one core that a role used.
func (w *window) load(role string) float64 { return w.cpu[role] / w.took.Seconds() }

func (w *window) perSecond() float64 { return float64(w.events) / w.took.Seconds() }

// meter measures a window: the fleet's events and latency, and the CPU time of processes.
type meter struct {
	*bench
	in        *installation // its processes are measured; nil at the floor
	fleet     *fleet        // nil: no clients
	phase     string
	processes []watched
}

// measure runs work, and measures while it runs.
func (m *meter) measure(ctx context.Context, work func() error) (*window, error) {
	if m.in != nil {
		for _, p := range m.in.processes {
			m.processes = append(m.processes, watched{p.role, p.pid()})
		}
	}
	m.processes = append(m.processes, watched{roleGenerator, os.Getpid()})
	w := &window{phase: m.phase, latency: newHist()}
	m.progress.enter(m.phase)
	m.take(newHist()) // of before
	profiles := m.profiles(ctx, m.in, m.phase)

	begin := time.Now()
	first, err := m.usage()
	if err != nil {
		return nil, err
	}
	events := m.events()
	stop := make(chan struct{})
	var sampling sync.WaitGroup
	sampling.Go(func() { m.sample(stop, begin, w, first, events) })
	err = work()
	close(stop)
	sampling.Wait()
	w.took = time.Since(begin)
	last, err2 := m.usage()
	if err = errors.Join(err, err2); err != nil {
		return nil, err
	}
	w.events = m.events() - events
	m.take(w.latency)
	w.cpu = last.since(first)
	w.stolen = last.stolen - first.stolen
	w.shares = profiles()
	if m.in != nil {
		return w, m.in.alive()
	}
	return w, nil
}

func (m *meter) events() uint64 {
	if m.fleet == nil {
		return 0
	}
	return m.fleet.counts().events
}

func (m *meter) take(h hist) hist {
	if m.fleet != nil {
		m.fleet.take(h, func(l *latencies) hist { return l.events })
	}
	return h
}

// sampleEvery is the distance of two points of a plot, at least; CPU times come in steps of 10 ms.
const sampleEvery = 200 * time.Millisecond

func (m *meter) sample(stop <-chan struct{}, begin time.Time, w *window, before usage, events uint64) {
	tick := time.NewTicker(max(sampleEvery, m.cfg.time/60))
	defer tick.Stop()
	at := time.Duration(0)
	for {
		select {
		case <-stop:
			return
		case <-tick.C:
		}
		h := m.take(newHist())
		now, n := time.Since(begin), m.events()
		u, err := m.usage()
		if err != nil {
			return // the end of the window says it
		}
		s := sample{
			at: now, took: now - at, events: n - events,
			p50: h.quantile(0.5), p99: h.quantile(0.99), max: h.max(), cpu: u.since(before),
		}
		w.latency.take(h)
		w.samples = append(w.samples, s)
		m.progress.sample(&s, m.fleet)
		at, before, events = now, u, n
	}
}

// usage is the CPU time used so far, by role.
type usage struct {
	by           map[string]float64
	busy, stolen float64
}

func (m *meter) usage() (usage, error) {
	u := usage{by: make(map[string]float64)}
	for _, p := range m.processes {
		s, err := cpuOf(p.pid)
		if err != nil {
			if m.in != nil {
				err = errors.Join(m.in.alive(), err)
			}
			return u, err
		}
		u.by[p.role] += s
	}
	var err error
	u.busy, u.stolen, err = machineBusy()
	return u, err
}

func (u usage) since(before usage) map[string]float64 {
	d := make(map[string]float64, len(u.by)+1)
	ours := 0.0
	for role, s := range u.by {
		d[role] = s - before.by[role]
		ours += d[role]
	}
	d[roleOthers] = max(0, u.busy-before.busy-ours)
	return d
}
