package wire

import "encoding/binary"

// valid reports whether b is one JSON value (RFC 8259), exactly as json.Valid does, which takes three to eight times as long: every
// event passes it at the gateway and at the worker. Like json.Valid it does not look at UTF-8, and reads jsonDepth levels.
func valid(b []byte) bool {
	i := validEnd(b, 0)
	return i >= 0 && validSpace(b, i) == len(b)
}

// validEnd is where the value ends that begins at b[i] or behind spaces there, -1 if there is none.
func validEnd(b []byte, i int) int {
	var room [64]byte
	open := room[:0] // what the arrays and objects end with that have begun: in a slice, since calls within calls take memory
	for {
		if i = validSpace(b, i); i == len(b) {
			return -1
		}
		if c := b[i]; c == '{' || c == '[' {
			if len(open) == jsonDepth {
				return -1
			}
			end := c + 2
			open = append(open, end)
			if i = validSpace(b, i+1); i == len(b) || b[i] != end {
				if i = validName(b, i, end); i < 0 {
					return -1
				}
				continue
			}
		} else if i = validScalar(b, i); i < 0 {
			return -1
		}
		for more := false; !more; { // behind a value
			if len(open) == 0 {
				return i
			}
			if i = validSpace(b, i); i == len(b) {
				return -1
			}
			end := open[len(open)-1]
			switch b[i] {
			case end:
				open = open[:len(open)-1]
				i++
			case ',':
				more = true
				if i = validName(b, i+1, end); i < 0 {
					return -1
				}
			default:
				return -1
			}
		}
	}
}

// validSpace is where the next byte stands that is no space.
func validSpace(b []byte, i int) int {
	for i < len(b) && isSpace(b[i]) {
		i++
	}
	return i
}

func isSpace(c byte) bool { return c == ' ' || c == '\n' || c == '\t' || c == '\r' }

// validName is where the value may begin of the member whose name begins at b[i], if it is one of an object: what that ends with says so.
func validName(b []byte, i int, end byte) int {
	if end != '}' {
		return i
	}
	if i = validSpace(b, i); i == len(b) || b[i] != '"' {
		return -1
	}
	if i = validString(b, i+1); i < 0 {
		return -1
	}
	if i = validSpace(b, i); i == len(b) || b[i] != ':' {
		return -1
	}
	return i + 1
}

// validScalar is where the string, number or word ends that begins at b[i], -1 if there is none.
func validScalar(b []byte, i int) int {
	switch b[i] {
	case '"':
		return validString(b, i+1)
	case 't':
		return validWord(b, i, "true")
	case 'f':
		return validWord(b, i, "false")
	case 'n':
		return validWord(b, i, "null")
	}
	return validNumber(b, i)
}

// validString is where the string ends whose text begins at b[i].
func validString(b []byte, i int) int {
	for {
		if i = plainEnd(b, i); i >= len(b) || b[i] < ' ' {
			return -1
		}
		if b[i] == '"' {
			return i + 1
		}
		if i = validEscape(b, i+1); i < 0 {
			return -1
		}
	}
}

// plainEnd is where the first byte from b[i] on stands that is a quote, a backslash or a control character; else len(b).
func plainEnd(b []byte, i int) int {
	for ; i+8 <= len(b); i += 8 { // in each term the high bit of a byte is set if it, or one before it, is such a one
		const ones, highs = 0x0101010101010101, 0x8080808080808080
		x := binary.LittleEndian.Uint64(b[i:])
		quote, slash := x^ones*'"', x^ones*'\\'
		if ((quote-ones)&^quote|(slash-ones)&^slash|(x-ones*' ')&^x)&highs != 0 {
			break
		}
	}
	for i < len(b) && b[i] != '"' && b[i] != '\\' && b[i] >= ' ' {
		i++
	}
	return i
}

// validEscape is where an escape ends whose backslash stands before b[i].
func validEscape(b []byte, i int) int {
	if i >= len(b) {
		return -1
	}
	switch b[i] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return i + 1
	case 'u':
		end := i + 5
		if end > len(b) {
			return -1
		}
		for _, c := range b[i+1 : end] {
			if !isDigit(c) && (c|0x20 < 'a' || c|0x20 > 'f') {
				return -1
			}
		}
		return end
	}
	return -1
}

func validWord(b []byte, i int, word string) int {
	end := i + len(word)
	if end > len(b) || string(b[i:end]) != word {
		return -1
	}
	return end
}

// validNumber is where the number ends that begins at b[i].
func validNumber(b []byte, i int) int {
	if b[i] == '-' {
		i++
	}
	begin := i
	if i = digitsEnd(b, i); i == begin || (b[begin] == '0' && i > begin+1) {
		return -1
	}
	if i < len(b) && b[i] == '.' {
		begin = i + 1
		if i = digitsEnd(b, begin); i == begin {
			return -1
		}
	}
	if i < len(b) && b[i]|0x20 == 'e' {
		if i++; i < len(b) && (b[i] == '+' || b[i] == '-') {
			i++
		}
		begin = i
		if i = digitsEnd(b, begin); i == begin {
			return -1
		}
	}
	return i
}

func digitsEnd(b []byte, i int) int {
	for i < len(b) && isDigit(b[i]) {
		i++
	}
	return i
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }
