package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"
)

// progress is the live line: on a terminal it is written over, elsewhere a line comes now and then.
type progress struct {
	out      io.Writer
	terminal bool
	stop     chan struct{}
	done     chan struct{}

	mu       sync.Mutex // guards the rest
	scenario string
	phase    string
	begun    time.Time // the phase
	last     string    // what was measured last
	printed  time.Time
}

const (
	redraw     = 250 * time.Millisecond
	retellText = 10 * time.Second
)

func newProgress(out *os.File) *progress {
	info, err := out.Stat()
	p := &progress{
		out: out, terminal: err == nil && info.Mode()&os.ModeCharDevice != 0,
		stop: make(chan struct{}), done: make(chan struct{}),
	}
	go p.run()
	return p
}

func (p *progress) run() {
	defer close(p.done)
	tick := time.NewTicker(redraw)
	defer tick.Stop()
	for {
		select {
		case <-p.stop:
			return
		case <-tick.C:
			p.mu.Lock()
			p.print(false)
			p.mu.Unlock()
		}
	}
}

func (p *progress) close() {
	close(p.stop)
	<-p.done
	p.clear()
}

// clear removes the line, so that something else can be printed.
func (p *progress) clear() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.terminal && p.scenario != "" {
		fmt.Fprint(p.out, "\r\033[K")
	}
	p.scenario = ""
}

func (p *progress) begin(scenario string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.scenario, p.phase, p.last, p.begun = scenario, "", "", time.Now()
}

// enter begins a phase.
func (p *progress) enter(phase string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.phase, p.last, p.begun = phase, "", time.Now()
	p.print(true)
}

func (p *progress) sample(s *sample, f *fleet) {
	clients := ""
	if f != nil {
		clients = count(f.counts().open) + " clients, "
	}
	line := fmt.Sprintf("%s%s/s, p50 %.2f p99 %.2f ms, CPU", clients, count(float64(s.events)/s.took.Seconds()), milliseconds(s.p50), milliseconds(s.p99))
	for _, role := range roles {
		if used, ok := s.cpu[role]; ok {
			line += fmt.Sprintf(" %s %.0f%%", role, 100*used/s.took.Seconds())
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.last = line
}

// print writes the line; p.mu is held.
func (p *progress) print(now bool) {
	if p.scenario == "" || (!p.terminal && !now && time.Since(p.printed) < retellText) {
		return
	}
	p.printed = time.Now()
	parts := []string{p.scenario}
	if p.phase != "" {
		parts = append(parts, p.phase, fmt.Sprintf("%.0f s", time.Since(p.begun).Seconds()))
	}
	if p.last != "" {
		parts = append(parts, p.last)
	}
	line := strings.Join(parts, " · ")
	if p.terminal {
		fmt.Fprintf(p.out, "\r\033[K%.200s", line)
	} else {
		fmt.Fprintln(p.out, line)
	}
}
