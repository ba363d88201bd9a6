// Package pattern matches names: of targets that a token allows, and of calls that a function takes.
package pattern

import "strings"

// Match says whether the whole of s matches pattern, in which * stands for any run of characters, also none. There
// is no escape, since targets hold no *. Each piece between two stars takes its first occurrence and is never
// reconsidered: a later one could only leave less for the pieces that follow. So the work is linear in s.
func Match(pattern, s string) bool {
	piece, rest, star := strings.Cut(pattern, "*")
	if !star {
		return pattern == s
	}
	s, ok := strings.CutPrefix(s, piece)
	for ok {
		if piece, rest, star = strings.Cut(rest, "*"); !star {
			return strings.HasSuffix(s, piece)
		}
		_, s, ok = strings.Cut(s, piece)
	}
	return false
}
