package pattern

import (
	"regexp"
	"strings"
	"testing"
)

// maxPatternTest is how long patterns in tokens may be.
const maxPatternTest = 256

var matchTests = []struct {
	pattern, s string
	want       bool
}{
	{"", "", true}, {"", "a", false}, {"a", "", false}, {"a", "a", true}, {"a", "A", false}, {"a", "aa", false},
	{"*", "", true}, {"*", "abc", true}, {"**", "", true}, {"**", "abc", true},
	{"a*", "a", true}, {"a*", "ab", true}, {"a*", "ba", false},
	{"*a", "a", true}, {"*a", "ba", true}, {"*a", "ab", false}, {"*a", "aXa", true},
	{"a*b", "ab", true}, {"a*b", "aXXb", true}, {"a*b", "aXbX", false}, {"a*b", "a", false}, {"ab*b", "ab", false}, {"ab*ba", "aba", false},
	{"*a*", "xay", true}, {"*a*", "xy", false}, {"a*b*c", "aXbYc", true}, {"a*b*c", "abc", true}, {"a*b*c", "acb", false},
	{"*ab*ab*", "xabyabz", true}, {"*ab*ab*", "xabyz", false}, {"*aab", "aaab", true}, {"*ab*b", "abab", true}, {"*ab*ab", "ab", false},
	{"topic:*:eu", "topic:news:eu", true}, {"topic:*:eu", "topic:eu", false},
	// What other languages of patterns would read is plain text here.
	{"a?", "ab", false}, {"a.c", "abc", false}, {"[a]", "a", false}, {`a\*`, "a*", false},
}

func TestMatch(t *testing.T) {
	for _, tt := range matchTests {
		if got := Match(tt.pattern, tt.s); got != tt.want {
			t.Errorf("Match(%q, %q) = %t", tt.pattern, tt.s, got)
		}
	}
}

// With a matcher that reconsiders its choices this does not end.
func TestMatchDoesNotBacktrack(t *testing.T) {
	s := strings.Repeat("a", maxPatternTest)
	pattern := strings.Repeat("*a", maxPatternTest/2-1) + "b"
	if Match(pattern, s) || !Match(strings.TrimSuffix(pattern, "b"), s) {
		t.Error("wrong answer")
	}
}

func FuzzMatch(f *testing.F) {
	for _, tt := range matchTests {
		f.Add(tt.pattern, tt.s)
	}
	f.Fuzz(func(t *testing.T, pattern, s string) {
		if len(pattern) > maxPatternTest {
			return // the regexp would be too large
		}
		// Go's regexp matches bytes that are no UTF-8 as U+FFFD, so compare text only.
		pattern, s = strings.ToValidUTF8(pattern, "?"), strings.ToValidUTF8(s, "?")
		oracle := regexp.MustCompile(`(?s)\A` + strings.ReplaceAll(regexp.QuoteMeta(pattern), `\*`, `.*`) + `\z`)
		if got, want := Match(pattern, s), oracle.MatchString(s); got != want {
			t.Errorf("Match(%q, %q) = %t, want %t", pattern, s, got, want)
		}
	})
}
