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
	if len(p.Commands) > 0 {
		fmt.Fprint(&b, " [command]\n\nCommands:\n\n")
		names := commandNames(p.Commands)
		at := 0
		for _, n := range names {
			at = max(at, 2+len(n)+2)
		}
		for _, n := range names {
			settings.Column(&b, "  "+n, p.Commands[n].Summary, at)
		}
	} else {
		b.WriteByte('\n')
	}
	p.writeSettings(w, b.String())
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
