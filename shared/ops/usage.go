package ops

import (
	"fmt"
	"io"
	"strings"

	"sluice/shared/settings"
)

// writeUsage writes the page behind -h: what the program is, its commands and its settings.
func writeUsage(w io.Writer, p Program) {
	var b strings.Builder
	settings.Column(&b, "", p.Name+": "+p.Summary, 0)
	fmt.Fprintf(&b, "\nUsage: %s [-h] [-version]", p.Name)
	for _, name := range namesOf(p.Switches) {
		fmt.Fprintf(&b, " [-%s]", name)
	}
	if len(p.Commands) > 0 {
		b.WriteString(" [command]")
	}
	b.WriteByte('\n')
	writeList(&b, "Switches", "  -", p.Switches, func(s Switch) string { return s.Summary })
	writeList(&b, "Commands", "  ", p.Commands, func(c Command) string { return c.Summary })
	p.writeSettings(w, b.String())
}

func writeList[V any](b *strings.Builder, title, before string, all map[string]V, summary func(V) string) {
	if len(all) == 0 {
		return
	}
	fmt.Fprintf(b, "\n%s:\n\n", title)
	at := 0
	for name := range all {
		at = max(at, len(before)+len(name)+2)
	}
	for _, name := range namesOf(all) {
		settings.Column(b, before+name, summary(all[name]), at)
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
