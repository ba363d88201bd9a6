package main

import (
	"fmt"
	"io"
	"math"
	"strings"
	"text/tabwriter"
)

// table prints a section for people.
func (s *section) table(w io.Writer) {
	fmt.Fprintf(w, "\n%s: %s (%.0f s)\n", s.Name, s.Title, s.Seconds)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "  figure\tvalue\tfloor\tratio\tnoise\twanted\t\tnote")
	for _, f := range s.Figures {
		fmt.Fprintf(t, "  %s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", f.Name, f.text(), f.floorText(), f.ratioText(), f.noiseText(), f.goalText(), f.verdict(s.judged), f.Note)
	}
	_ = t.Flush() // what w is said to have failed is seen there
	if s.Error != "" {
		fmt.Fprintf(w, "  FAILED: %s\n", s.Error)
	}
}

func (f *figure) text() string { return strings.TrimSpace(number(f.Value) + " " + f.Unit) }

func (f *figure) floorText() string {
	if f.Floor == nil {
		return ""
	}
	return fmt.Sprintf("%s: %s", f.Floor.Name, number((f.Floor.Before+f.Floor.After)/2))
}

func (f *figure) ratioText() string {
	if f.Floor == nil {
		return ""
	}
	return fmt.Sprintf("%.2f", f.Floor.Ratio)
}

func (f *figure) noiseText() string {
	if f.Floor == nil || f.Floor.Noise < 0 {
		return ""
	}
	return fmt.Sprintf("%.0f%%", 100*f.Floor.Noise)
}

func (f *figure) goalText() string {
	var all []string
	for _, g := range f.Goals {
		sign := "≤"
		if g.AtLeast {
			sign = "≥"
		}
		if g.Of == "ratio" {
			sign = "ratio " + sign
		}
		all = append(all, sign+" "+number(g.Want))
	}
	return strings.Join(all, ", ")
}

// verdict is nothing where there is no goal, and where goals do not count.
func (f *figure) verdict(judged bool) string {
	if len(f.Goals) == 0 || !judged {
		return ""
	}
	for _, g := range f.Goals {
		if !g.Met {
			return "MISSED"
		}
	}
	return "ok"
}

// number writes three significant digits, and whole numbers in full.
func number(v float64) string {
	switch abs := math.Abs(v); {
	case abs >= 1000:
		return count(v)
	case abs >= 100 || v == math.Trunc(v):
		return fmt.Sprintf("%.0f", v)
	case abs >= 10:
		return fmt.Sprintf("%.1f", v)
	default:
		return fmt.Sprintf("%.2f", v)
	}
}
