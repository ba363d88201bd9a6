package main

import (
	"fmt"
	"html"
	"html/template"
	"math"
	"slices"
	"strings"
)

// A plot's size and the place of its axes, in SVG units.
const (
	plotWidth, plotHeight    = 480, 270
	plotLeft, plotRight      = 58, 24
	plotTop, plotBottom      = 12, 34
	plotInnerX, plotInnerY   = plotWidth - plotLeft - plotRight, plotHeight - plotTop - plotBottom
	ticksX, ticksY           = 7, 5
	widestRank               = 1e5 // 99.999 %
	leastLog                 = 1e-3
	roundingForPathPrecision = 10
)

// decades are the quantities whose axes are logarithmic.
var decades = map[string]bool{"ms": true, percentile: true, "subscribers": true, "gateways": true, "targets": true}

func (c *plot) ranks() bool { return c.X == percentile }

// axis maps values to places.
type axis struct {
	low, high float64
	log       bool
	at, span  float64 // SVG units; a negative span grows upwards
}

func (a *axis) place(v float64) float64 {
	low, high := a.low, a.high
	if a.log {
		v, low, high = math.Log10(max(v, leastLog)), math.Log10(low), math.Log10(high)
	}
	return math.Round((a.at+a.span*(v-low)/(high-low))*roundingForPathPrecision) / roundingForPathPrecision
}

// SVG draws the plot; what comes from outside is escaped. Colours are the page's, so that it follows light and dark.
func (c *plot) SVG() template.HTML {
	var b strings.Builder
	fmt.Fprintf(&b, `<svg viewBox="0 0 %d %d" role="img" aria-label="%s">`, plotWidth, plotHeight, html.EscapeString(c.Title))
	x, y := c.axes()
	for _, v := range c.ticks(y, ticksY, false) {
		at := y.place(v)
		fmt.Fprintf(&b, `<line class="grid" x1="%d" x2="%d" y1="%g" y2="%g"/><text class="tick" x="%d" y="%g" text-anchor="end">%s</text>`,
			plotLeft, plotWidth-plotRight, at, at, plotLeft-6, at+4, short(v))
	}
	for _, v := range c.ticks(x, ticksX, c.ranks()) {
		at := x.place(v)
		text := short(v)
		if c.ranks() {
			text = rank(v)
		}
		fmt.Fprintf(&b, `<line class="grid" x1="%g" x2="%g" y1="%d" y2="%d"/><text class="tick" x="%g" y="%d" text-anchor="middle">%s</text>`,
			at, at, plotTop, plotTop+plotInnerY, at, plotHeight-18, text)
	}
	fmt.Fprintf(&b, `<text class="axis" x="%d" y="%d" text-anchor="middle">%s</text>`, plotLeft+plotInnerX/2, plotHeight-2, html.EscapeString(c.X))
	fmt.Fprintf(&b, `<text class="axis" x="%d" y="%d" transform="rotate(-90 12 %d)" text-anchor="middle">%s</text>`,
		12, plotTop+plotInnerY/2, plotTop+plotInnerY/2, html.EscapeString(c.Y))
	for i, s := range c.Curves {
		c.line(&b, &x, &y, i, s)
	}
	b.WriteString("</svg>")
	return template.HTML(b.String())
}

// Drawn reports whether there is more than a point to see.
func (c *plot) Drawn() bool {
	return slices.ContainsFunc(c.Curves, func(s curve) bool { return len(s.At) > 1 })
}

func (c *plot) line(b *strings.Builder, x, y *axis, i int, s curve) {
	if len(s.At) == 0 {
		return
	}
	fmt.Fprintf(b, `<polyline class="line c%d" points="`, i)
	for _, p := range s.At {
		fmt.Fprintf(b, "%g,%g ", x.place(p[0]), y.place(p[1]))
	}
	b.WriteString(`"/>`)
	for _, p := range s.At {
		at := number(p[0]) + " " + c.X
		if c.ranks() {
			at = rank(p[0])
		}
		fmt.Fprintf(b, `<circle class="dot c%d" cx="%g" cy="%g" r="2.2"><title>%s: %s %s at %s</title></circle>`,
			i, x.place(p[0]), y.place(p[1]), html.EscapeString(s.Name), number(p[1]), html.EscapeString(c.Y), html.EscapeString(at))
	}
}

// axes cover all values, of which there are some.
func (c *plot) axes() (x, y axis) {
	x = axis{low: math.Inf(1), high: math.Inf(-1), log: decades[c.X], at: plotLeft, span: plotInnerX}
	y = axis{low: math.Inf(1), high: math.Inf(-1), log: decades[c.Y], at: plotTop + plotInnerY, span: -plotInnerY}
	for _, s := range c.Curves {
		for _, p := range s.At {
			x.low, x.high = min(x.low, p[0]), max(x.high, p[0])
			y.low, y.high = min(y.low, p[1]), max(y.high, p[1])
		}
	}
	x.widen(!x.log && x.low < x.high/3)
	y.widen(!y.log)
	if c.ranks() {
		x.high = max(x.high, 100)
	}
	return x, y
}

// widen leaves some room, and begins at 0 where that is wanted.
func (a *axis) widen(fromZero bool) {
	if a.log {
		a.low = max(a.low, leastLog)
		a.high = max(a.high, a.low)
		if a.high/a.low < 4 {
			a.low, a.high = a.low/2, a.high*2
		}
		return
	}
	if fromZero {
		a.low = min(0, a.low)
	}
	if a.high == a.low {
		a.high = a.low + 1
	}
	a.high += (a.high - a.low) * 0.04
}

// ticks are round values within an axis.
func (c *plot) ticks(a axis, about int, ranks bool) (all []float64) {
	switch {
	case ranks:
		all = append(all, 2) // half; the axis begins at 0 %, for which there is no room
		for v := 10.0; v <= widestRank; v *= 10 {
			all = append(all, v)
		}
	case a.log:
		steps := []float64{1, 2, 5}
		if math.Log10(a.high/a.low) > float64(about)/2 {
			steps = steps[:1]
		}
		for d := math.Pow(10, math.Floor(math.Log10(a.low))); d <= a.high; d *= 10 {
			for _, s := range steps {
				all = append(all, d*s)
			}
		}
	default:
		step := math.Pow(10, math.Floor(math.Log10((a.high-a.low)/float64(about))))
		for _, m := range []float64{1, 2, 5, 10} {
			if (a.high-a.low)/(step*m) <= float64(about) {
				step *= m
				break
			}
		}
		for v := math.Ceil(a.low/step) * step; v <= a.high; v += step {
			all = append(all, v)
		}
	}
	within := all[:0]
	for _, v := range all {
		if v >= a.low*(1-1e-9)-1e-12 && v <= a.high*(1+1e-9) {
			within = append(within, v)
		}
	}
	return within
}

// short writes a tick's value.
func short(v float64) string {
	switch abs := math.Abs(v); {
	case abs >= 1e6:
		return trimZero(v/1e6) + "M"
	case abs >= 1e4:
		return trimZero(v/1e3) + "k"
	default:
		return trimZero(v)
	}
}

func trimZero(v float64) string {
	return fmt.Sprintf("%g", math.Round(v*1e4)/1e4)
}

// rank names a quantile of which 1/(1-q) is given.
func rank(v float64) string {
	return fmt.Sprintf("%.6g%%", 100*(1-1/v))
}
