package ops

import (
	"io"
	"maps"
	"slices"
	"strings"

	"sluice/shared/settings"
)

// writeUsage writes the page behind -h: what the program is, its commands and its settings.
func writeUsage(w io.Writer, p Program) {
	var b strings.Builder
	settings.Column(&b, "", p.Name+": "+p.Summary, 0)
	b.WriteString("\nUsage: " + p.Name + " [-h] [-version]")
	switches, commands := make(map[string]string), make(map[string]string)
	for name, s := range p.Switches {
		switches["-"+name] = s.Summary
	}
	for _, name := range slices.Sorted(maps.Keys(switches)) {
		b.WriteString(" [" + name + "]")
	}
	for name, c := range p.Commands {
		commands[name] = c.Summary
	}
	if len(commands) > 0 {
		b.WriteString(" [command]")
	}
	b.WriteByte('\n')
	writeList(&b, "Switches", switches)
	writeList(&b, "Commands", commands)
	p.writeSettings(w, b.String())
}

// writeList writes what there is, by name.
func writeList(b *strings.Builder, title string, summaries map[string]string) {
	if len(summaries) == 0 {
		return
	}
	b.WriteString("\n" + title + ":\n\n")
	names := slices.Sorted(maps.Keys(summaries))
	at := 0
	for _, name := range names {
		at = max(at, 2+len(name)+2)
	}
	for _, name := range names {
		settings.Column(b, "  "+name, summaries[name], at)
	}
}

// writeCommandUsage writes the page behind "command -h".
func writeCommandUsage(w io.Writer, p Program, name string) {
	var b strings.Builder
	settings.Column(&b, "", p.Name+" "+name+": "+p.Commands[name].Summary, 0)
	p.writeSettings(w, b.String())
}

func (p Program) writeSettings(w io.Writer, head string) {
	if list := settings.List(p.Config, p.Defaults); list != "" {
		head += "\nSettings are environment variables; one that is set to \"\" counts as not set:\n\n" + list
	}
	io.WriteString(w, head) //nolint:errcheck // nobody is left to tell
}
