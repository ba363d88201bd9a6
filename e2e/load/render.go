package main

import (
	_ "embed" // the page
	"encoding/json"
	"fmt"
	"html/template"
	"io"
	"math"
	"strings"
	"text/tabwriter"
)

// A result is shown three times: as a table of each scenario on the terminal, as a page, and as JSON. Table and page
// have the same cells, and all that they show comes from what the JSON holds.

// cell is a measurement under a heading.
type cell struct{ Text, Class string }

// headings of the cells of a measurement; class is for the page.
var headings = []cell{{"figure", ""}, {"value", "n"}, {"floor", ""}, {"ratio", "n"}, {"noise", "n"}, {"wanted", ""}, {"", "verdict"}, {"note", "dim"}}

// Cells are the texts of a measurement below the headings.
func (m *measurement) Cells() []cell {
	cells := make([]cell, len(headings))
	for i, text := range []string{m.Name, m.valueText(), m.Floor.text(), m.Floor.ratioText(), m.Floor.noiseText(), m.Goal.text(), m.Verdict, m.noteText()} {
		cells[i] = cell{text, headings[i].Class}
	}
	return cells
}

// table prints a section for people.
func (s *section) table(w io.Writer) {
	fmt.Fprintf(w, "\n%s: %s (%.0f s)\n", s.Name, s.Title, s.Seconds)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	row := func(cells []cell) {
		texts := make([]string, len(cells))
		for i, c := range cells {
			texts[i] = c.Text
		}
		fmt.Fprintln(t, "  "+strings.Join(texts, "\t"))
	}
	row(headings)
	for _, m := range s.Measurements {
		row(m.Cells())
	}
	_ = t.Flush() // what w is said to have failed is seen there
	if s.Error != "" {
		fmt.Fprintf(w, "  FAILED: %s\n", s.Error)
	}
}

// json writes everything for programs. What is not a number, such as a ratio to nothing, never gets here.
func (r *result) json(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(r)
}

//go:embed report.html
var pageText string

var pageTemplate = template.Must(template.New("page").Funcs(template.FuncMap{
	"headings": func() []cell { return headings },
	"join":     func(words []string) string { return strings.Join(words, " ") },
}).Parse(pageText))

// page writes the page: one file that needs nothing else.
func (r *result) page(w io.Writer) error { return pageTemplate.Execute(w, r) }

// judged is a measurement in the page's list of goals.
type judged struct {
	Section string
	*measurement
}

// Goals are all measurements for which there is a goal that counts.
func (r *result) Goals() (all []judged) {
	for _, s := range r.Sections {
		for i, m := range s.Measurements {
			if m.Verdict != "" {
				all = append(all, judged{s.Name, &s.Measurements[i]})
			}
		}
	}
	return all
}

func (m *measurement) valueText() string {
	text := amount{Value: m.Value, Unit: m.Unit}.text()
	if m.Range != nil {
		text += fmt.Sprintf(" (%s to %s)", number(m.Range[0]), number(m.Range[1]))
	}
	return text
}

func (m *measurement) noteText() string {
	var parts []string
	for _, a := range m.Also {
		parts = append(parts, a.text())
	}
	if m.Note != "" {
		parts = append(parts, m.Note)
	}
	return strings.Join(parts, ", ")
}

func (a amount) text() string {
	return strings.TrimSpace(a.Name + " " + number(a.Value) + " " + a.Unit)
}

func (c *comparison) text() string {
	if c == nil {
		return ""
	}
	return c.Name + ": " + number(c.Mean)
}

func (c *comparison) ratioText() string {
	if c == nil {
		return ""
	}
	return fmt.Sprintf("%.2f", c.Ratio)
}

func (c *comparison) noiseText() string {
	if c == nil || c.Noise == nil {
		return ""
	}
	return fmt.Sprintf("%.0f%%", 100**c.Noise)
}

func (g *goal) text() string {
	if g == nil {
		return ""
	}
	text := "≤ "
	if g.AtLeast {
		text = "≥ "
	}
	if g.Ratio {
		text = "ratio " + text
	}
	return text + number(g.Want)
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

// count writes a number with separators between thousands.
func count[N int | uint64 | float64](v N) string {
	s := fmt.Sprintf("%.0f", float64(v))
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
