package socket

import "encoding/binary"

// header is the header of a client's frame, RFC 6455, 5.2.
type header struct {
	first  byte // FIN, reserved bits, opcode
	masked bool
	size   int    // of the header itself, with the mask
	length uint64 // of the payload
}

const (
	bitFinal = 0x80
	bitsOp   = 0x0f
	opClose  = 0x8
	opPing   = 0x9
	opPong   = 0xa

	maxControl = 125 // bytes of a control frame's payload
)

// parseHeader reads the header at the beginning of b. If b is too short, ok is false
// and size is how many bytes are needed to know more.
func parseHeader(b []byte) (h header, ok bool) {
	if len(b) < 2 {
		return header{size: 2}, false
	}
	h = header{first: b[0], masked: b[1]&0x80 != 0, size: 2, length: uint64(b[1] & 0x7f)}
	short := h.length
	switch short {
	case 126:
		h.size += 2
	case 127:
		h.size += 8
	}
	if h.masked {
		h.size += 4
	}
	if len(b) < h.size {
		return h, false
	}
	switch short {
	case 126:
		h.length = uint64(binary.BigEndian.Uint16(b[2:]))
	case 127:
		h.length = binary.BigEndian.Uint64(b[2:])
	}
	return h, true
}

// control reports whether it is of a control frame that keeps to the rules. All
// others are gorilla's to refuse.
func (h header) control() bool {
	return h.first&^bitsOp == bitFinal && h.first&bitsOp >= opClose && h.first&bitsOp <= opPong &&
		h.masked && h.length <= maxControl
}

func (h header) final() bool { return h.first&bitFinal != 0 }

// within reports whether the whole frame has at most n bytes.
func (h header) within(n int) bool { return h.length <= uint64(n-h.size) }

// unmask returns the payload of a frame in plain, as a copy.
func (h header) unmask(frame []byte) []byte {
	mask := frame[h.size-4 : h.size]
	payload := make([]byte, h.length)
	for i, b := range frame[h.size:] {
		payload[i] = b ^ mask[i%4]
	}
	return payload
}
