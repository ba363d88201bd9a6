package wire

import (
	"bytes"
	"encoding/json"
	"iter"
	"strings"
)

// jsonDepth is how deep encoding/json reads. Other decoders may stop earlier.
const jsonDepth = 10_000

// members are the names and values of a JSON object, in order. The text must be
// valid JSON, so that only what ends a name or a value has to be looked for. Both
// share its memory.
func members(object []byte) iter.Seq2[[]byte, []byte] {
	return func(yield func(name, value []byte) bool) {
		var name []byte
		depth, start := 0, 0
		for i := 0; i < len(object); i++ {
			switch c := object[i]; c {
			case '"':
				for i++; object[i] != '"'; i++ {
					if object[i] == '\\' {
						i++
					}
				}
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

func trim(b []byte) []byte { return bytes.Trim(b, " \t\r\n") }

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

// embeddable reports whether data is JSON also as a part of a frame, which makes it
// one level deeper.
func embeddable(data string) bool {
	if !json.Valid(view(data)) {
		return false
	}
	deepest := strings.Count(data, "[") + strings.Count(data, "{")
	return deepest < jsonDepth || json.Valid([]byte("["+data+"]"))
}
