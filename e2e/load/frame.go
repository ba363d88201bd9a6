package main

import (
	"encoding/binary"
	"errors"
)

// Opcodes of RFC 6455, section 5.2.
const (
	opText  = 1
	opClose = 8
	opPing  = 9
	opPong  = 10
)

// maxPayload bounds a frame: Sluice's are the data (64 KiB by default) and an envelope.
const maxPayload = 32 << 20

var (
	errFragment = errors.New("the server sent a fragmented or unknown frame, which Sluice never does")
	errMasked   = errors.New("the server sent a masked frame (RFC 6455, 5.1)")
	errHuge     = errors.New("the server sent a frame of more than 32 MiB")
)

// cutFrame finds the first frame in b: its opcode, its payload, and its length as a whole, which is 0 as long as b does
// not hold all of it.
func cutFrame(b []byte) (op byte, payload []byte, size int, err error) {
	if len(b) < 2 {
		return 0, nil, 0, nil
	}
	op = b[0] & 0x0f
	if b[0]&0xf0 != 0x80 || (op != opText && op != opClose && op != opPing && op != opPong) {
		return 0, nil, 0, errFragment
	}
	head, n := 2, uint64(b[1])
	switch {
	case n >= 0x80:
		return 0, nil, 0, errMasked
	case n == 126:
		if head = 4; len(b) < head {
			return 0, nil, 0, nil
		}
		n = uint64(binary.BigEndian.Uint16(b[2:]))
	case n == 127:
		if head = 10; len(b) < head {
			return 0, nil, 0, nil
		}
		n = binary.BigEndian.Uint64(b[2:])
	}
	if n > maxPayload {
		return 0, nil, 0, errHuge
	}
	size = head + int(n)
	if len(b) < size {
		return 0, nil, 0, nil
	}
	return op, b[head:size], size, nil
}

// appendControl adds a client's control frame. Its mask is zero, which leaves the payload as it is: a mask keeps
// payloads apart from what a proxy could take for HTTP, and these are echoes.
func appendControl(dst []byte, op byte, payload []byte) []byte {
	dst = append(dst, 0x80|op, 0x80|byte(len(payload)), 0, 0, 0, 0)
	return append(dst, payload...)
}

// appendServerText adds a text frame as a server sends it; only the floor needs it.
func appendServerText(dst, payload []byte) []byte {
	switch n := len(payload); {
	case n < 126:
		dst = append(dst, 0x80|opText, byte(n))
	case n < 1<<16:
		dst = append(dst, 0x80|opText, 126, byte(n>>8), byte(n))
	default:
		dst = append(dst, 0x80|opText, 127)
		dst = binary.BigEndian.AppendUint64(dst, uint64(n))
	}
	return append(dst, payload...)
}
