package socket

import (
	"bytes"
	"io"
	"slices"
	"testing"
	"time"
)

func TestParseHeader(t *testing.T) {
	for _, n := range []int{0, 1, 125, 126, 127, 65535, 65536} {
		for _, first := range []byte{final | opText, opText, opContinue, final | opPing, 0xff} {
			f := frame(first, make([]byte, n))
			want := header{first: first, masked: true, size: len(f) - n, length: uint64(n)}
			for short := range want.size {
				if h, ok := parseHeader(f[:short]); ok || h.size <= short || h.size > want.size {
					t.Errorf("%d bytes of %d: %+v %v", short, want.size, h, ok)
				}
			}
			if h, ok := parseHeader(f); !ok || h != want {
				t.Errorf("got %+v %v, want %+v", h, ok, want)
			}
		}
	}
}

// FuzzParseHeader: a header is parsed from no more bytes than it has, and the same way
// whatever follows.
func FuzzParseHeader(f *testing.F) {
	f.Add(text("x"))
	f.Add([]byte{0x81, 0xff, 255, 255, 255, 255, 255, 255, 255, 255, 1, 2, 3, 4})
	f.Add([]byte{0x81, 0x7e, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		h, ok := parseHeader(b)
		if ok != (h.size <= len(b)) || h.size < 2 || h.size > 14 {
			t.Fatalf("%x: %+v %v", b, h, ok)
		}
		if !ok {
			return
		}
		if same, ok := parseHeader(b[:h.size]); !ok || same != h {
			t.Errorf("%x: %+v, but %+v without what follows", b, h, same)
		}
		if h.within(4096) && len(b) >= h.size+int(h.length) && h.control() {
			_ = h.unmask(b[:h.size+int(h.length)])
		}
	})
}

// tape is a link from which a test's bytes are read in pieces. Everything happens in
// the test's goroutine.
type tape struct {
	c      *Conn
	pieces [][]byte
	reader *reader
	todo   bool // to write
	out    bytes.Buffer
}

func (l *tape) start() error      { l.c.in.turn = reading; return nil }
func (l *tape) wantTurn()         {}
func (l *tape) wantWrite()        { l.todo = true }
func (l *tape) interrupt()        {}
func (l *tape) halfClose() bool   { return true }
func (l *tape) close(unsent bool) {}

func (l *tape) serve(deaf bool) bool {
	if deaf {
		l.c.discard(true)
		return false
	}
	l.reader.c = l.c
	for l.reader.step() {
	}
	return false
}

func (l *tape) read(b []byte, wait bool) (int, error) {
	for l.todo {
		l.todo = false
		for l.c.write(new(writer)) {
		}
	}
	if len(l.pieces) == 0 {
		return 0, io.EOF
	}
	if len(l.pieces[0]) == 0 { // the client makes a pause
		l.pieces = l.pieces[1:]
		if !wait {
			return 0, errAgain
		}
		return l.read(b, wait)
	}
	n := copy(b, l.pieces[0])
	if l.pieces[0] = l.pieces[0][n:]; len(l.pieces[0]) == 0 {
		l.pieces = l.pieces[1:]
	}
	return n, nil
}

func (l *tape) write(frames [][]byte, _ *vector) (int, error) {
	n := 0
	for _, f := range frames {
		n += len(f)
		l.out.Write(f)
	}
	return n, nil
}

type diary struct {
	messages []string
	pongs    int
	code     int
}

func (d *diary) Message(b []byte)  { d.messages = append(d.messages, string(b)) }
func (d *diary) Ping() bool        { return true }
func (d *diary) Pong()             { d.pongs++ }
func (d *diary) Drained()          {}
func (d *diary) Early([]byte) bool { return false }
func (d *diary) Closed(code int)   { d.code = code }

// play lets a socket read the pieces, and returns what its handler saw and what the
// client got.
func play(g *Group, pieces [][]byte) (*diary, string) {
	d := new(diary)
	l := &tape{pieces: pieces, reader: g.newReader()}
	l.c = &Conn{group: g, framing: webSocket, link: l}
	l.c.Attach(d)
	l.c.Start()
	for l.c.phase < gone {
		l.c.in.turn = reading
		l.c.turn()
		if l.todo {
			l.todo = false
			for l.c.write(new(writer)) {
			}
		}
	}
	return d, l.out.String()
}

// FuzzInput: what comes means the same in whatever pieces it comes, with whatever
// pauses; so looking ahead and gorilla agree.
func FuzzInput(f *testing.F) {
	for _, c := range autobahn() {
		var b []byte
		for _, step := range c.steps {
			b = append(b, step.send...)
		}
		if len(b) < 1000 {
			f.Add(b, uint64(1))
			f.Add(b, uint64(0x5555))
		}
	}
	g := NewGroup(Options{MaxMessage: 300, QueueBytes: 1 << 20, PingInterval: time.Hour, CloseTimeout: time.Hour, goroutines: true})
	f.Fuzz(func(t *testing.T, b []byte, cuts uint64) {
		if len(b) > 8000 { // more may be too many fragments, and when that is seen depends on the pieces
			return
		}
		want, out := play(g, [][]byte{slices.Clone(b)})
		var pieces [][]byte
		for i, begin := 0, 0; begin < len(b); i++ {
			n := 1 + int(cuts>>(i%60)&7)
			end := min(len(b), begin+n)
			pieces = append(pieces, slices.Clone(b[begin:end]))
			if cuts>>(i%61)&1 == 1 {
				pieces = append(pieces, nil)
			}
			begin = end
		}
		got, out2 := play(g, pieces)
		if !slices.Equal(got.messages, want.messages) || got.pongs != want.pongs || got.code != want.code || out != out2 {
			t.Errorf("%x\nin one piece: %+v, answered %x\nin pieces:    %+v, answered %x", b, want, out, got, out2)
		}
	})
}
