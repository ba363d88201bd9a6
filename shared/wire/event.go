package wire

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"unicode/utf8"
	"unsafe"
)

// DefaultName is the name of an event whose producer gave none.
const DefaultName = "message"

// Event is one event as clients see it.
type Event struct {
	To     string
	ID     ID       // that of the ingress entry; not shown for live-only events
	Prev   ID       // the event before it for the same target; zero for the first
	Name   string   // "" is DefaultName
	Data   string   // bytes as the producer gave them
	Kind   DataKind // how Data stands in the frame
	From   string   // "user:<id>" for events that clients published
	Except string   // connection that gets `skip` instead
	Trace  string   // traceparent, passed on in the history
	Live   bool     // retain 0: delivered live only, no history, no id on the wire
	// First: the target's history had ended when this event was added, so it is the
	// first one of a history that begins again, whatever Prev says of an earlier one.
	First bool
}

// AppendEvent adds the frame `event` as JSON to dst.
func AppendEvent(dst []byte, e *Event) []byte {
	dst = append(dst, `{"type":"event","to":"`...)
	dst = append(dst, e.To...) // targets have no character that JSON escapes
	if !e.Live {
		dst = append(dst, `","id":"`...)
		dst = e.ID.Append(dst)
		dst = append(dst, `","prev":"`...)
		dst = e.Prev.Append(dst)
	}
	dst = append(dst, `","event":`...)
	if e.Name == "" {
		dst = append(dst, `"`+DefaultName+`"`...)
	} else {
		dst = AppendString(dst, e.Name)
	}
	if e.From != "" {
		dst = append(dst, `,"from":`...)
		dst = AppendString(dst, e.From)
	}
	dst = append(dst, `,"data":`...)
	switch e.Kind {
	case JSON:
		dst = append(dst, e.Data...)
	case Text:
		dst = AppendString(dst, e.Data)
	default:
		dst = append(dst, '"')
		dst = base64.StdEncoding.AppendEncode(dst, view(e.Data))
		dst = append(dst, `","enc":"base64"`...)
	}
	return append(dst, '}')
}

// AppendSkip adds the frame `skip`: what the connection that an event leaves out
// gets in its place, so that its chain of prev stays whole.
func AppendSkip(dst []byte, to string, id, prev ID) []byte {
	dst = append(dst, `{"type":"skip","to":"`...)
	dst = append(dst, to...)
	dst = append(dst, `","id":"`...)
	dst = id.Append(dst)
	dst = append(dst, `","prev":"`...)
	dst = prev.Append(dst)
	return append(dst, `"}`...)
}

// FromZero is the frame of an event, as AppendEvent and AppendText made it, for a client
// that has nothing of the target: it says prev "0".
func FromZero(frame []byte, prev ID) []byte {
	json := Payload(frame)
	said := prev.Append([]byte(`,"prev":"`))
	// No target has a quote in it, so the first one that looks like it is it.
	at := bytes.Index(json, said)
	if at < 0 {
		return frame
	}
	at += len(`,"prev":"`)
	out := append(make([]byte, 0, len(json)), json[:at]...)
	out = append(out, '0')
	return AppendText(nil, append(out, json[at+len(prev.String()):]...))
}

const textFrame = 0x81 // FIN, opcode 1

// AppendText adds one unmasked WebSocket text frame with this payload to dst
// (RFC 6455, 5.2): the bytes that every socket gets.
func AppendText(dst, payload []byte) []byte {
	return append(appendTextHead(dst, len(payload)), payload...)
}

const maxTextHead = 10

func appendTextHead(dst []byte, n int) []byte {
	switch {
	case n < 126:
		return append(dst, textFrame, byte(n))
	case n < 1<<16:
		return append(dst, textFrame, 126, byte(n>>8), byte(n))
	default:
		return append(dst, textFrame, 127, 0, 0, 0, 0, byte(n>>24), byte(n>>16), byte(n>>8), byte(n))
	}
}

// EventFrame is the text frame of an event. It takes one allocation, unless the data
// has to be escaped: who comes back is given hundreds of them.
func EventFrame(e *Event) []byte {
	const around = 180 // the JSON around the texts, with the longest ids
	b := make([]byte, maxTextHead, maxTextHead+around+len(e.To)+len(e.Name)+len(e.From)+len(e.Data))
	b = AppendEvent(b, e)
	n := len(b) - maxTextHead
	var head [maxTextHead]byte
	h := appendTextHead(head[:0], n)
	copy(b[maxTextHead-len(h):], h)
	return b[maxTextHead-len(h):]
}

// isText reports whether s is exactly one frame as AppendText makes it.
func isText(s string) bool {
	n := len(s)
	if n < 2 || s[0] != textFrame {
		return false
	}
	switch s[1] {
	case 126:
		return n >= 4+126 && n-4 == int(binary.BigEndian.Uint16(view(s[2:4])))
	case 127:
		return n >= 10+1<<16 && uint64(n-10) == binary.BigEndian.Uint64(view(s[2:10]))
	}
	return s[1] < 126 && n-2 == int(s[1])
}

// Payload is the JSON within a frame that AppendText made.
func Payload(frame []byte) []byte {
	switch frame[1] {
	case 126:
		return frame[4:]
	case 127:
		return frame[10:]
	}
	return frame[2:]
}

const hexDigits = "0123456789abcdef"

// AppendString adds s as a JSON string (RFC 8259, 7). Bytes that are no UTF-8
// become U+FFFD, so that a frame is always valid text.
func AppendString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	for i := 0; i < len(s); i++ {
		end := plainEnd(view(s), i)
		if plain := s[i:end]; utf8.ValidString(plain) {
			dst = append(dst, plain...)
		} else {
			for _, r := range plain {
				dst = utf8.AppendRune(dst, r)
			}
		}
		if i = end; i == len(s) {
			break
		}
		switch c := s[i]; c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\n':
			dst = append(dst, '\\', 'n')
		case '\r':
			dst = append(dst, '\\', 'r')
		case '\t':
			dst = append(dst, '\\', 't')
		default:
			dst = append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		}
	}
	return append(dst, '"')
}

// view is s as bytes that must not be written to: no copy on the hot path.
func view(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }
