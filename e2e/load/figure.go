package main

import (
	"encoding/json"
	"math"
	"os"
	"runtime"
	"time"
)

// figure is one measured number.
type figure struct {
	Name  string     `json:"name"`
	Value float64    `json:"value"`
	Unit  string     `json:"unit"`
	Floor *lowerEnd  `json:"floor,omitempty"`
	Goals []goalpost `json:"goals,omitempty"`
	Note  string     `json:"note,omitempty"`
}

// lowerEnd is what no system can be below on this machine, measured before and after.
type lowerEnd struct {
	Name   string  `json:"name"`
	Before float64 `json:"before"`
	After  float64 `json:"after"`
	Ratio  float64 `json:"ratio"` // the figure's value to the mean of both
	Noise  float64 `json:"noise"` // how far both are apart, as part of their mean; -1 if it was measured once
}

// goalpost is what the project wants of a figure.
type goalpost struct {
	Of      string  `json:"of"` // value, or ratio to the floor
	AtLeast bool    `json:"at_least"`
	Want    float64 `json:"want"`
	Met     bool    `json:"met"`
}

// section is what a scenario found out.
type section struct {
	Name    string    `json:"name"`
	Title   string    `json:"title"`
	About   string    `json:"about"`
	Seconds float64   `json:"seconds"`
	Figures []*figure `json:"figures"`
	Charts  []chart   `json:"charts"`
	Error   string    `json:"error,omitempty"`
	judged  bool      // goals count: numbers of things are those that they were set for
}

func (s *section) figure(name string, value float64, unit string) *figure {
	f := &figure{Name: name, Value: value, Unit: unit}
	s.Figures = append(s.Figures, f)
	return f
}

// against sets the floor.
func (f *figure) against(name string, before, after float64) *figure {
	mean := (before + after) / 2
	f.Floor = &lowerEnd{Name: name, Before: before, After: after}
	if mean > 0 {
		f.Floor.Ratio, f.Floor.Noise = f.Value/mean, math.Abs(after-before)/mean
	}
	return f
}

// beside sets something measured once that the figure is compared with.
func (f *figure) beside(name string, value float64) *figure {
	f.against(name, value, value)
	f.Floor.Noise = -1
	return f
}

func (f *figure) note(text string) *figure {
	f.Note = text
	return f
}

func (f *figure) atMost(want float64) *figure {
	f.Goals = append(f.Goals, goalpost{"value", false, want, f.Value <= want})
	return f
}

func (f *figure) atLeast(want float64) *figure {
	f.Goals = append(f.Goals, goalpost{"value", true, want, f.Value >= want})
	return f
}

func (f *figure) ratioAtMost(want float64) *figure {
	f.Goals = append(f.Goals, goalpost{"ratio", false, want, f.Floor.Ratio <= want})
	return f
}

// result is the whole run.
type result struct {
	At       time.Time  `json:"at"`
	Machine  machine    `json:"machine"`
	Command  []string   `json:"command"`
	Sections []*section `json:"scenarios"`
}

type machine struct {
	Processor string `json:"processor"`
	Cores     int    `json:"cores"`
	System    string `json:"system"`
	Go        string `json:"go"`
	Redis     string `json:"redis"`
}

func newResult(command []string) *result {
	return &result{
		At: time.Now().UTC().Truncate(time.Second), Command: command,
		Machine: machine{Processor: cpuName(), Cores: runtime.NumCPU(), System: kernel(), Go: runtime.Version()},
	}
}

// write writes the result as JSON. What is not a number, such as a ratio to nothing, never gets here.
func (r *result) write(path string) error {
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(b, '\n'), 0o644)
}

func kernel() string {
	b, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return runtime.GOOS
	}
	return runtime.GOOS + " " + string(b[:max(0, len(b)-1)])
}
