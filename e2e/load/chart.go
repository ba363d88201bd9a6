package main

import (
	"fmt"
	"time"
)

// chart is a plot.
type chart struct {
	Title  string  `json:"title"`
	X      string  `json:"x"`
	Y      string  `json:"y"`
	LogX   bool    `json:"log_x,omitempty"`
	LogY   bool    `json:"log_y,omitempty"`
	Ranks  bool    `json:"ranks,omitempty"` // x is 1/(1-quantile): 1 is the median's side, 1000 is 99.9 %
	Series []curve `json:"series"`
}

type curve struct {
	Name string       `json:"name"`
	At   [][2]float64 `json:"at"`
}

func milliseconds(d time.Duration) float64 { return float64(d) / 1e6 }

// chartWindow adds the plots of one window over time.
func (s *section) chartWindow(w *window) {
	p50, p99, worst := curve{Name: "p50"}, curve{Name: "p99"}, curve{Name: "max"}
	rate := curve{Name: "deliveries"}
	cpu := map[string]*curve{}
	roles := []string{roleGateway, roleWorker, roleRedis, roleFloor, roleGenerator, roleOthers}
	for _, x := range w.samples {
		at := x.at.Seconds()
		if x.events > 0 {
			p50.At = append(p50.At, [2]float64{at, milliseconds(x.p50)})
			p99.At = append(p99.At, [2]float64{at, milliseconds(x.p99)})
			worst.At = append(worst.At, [2]float64{at, milliseconds(x.max)})
		}
		rate.At = append(rate.At, [2]float64{at, float64(x.events) / x.took.Seconds()})
		for _, role := range roles {
			if used, ok := x.cpu[role]; ok {
				if cpu[role] == nil {
					cpu[role] = &curve{Name: role}
				}
				cpu[role].At = append(cpu[role].At, [2]float64{at, 100 * used / x.took.Seconds()})
			}
		}
	}
	s.Charts = append(s.Charts,
		chart{Title: "Latency over time: " + w.phase, X: "s", Y: "ms", LogY: true, Series: []curve{p50, p99, worst}},
		chart{Title: "Throughput: " + w.phase, X: "s", Y: "deliveries/s", Series: []curve{rate}},
	)
	load := chart{Title: "CPU: " + w.phase, X: "s", Y: "% of a core"}
	for _, role := range roles {
		if c := cpu[role]; c != nil {
			load.Series = append(load.Series, *c)
		}
	}
	s.Charts = append(s.Charts, load)
}

// quantiles of a distribution's plot.
var quantiles = []float64{0, 0.1, 0.25, 0.5, 0.6, 0.75, 0.85, 0.9, 0.95, 0.975, 0.99, 0.995, 0.999, 0.9995, 0.9999, 0.99999}

// curveOf is a distribution, as far as it has values enough to tell.
func curveOf(name string, h *hist) curve {
	c := curve{Name: name}
	for _, q := range quantiles {
		if h.n > 0 && float64(h.n)*(1-q) >= 1 {
			c.At = append(c.At, [2]float64{1 / (1 - q), milliseconds(h.quantile(q))})
		}
	}
	return c
}

// chartDistribution compares the latency of windows.
func (s *section) chartDistribution(title string, curves ...curve) {
	s.Charts = append(s.Charts, chart{Title: title, X: "percentile", Y: "ms", LogX: true, LogY: true, Ranks: true, Series: curves})
}

// latencyFigures adds the usual percentiles, and how late the machine made them.
func (s *section) latencyFigures(name string, h *hist) (p50, p99 *figure) {
	p50 = s.figure(name+", p50", milliseconds(h.quantile(0.5)), "ms")
	p99 = s.figure(name+", p99", milliseconds(h.quantile(0.99)), "ms").
		note(fmt.Sprintf("p99.9 %.2f ms, max %.2f ms", milliseconds(h.quantile(0.999)), milliseconds(time.Duration(h.max))))
	return p50, p99
}
