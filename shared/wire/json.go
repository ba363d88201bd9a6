package wire

import (
	"encoding/json"
	"errors"
	"iter"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// jsonDepth is how deep encoding/json reads. Other decoders may stop earlier.
const jsonDepth = 10_000

// members are the names and values of a JSON object, in order; of an array the values,
// without names. The text must be valid JSON, so that only what ends a name or a value has to be looked for. Both
// share its memory.
func members(object []byte) iter.Seq2[[]byte, []byte] {
	return func(yield func(name, value []byte) bool) {
		var name []byte
		depth, start := 0, 0
		for i := 0; i < len(object); i++ {
			switch c := object[i]; c {
			case '"':
				i = validString(object, i+1) - 1
			case '{', '[':
				if depth++; depth == 1 {
					start = i + 1
				}
			case ':':
				if depth == 1 {
					name = trim(object[start:i])
					start = i + 1
				}
			case ',', '}', ']':
				if depth == 1 {
					value := trim(object[start:i])
					if len(value) > 0 && !yield(name, value) { // none in {}
						return
					}
					start = i + 1
				}
				if c != ',' {
					depth--
				}
			}
		}
	}
}

func trim(b []byte) []byte {
	b = b[validSpace(b, 0):]
	for len(b) > 0 && isSpace(b[len(b)-1]) {
		b = b[:len(b)-1]
	}
	return b
}

// unquote is the text of a JSON value if that is a string; null counts as "".
func unquote(value []byte) (s string, ok bool) {
	if isPlain(value) {
		return string(value[1 : len(value)-1]), true
	}
	ok = json.Unmarshal(value, &s) == nil
	return s, ok
}

// isPlain reports whether a JSON value is a string that stands for itself.
func isPlain(value []byte) bool {
	for _, c := range value {
		if c >= 0x80 || c == '\\' {
			return false
		}
	}
	return value[0] == '"'
}

// maxDepth is how deep arrays and objects may be nested in what a client publishes: deeper
// ones stop decoders of other languages, or cost them much.
const maxDepth = 64

var (
	errDepth     = errors.New("data is nested deeper than 64 levels")
	errSurrogate = errors.New(`a string has a half of a surrogate pair: \ud800 to \udfff come in pairs`)
)

// checkData refuses JSON that many decoders do not take. value must be valid JSON.
func checkData(value []byte) error {
	for i, depth := 0, 0; i < len(value); i++ {
		switch value[i] {
		case '{', '[':
			if depth++; depth > maxDepth {
				return errDepth
			}
		case '}', ']':
			depth--
		case '"':
			n, ok := stringEnd(value[i+1:])
			if !ok {
				return errSurrogate
			}
			i += 1 + n
		}
	}
	return nil
}

// stringEnd is where a string's closing quote stands. ok is false if the string has half of
// a surrogate pair (RFC 8259, 8.2), or does not end.
func stringEnd(s []byte) (n int, ok bool) {
	for n < len(s) {
		n = plainEnd(s, n)
		switch {
		case n == len(s):
		case s[n] == '"':
			return n, true
		case s[n] == '\\':
			unit, is := escapedUnit(s[n:])
			switch {
			case !is:
				n += 2
			case !utf16.IsSurrogate(unit):
				n += unitBytes
			default:
				low, _ := escapedUnit(s[n+unitBytes:])
				if utf16.DecodeRune(unit, low) == utf8.RuneError {
					return n, false
				}
				n += 2 * unitBytes
			}
		default:
			n++
		}
	}
	return n, false
}

// unitBytes is the length of an escape such as \ud83d.
const unitBytes = 6

// escapedUnit is the UTF-16 unit that s begins with, as an escape.
func escapedUnit(s []byte) (unit rune, ok bool) {
	if len(s) < unitBytes || s[0] != '\\' || s[1] != 'u' {
		return 0, false
	}
	n, err := strconv.ParseUint(string(s[2:unitBytes]), 16, 16)
	return rune(n), err == nil
}

// embeddable reports whether data is JSON also as a part of a frame, which makes it
// one level deeper.
func embeddable(data string) bool {
	if !valid(view(data)) {
		return false
	}
	deepest := strings.Count(data, "[") + strings.Count(data, "{")
	return deepest < jsonDepth || valid([]byte("["+data+"]"))
}
