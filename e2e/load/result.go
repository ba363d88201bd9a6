package main

import (
	"runtime"
	"time"
)

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

// section is a scenario that was run.
type section struct {
	Name    string  `json:"name"`
	Title   string  `json:"title"`
	About   string  `json:"about"`
	Seconds float64 `json:"seconds"`
	findings
	Error string `json:"error,omitempty"`
}

func newResult(command []string) *result {
	return &result{
		At: time.Now().UTC().Truncate(time.Second), Command: command,
		Machine: machine{Processor: cpuName(), Cores: runtime.NumCPU(), System: kernel(), Go: runtime.Version()},
	}
}
