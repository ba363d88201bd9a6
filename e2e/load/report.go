package main

import (
	_ "embed" // the page
	"fmt"
	"html/template"
	"os"
	"strings"
)

//go:embed report.html
var page string

// writeReport writes the page: one file that needs nothing else.
func (r *result) writeReport(path string) error {
	t, err := template.New("report").Funcs(template.FuncMap{
		"svg":  func(c chart) template.HTML { return c.svg() },
		"join": func(words []string) string { return strings.Join(words, " ") },
		"goal": func(s *section, f *figure) string { return f.verdict(s.judged) },
		"drawn": func(c chart) bool {
			for _, s := range c.Series {
				if len(s.At) > 1 {
					return true
				}
			}
			return false
		},
	}).Parse(page)
	if err != nil {
		return fmt.Errorf("the report's template: %w", err)
	}
	out, err := os.Create(path)
	if err != nil {
		return err
	}
	if err := t.Execute(out, r); err != nil {
		_ = out.Close()
		return fmt.Errorf("cannot write %s: %w", path, err)
	}
	return out.Close()
}

// What the page asks of a figure.

func (f *figure) Text() string      { return f.text() }
func (f *figure) FloorText() string { return f.floorText() }
func (f *figure) RatioText() string { return f.ratioText() }
func (f *figure) NoiseText() string { return f.noiseText() }
func (f *figure) GoalText() string  { return f.goalText() }

// goalLine is a goal with what it was set for.
type goalLine struct {
	Section *section
	Figure  *figure
	Verdict string
}

// Goals are all figures for which there is a goal that counts.
func (r *result) Goals() (lines []goalLine) {
	for _, s := range r.Sections {
		for _, f := range s.Figures {
			if v := f.verdict(s.judged); v != "" {
				lines = append(lines, goalLine{s, f, v})
			}
		}
	}
	return lines
}
