package main

import "math"

// amount is a number with its unit.
type amount struct {
	Name  string  `json:"name,omitempty"`
	Value float64 `json:"value"`
	Unit  string  `json:"unit,omitempty"`
}

// measurement is an amount that a scenario found out, with all that is known of it.
type measurement struct {
	amount
	Range   *[2]float64 `json:"range,omitempty"` // least and largest of the rounds whose median Value is
	Floor   *comparison `json:"floor,omitempty"`
	Goal    *goal       `json:"goal,omitempty"`
	Verdict string      `json:"verdict,omitempty"` // of judge
	Also    []amount    `json:"also,omitempty"`    // what explains it
	Note    string      `json:"note,omitempty"`
}

// comparison is what a measurement is compared with: usually a floor, what no system can be below on this machine.
type comparison struct {
	Name   string    `json:"name"`
	Values []float64 `json:"values"` // before and after, or one
	Mean   float64   `json:"mean"`
	Ratio  float64   `json:"ratio"`           // of the measurement's value to the mean
	Noise  *float64  `json:"noise,omitempty"` // how far before and after are apart, as part of the mean
}

// goal is what the project wants of a measurement's value, or of its ratio to the floor.
type goal struct {
	Ratio   bool    `json:"ratio"`
	AtLeast bool    `json:"at_least"`
	Want    float64 `json:"want"`
}

const (
	met    = "met"
	missed = "MISSED"
)

// judge compares with the goal, if there is one.
func (m *measurement) judge() {
	if m.Goal == nil {
		return
	}
	value := m.Value
	if m.Goal.Ratio {
		value = m.Floor.Ratio
	}
	m.Verdict = missed
	if value == m.Goal.Want || value > m.Goal.Want == m.Goal.AtLeast {
		m.Verdict = met
	}
}

func measured(name string, value float64, unit string) measurement {
	return measurement{amount: amount{name, value, unit}}
}

// cost is CPU seconds for a million events or things.
func cost(name string, perMillion float64) measurement { return measured(name, perMillion, "CPU s/M") }

// latency is the percentiles that every latency is told by.
func latency(name string, h hist) (p50, p99 measurement) {
	return measured(name+", p50", milliseconds(h.quantile(0.5)), "ms"),
		measured(name+", p99", milliseconds(h.quantile(0.99)), "ms").
			also("p99.9", milliseconds(h.quantile(0.999)), "ms").also("max", milliseconds(h.max()), "ms")
}

// machineLoad tells how far the machine was shared while a window was measured.
func machineLoad(w *window) (generator, others measurement) {
	return measured("generator", 100*w.load(roleGenerator), "% of a core"),
		measured("other processes", 100*w.load(roleOthers), "% of a core").also("hypervisor", 100*w.stolen/w.took.Seconds(), "%")
}

// against compares with a floor that was measured before and after, or with something measured once.
func (m measurement) against(name string, values ...float64) measurement {
	c := &comparison{Name: name, Values: values}
	least, most := values[0], values[0]
	for _, v := range values {
		c.Mean += v / float64(len(values))
		least, most = min(least, v), max(most, v)
	}
	noise := 0.0
	if c.Mean > 0 {
		c.Ratio, noise = m.Value/c.Mean, (most-least)/c.Mean
	}
	if len(values) > 1 {
		c.Noise = &noise
	}
	m.Floor = c
	return m
}

func (m measurement) atMost(want float64) measurement {
	m.Goal = &goal{Want: want}
	return m
}

func (m measurement) atLeast(want float64) measurement {
	m.Goal = &goal{Want: want, AtLeast: true}
	return m
}

func (m measurement) ratioAtMost(want float64) measurement {
	m.Goal = &goal{Want: want, Ratio: true}
	return m
}

func (m measurement) also(name string, value float64, unit string) measurement {
	m.Also = append(m.Also, amount{name, value, unit})
	return m
}

func (m measurement) note(text string) measurement {
	m.Note = text
	return m
}

// findings are what a scenario found out.
type findings struct {
	Measurements []measurement `json:"measurements"`
	Plots        []plot        `json:"plots"`
}

// add leaves out what could not be measured: CPU time and memory of processes that are not known.
func (f *findings) add(all ...measurement) {
	for _, m := range all {
		if !math.IsNaN(m.Value) {
			f.Measurements = append(f.Measurements, m)
		}
	}
}

func (f *findings) plot(all ...plot) { f.Plots = append(f.Plots, all...) }
