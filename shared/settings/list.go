package settings

import (
	"strings"
	"unicode/utf8"
)

const pageWidth = 100 // columns of the page behind -h

// List is the settings of cfg for the page behind -h: each variable with its
// meaning, what is allowed and its default. defaults replace those of the tags,
// by variable.
func List(cfg any, defaults map[string]string) string {
	var b strings.Builder
	list := all(cfg)
	at := 0
	for _, s := range list {
		at = max(at, 2+utf8.RuneCountInString(s.name)+2)
	}
	for i, s := range list {
		if i > 0 {
			b.WriteByte('\n')
		}
		Column(&b, "  "+s.name, s.help, at)
		Column(&b, "", "allowed: "+s.allowed(), at)
		text, own := defaults[s.name]
		if !own {
			text = s.defaultText()
		}
		Column(&b, "", "default: "+text, at)
	}
	return b.String()
}

// defaultText is what Load would use, for people.
func (s setting) defaultText() string {
	text, tagged := s.field.Tag.Lookup("envDefault")
	switch {
	case !s.value.IsZero():
		return s.shown(s.text())
	case tagged && text != "":
		return s.shown(text)
	case s.required:
		return "none, it must be set"
	}
	return "not set"
}

// Column writes left, then text wrapped into the column that starts at.
func Column(b *strings.Builder, left, text string, at int) {
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
