package main

import "time"

// plot is values of one quantity over another one.
type plot struct {
	Title  string  `json:"title"`
	X      string  `json:"x"` // unit, or what is counted
	Y      string  `json:"y"`
	Curves []curve `json:"curves"`
}

type curve struct {
	Name string       `json:"name"`
	At   [][2]float64 `json:"at"`
}

func (c *curve) add(x, y float64) { c.At = append(c.At, [2]float64{x, y}) }

// rise is the largest ratio of a value to one before it, at least 1; 0 if there is nothing to compare.
func (c curve) rise() (most float64) {
	least := 0.0
	for _, p := range c.At {
		if p[1] <= 0 {
			return 0 // too short to tell
		}
		if least == 0 || p[1] < least {
			least = p[1]
		}
		most = max(most, p[1]/least)
	}
	return most
}

func milliseconds(d time.Duration) float64 { return float64(d) / 1e6 }

func mebibytes(bytes float64) float64 { return bytes / (1 << 20) }

// overTime is a window from its begin to its end.
func (w *window) overTime() []plot {
	p50, p99, worst, rate := curve{Name: "p50"}, curve{Name: "p99"}, curve{Name: "max"}, curve{Name: "deliveries"}
	cpu := make([]curve, len(roles))
	for _, s := range w.samples {
		at := s.at.Seconds()
		if s.events > 0 {
			p50.add(at, milliseconds(s.p50))
			p99.add(at, milliseconds(s.p99))
			worst.add(at, milliseconds(s.max))
		}
		rate.add(at, float64(s.events)/s.took.Seconds())
		for i, role := range roles {
			if used, ok := s.cpu[role]; ok {
				cpu[i].add(at, 100*used/s.took.Seconds())
			}
		}
	}
	load := plot{Title: "CPU: " + w.phase, X: "s", Y: "% of a core"}
	for i, c := range cpu {
		if c.Name = roles[i]; len(c.At) > 0 {
			load.Curves = append(load.Curves, c)
		}
	}
	return []plot{
		{Title: "Latency over time: " + w.phase, X: "s", Y: "ms", Curves: []curve{p50, p99, worst}},
		{Title: "Throughput: " + w.phase, X: "s", Y: "deliveries/s", Curves: []curve{rate}},
		load,
	}
}

// percentile as a plot's X is told by its rank, 1/(1-quantile): 2 is the median, 1000 is 99.9 %.
const percentile = "percentile"

// quantiles of a distribution's plot.
var quantiles = []float64{0, 0.1, 0.25, 0.5, 0.6, 0.75, 0.85, 0.9, 0.95, 0.975, 0.99, 0.995, 0.999, 0.9995, 0.9999, 0.99999}

// distribution is a curve over the percentiles, as far as there are values enough to tell.
func distribution(name string, h hist) curve {
	c := curve{Name: name}
	for _, q := range quantiles {
		if h.n() > 0 && float64(h.n())*(1-q) >= 1 {
			c.add(1/(1-q), milliseconds(h.quantile(q)))
		}
	}
	return c
}

// distributions compares latencies.
func distributions(title string, curves ...curve) plot {
	return plot{Title: title, X: percentile, Y: "ms", Curves: curves}
}
