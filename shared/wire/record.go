package wire

import (
	"encoding/binary"
	"errors"
	"strings"
)

// The message on a gateway's Pub/Sub channel. Numbers are unsigned varints, texts
// and bytes are led by their length.
//
//	batch:     'B' partition epoch seq record*
//	beat:      'S' (partition epoch seq)*         latest sequence numbers, once a second
//	heartbeat: 'H' nonce                          from the gateway to itself
//	acked:     'A' (user device to id.ms id.seq)* cursors that moved, live only (ack.go)
//	redeliver: 'D' (conn to flags)*               how do they do? flags 1: the last time (slow.go)
//	orders:    'F' (conn what ref id text number)* what functions want (order.go)
//
//	record:  'e' to id.ms id.seq prev.ms prev.seq except frame    retained event
//	         'f' the same                                         and the first of a history that begins again
//	         'l' to id.ms id.seq except frame                     live-only event
//	         'r' conn ref to id.ms id.seq flags                   published (flags 1: duplicate)
//	         'x' conn ref code                                    publish refused
//	         'k' user device conn reason at                       kick (kick.go)
//
// frame is a complete WebSocket text frame, rendered once by the worker: gateways
// write these bytes to sockets as they are.
const (
	msgBatch     = 'B'
	msgBeat      = 'S'
	msgHeartbeat = 'H'
	msgAcked     = 'A'
	msgRedeliver = 'D'

	RecEvent     = 'e'
	RecLive      = 'l'
	RecPublished = 'r'
	RecRefused   = 'x'
	RecKick      = 'k'

	recFirst = 'f' // RecEvent with First

	flagDuplicate = 1
)

// ErrRecord says that bytes on a gateway's channel are no message of this version.
var ErrRecord = errors.New("not a message of a worker")

// Head names the place of a batch: sequence numbers are counted per partition and
// gateway by the owner, from 1 in each epoch.
type Head struct {
	Partition int
	Epoch     uint64
	Seq       uint64
}

// Record is one record of a batch; Kind says which fields count.
type Record struct {
	Kind      byte
	To        string
	ID, Prev  ID
	Except    string
	Frame     []byte // shares the message's memory: never written to
	Conn, Ref string
	Code      string
	Duplicate bool
	First     bool // of a RecEvent: see Event.First
	Kick      *Kick
}

// AppendHead starts a batch.
func AppendHead(dst []byte, h Head) []byte {
	dst = append(dst, msgBatch)
	return appendPlace(dst, h)
}

// AppendBeats adds a message with the latest sequence numbers.
func AppendBeats(dst []byte, heads []Head) []byte {
	dst = append(dst, msgBeat)
	for _, h := range heads {
		dst = appendPlace(dst, h)
	}
	return dst
}

// AppendHeartbeat adds the message that a gateway sends to itself.
func AppendHeartbeat(dst []byte, nonce uint64) []byte {
	return binary.AppendUvarint(append(dst, msgHeartbeat), nonce)
}

func appendPlace(dst []byte, h Head) []byte {
	dst = binary.AppendUvarint(dst, uint64(h.Partition))
	dst = binary.AppendUvarint(dst, h.Epoch)
	return binary.AppendUvarint(dst, h.Seq)
}

// AppendRecord adds a record to a batch.
func AppendRecord(dst []byte, r *Record) []byte {
	kind := r.Kind
	if kind == RecEvent && r.First {
		kind = recFirst
	}
	dst = append(dst, kind)
	switch r.Kind {
	case RecEvent:
		dst = appendBytes(dst, r.To)
		dst = appendID(dst, r.ID)
		dst = appendID(dst, r.Prev)
		dst = appendBytes(dst, r.Except)
		dst = appendBytes(dst, r.Frame)
	case RecLive:
		dst = appendBytes(dst, r.To)
		dst = appendID(dst, r.ID)
		dst = appendBytes(dst, r.Except)
		dst = appendBytes(dst, r.Frame)
	case RecPublished:
		dst = appendBytes(dst, r.Conn)
		dst = appendBytes(dst, r.Ref)
		dst = appendBytes(dst, r.To)
		dst = appendID(dst, r.ID)
		flags := byte(0)
		if r.Duplicate {
			flags = flagDuplicate
		}
		dst = append(dst, flags)
	case RecRefused:
		dst = appendBytes(dst, r.Conn)
		dst = appendBytes(dst, r.Ref)
		dst = appendBytes(dst, r.Code)
	case RecKick:
		dst = AppendKick(dst, r.Kick)
	}
	return dst
}

func appendBytes[T string | []byte](dst []byte, s T) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(s)))
	return append(dst, s...)
}

func appendID(dst []byte, id ID) []byte {
	dst = binary.AppendUvarint(dst, id.Ms)
	return binary.AppendUvarint(dst, id.Seq)
}

// Message is one decoded message. Records are read from it one by one with Next,
// so that nothing is allocated for them.
type Message struct {
	Head      Head   // of a batch
	Beats     []Head // of a beat
	Acked     []Ack  // cursors that moved
	Redeliver []Redelivery
	Orders    []Order
	Nonce     uint64 // of a heartbeat
	Heartbeat bool
	rest      string
}

// ParseMessage reads the start of a batch, or the whole of another message.
func ParseMessage(payload string) (Message, error) {
	var m Message
	if payload == "" {
		return m, ErrRecord
	}
	d := decoder{rest: payload[1:]}
	switch payload[0] {
	case msgBatch:
		m.Head = d.place()
	case msgBeat:
		d.bad = d.rest == "" // a beat of nothing would look like a batch
		for d.rest != "" && !d.bad {
			m.Beats = append(m.Beats, d.place())
		}
	case msgAcked:
		d.bad = d.rest == "" // as above
		for d.rest != "" && !d.bad {
			m.Acked = append(m.Acked, d.ack())
		}
	case msgRedeliver:
		d.bad = d.rest == "" // as above
		for d.rest != "" && !d.bad {
			m.Redeliver = append(m.Redeliver, d.redelivery())
		}
	case msgOrders:
		d.bad = d.rest == "" // as above
		for d.rest != "" && !d.bad {
			m.Orders = append(m.Orders, d.order())
		}
	case msgHeartbeat:
		m.Heartbeat, m.Nonce = true, d.uvarint()
		d.bad = d.bad || d.rest != ""
	default:
		return m, ErrRecord
	}
	if d.bad {
		return m, ErrRecord
	}
	m.rest = d.rest
	return m, nil
}

// Next reads the next record into r and reports whether there was one. An error
// means that the rest of the message cannot be read.
func (m *Message) Next(r *Record) (bool, error) {
	if m.rest == "" {
		return false, nil
	}
	*r = Record{Kind: m.rest[0]}
	d := decoder{rest: m.rest[1:]}
	switch r.Kind {
	case RecEvent, recFirst:
		r.Kind, r.First = RecEvent, r.Kind == recFirst
		r.To, r.ID, r.Prev, r.Except = d.text(), d.id(), d.id(), d.text()
		r.Frame = d.frame()
	case RecLive:
		r.To, r.ID, r.Except = d.text(), d.id(), d.text()
		r.Frame = d.frame()
	case RecPublished:
		r.Conn, r.Ref, r.To, r.ID = d.text(), d.text(), d.text(), d.id()
		r.Duplicate = d.byte()&flagDuplicate != 0
	case RecRefused:
		r.Conn, r.Ref, r.Code = d.text(), d.text(), d.text()
	case RecKick:
		r.Kick = d.kick()
	default:
		d.bad = true
	}
	if d.bad {
		m.rest = ""
		return false, ErrRecord
	}
	m.rest = d.rest
	return true, nil
}

type decoder struct {
	rest string
	bad  bool
}

func (d *decoder) uvarint() uint64 {
	n, size := binary.Uvarint(view(d.rest[:min(len(d.rest), binary.MaxVarintLen64)]))
	if size <= 0 {
		d.bad, d.rest = true, ""
		return 0
	}
	d.rest = d.rest[size:]
	return n
}

func (d *decoder) text() string {
	n := d.uvarint()
	if n > uint64(len(d.rest)) {
		d.bad, d.rest = true, ""
		return ""
	}
	s := d.rest[:n]
	d.rest = d.rest[n:]
	return s
}

// frame is a text that is one frame as AppendText makes it: sockets get these bytes
// as they are, and a wrong length would shift all that comes after.
func (d *decoder) frame() []byte {
	s := d.text()
	if !isText(s) {
		d.bad = true
		return nil
	}
	return view(s)
}

func (d *decoder) byte() byte {
	if d.rest == "" {
		d.bad = true
		return 0
	}
	b := d.rest[0]
	d.rest = d.rest[1:]
	return b
}

func (d *decoder) id() ID { return ID{d.uvarint(), d.uvarint()} }

func (d *decoder) place() Head {
	p := d.uvarint()
	if p >= 1<<16 { // crc16 has no more
		d.bad = true
	}
	return Head{int(p), d.uvarint(), d.uvarint()}
}

// Reply is a producer's field reply: who waits for `published`. A gateway writes
// it for what its clients publish.
type Reply struct {
	Server, Conn, Ref string
}

// String is the field's text: server, connection and ref, separated by spaces.
// Only the ref may hold spaces itself.
func (r Reply) String() string { return r.Server + " " + r.Conn + " " + r.Ref }

// ParseReply reads the field.
func ParseReply(s string) (Reply, bool) {
	parts := strings.SplitN(s, " ", 3)
	if len(parts) != 3 || parts[0] == "" || parts[1] == "" || len(s) > 512+4*MaxRef {
		return Reply{}, false
	}
	return Reply{parts[0], parts[1], parts[2]}, true
}
