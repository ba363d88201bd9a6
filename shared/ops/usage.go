package ops

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

const pageWidth = 100 // columns of the page behind -h

// Usage writes the page behind -h: what the program is, and each variable of
// cfg with its meaning, what is allowed and its default.
func Usage(w io.Writer, name, summary string, cfg any) {
	writeUsage(w, Program{Name: name, Summary: summary, Config: cfg})
}

func writeUsage(w io.Writer, p Program) {
	var b strings.Builder
	column(&b, "", p.Name+": "+p.Summary, 0)
	fmt.Fprintf(&b, "\nUsage: %s [-h] [-version]", p.Name)
	if len(p.Commands) > 0 {
		fmt.Fprint(&b, " [command]\n\nCommands:\n\n")
		names := commandNames(p.Commands)
		at := 2 + longest(names) + 2
		for _, n := range names {
			column(&b, "  "+n, p.Commands[n].Summary, at)
		}
	} else {
		b.WriteByte('\n')
	}

	all := settings(p.Config)
	if len(all) > 0 {
		fmt.Fprint(&b, "\nSettings are environment variables; one that is set to \"\" counts as not set:\n")
	}
	names := make([]string, len(all))
	for i, s := range all {
		names[i] = s.name
	}
	at := 2 + longest(names) + 2
	for _, s := range all {
		b.WriteByte('\n')
		column(&b, "  "+s.name, s.help, at)
		column(&b, "", "allowed: "+s.allow, at)
		text := s.defaultText()
		if own, ok := p.Defaults[s.name]; ok {
			text = own
		}
		column(&b, "", "default: "+text, at)
	}
	io.WriteString(w, b.String()) //nolint:errcheck // nobody is left to tell
}

// defaultText is what Load would use, for people.
func (s setting) defaultText() string {
	text, tagged := s.field.Tag.Lookup("envDefault")
	switch {
	case !s.value.IsZero():
		text = s.shown(s.text())
	case tagged && text != "":
		text = s.shown(text)
	case s.required:
		text = "none, it must be set"
	default:
		text = "not set"
	}
	return text
}

// column writes left, then text wrapped into the column that starts at.
func column(b *strings.Builder, left, text string, at int) {
	line, used := left, utf8.RuneCountInString(left)
	pad := func() { line += strings.Repeat(" ", max(0, at-used)); used = max(used, at) }
	pad()
	for i, word := range strings.Fields(text) {
		n := utf8.RuneCountInString(word)
		switch {
		case i == 0:
		case used+1+n > pageWidth:
			b.WriteString(strings.TrimRight(line, " ") + "\n")
			line, used = "", 0
			pad()
		default:
			line += " "
			used++
		}
		line += word
		used += n
	}
	b.WriteString(strings.TrimRight(line, " ") + "\n")
}

func longest(names []string) int {
	n := 0
	for _, name := range names {
		n = max(n, utf8.RuneCountInString(name))
	}
	return n
}
