package socket

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
)

// A step of a case: bytes that the client writes, or what it must get.
type step struct {
	send   []byte
	expect func(*client)
}

func (s step) do(c *client) {
	c.t.Helper()
	if s.expect != nil {
		s.expect(c)
	} else {
		c.tryWrite(s.send)
	}
}

func send(frames ...[]byte) step { return step{send: bytes.Join(frames, nil)} }

func wants(op byte, payload string) step {
	return step{expect: func(c *client) { c.t.Helper(); c.expect(op, []byte(payload)) }}
}

func wantsClose(code int) step {
	return step{expect: func(c *client) { c.t.Helper(); c.expectClose(code) }}
}

func echoes(s string) step { return wants(opText, s) }

// fragments cuts a text message into pieces of n bytes.
func fragments(s string, n int) (frames [][]byte) {
	first := byte(opText)
	for len(s) > n {
		frames = append(frames, frame(first, []byte(s[:n])))
		s, first = s[n:], opContinue
	}
	return append(frames, frame(first|final, []byte(s)))
}

func repeat(n int, frames ...[]byte) []byte { return bytes.Repeat(bytes.Join(frames, nil), n) }

type autobahnCase struct {
	section string
	steps   []step
}

// autobahn are the cases of the Autobahn test suite's server tests that apply to a
// server of text messages without compression (sections 1-7, 9.1-9.8, 10), against
// an echo. Where the suite allows more than one answer, this server's is written.
func autobahn() []autobahnCase {
	const fail = 1002
	begin := frame(opText, []byte("fragment1"))
	end := frame(opContinue|final, []byte("fragment2"))
	ping, pong := frame(opPing|final, []byte("p")), frame(opPong|final, []byte("unasked"))
	wantsPong := wants(opPong, "p")
	long := strings.Repeat("*", 65536)
	binaryPing := "\x00\xff\xfe\xfd\xfc\xfb\x00\xff"
	cases := []autobahnCase{
		{"1.1.6 text of 65536 in fragments of 997", []step{send(fragments(long, 997)...), echoes(long)}},
		{"1.2.1 binary, empty", []step{send(frame(opBinary|final, nil)), wantsClose(1003)}},
		{"1.2.2 binary of 125", []step{send(frame(opBinary|final, []byte(long[:125]))), wantsClose(1003)}},
		{"1.2.7 binary of 65536", []step{send(frame(opBinary|final, []byte(long))), wantsClose(1003)}},
		{"2.1 ping without payload", []step{send(frame(opPing|final, nil)), wants(opPong, "")}},
		{"2.2 ping with payload", []step{send(frame(opPing|final, []byte("Hello, world!"))), wants(opPong, "Hello, world!")}},
		{"2.3 ping with binary payload", []step{send(frame(opPing|final, []byte(binaryPing))), wants(opPong, binaryPing)}},
		{"2.4 ping of 125", []step{send(frame(opPing|final, []byte(long[:125]))), wants(opPong, long[:125])}},
		{"2.5 ping of 126", []step{send(frame(opPing|final, []byte(long[:126]))), wantsClose(fail)}},
		{"2.7 pong unasked, empty", []step{send(frame(opPong|final, nil), ping), wantsPong}},
		{"2.8 pong unasked with payload", []step{send(pong, ping), wantsPong}},
		{"2.9 pong unasked, then ping", []step{send(pong), send(ping), wantsPong}},
		{"2.10 ten pings", []step{send(repeat(10, ping)), wants(opPong, "p"), wantsPong, wantsPong, wantsPong, wantsPong,
			wantsPong, wantsPong, wantsPong, wantsPong, wantsPong}},
		{"3.1 RSV 1", []step{send(frame(opText|final|1<<4, []byte("x"))), wantsClose(fail)}},
		{"3.2 text, RSV 2, ping", []step{send(text("a"), frame(opText|final|2<<4, []byte("x")), ping), echoes("a"), wantsClose(fail)}},
		{"3.3 RSV 3", []step{send(text("a")), echoes("a"), send(frame(opText|final|3<<4, []byte("x")), ping), wantsClose(fail)}},
		{"3.4 RSV 4", []step{send(text("a"), frame(opText|final|4<<4, []byte("x")), ping), echoes("a"), wantsClose(fail)}},
		{"3.5 RSV 5 on binary", []step{send(frame(opBinary|final|5<<4, []byte("x"))), wantsClose(fail)}},
		{"3.6 RSV 6 on ping", []step{send(frame(opPing|final|6<<4, []byte("x"))), wantsClose(fail)}},
		{"3.7 RSV 7 on close", []step{send(frame(opClose|final|7<<4, nil)), wantsClose(fail)}},
		{"5.1 ping in two fragments", []step{send(frame(opPing, []byte("a")), frame(opContinue|final, []byte("b"))), wantsClose(fail)}},
		{"5.2 pong in two fragments", []step{send(frame(opPong, []byte("a")), frame(opContinue|final, []byte("b"))), wantsClose(fail)}},
		{"5.3 text in two fragments", []step{send(begin), send(end), echoes("fragment1fragment2")}},
		{"5.6 ping between fragments", []step{send(begin), send(ping), send(end), wantsPong, echoes("fragment1fragment2")}},
		{"5.7 the same, waiting for the pong", []step{send(begin), send(ping), wantsPong, send(end), echoes("fragment1fragment2")}},
		{"5.9 continuation of nothing, final", []step{send(end, text("x")), wantsClose(fail)}},
		{"5.12 continuation of nothing, not final", []step{send(frame(opContinue, []byte("x")), text("x")), wantsClose(fail)}},
		{"5.15 continuation after the end", []step{send(begin, end, frame(opContinue, []byte("x")), text("x")), echoes("fragment1fragment2"), wantsClose(fail)}},
		{"5.18 both fragments with the opcode of text", []step{send(begin, text("x")), wantsClose(fail)}},
		{"5.19 five fragments, pings between", []step{
			send(begin, frame(opContinue, []byte("2")), ping), wantsPong,
			send(frame(opContinue, []byte("3")), frame(opContinue, []byte("4")), ping), wantsPong,
			send(frame(opContinue|final, []byte("5"))), echoes("fragment12345")}},
		{"5.x a message after a fragmented one", []step{send(begin, end, text("x"), ping), echoes("fragment1fragment2"), echoes("x"), wantsPong}},
		{"6.1.1 empty text", []step{send(text("")), echoes("")}},
		{"6.1.2 three empty fragments", []step{send(begin[:0], frame(opText, nil), frame(opContinue, nil), frame(opContinue|final, nil)), echoes("")}},
		{"6.1.3 first and last fragment empty", []step{send(frame(opText, nil), frame(opContinue, []byte("x")), frame(opContinue|final, nil)), echoes("x")}},
		{"6.4.1 invalid in the second of three fragments", []step{send(frame(opText, []byte("κόσμε")), frame(opContinue, []byte("\xf4\x90\x80\x80")), frame(opContinue|final, []byte("edited"))), wantsClose(1007)}},
		{"6.4.2 invalid at the end only", []step{send(frame(opText, []byte("κόσμε\xf4")), frame(opContinue, []byte("\x90")), frame(opContinue|final, nil)), wantsClose(1007)}},
		{"7.1.1 close after a message", []step{send(text("x"), closeText(1000, "")), echoes("x"), wantsClose(1000)}},
		{"7.1.2 two closes", []step{send(closeText(1000, ""), closeText(1000, "")), wantsClose(1000)}},
		{"7.1.3 ping after close", []step{send(closeText(1000, ""), ping), wantsClose(1000)}},
		{"7.1.4 text after close", []step{send(closeText(1000, ""), text("x")), wantsClose(1000)}},
		{"7.1.5 close between fragments", []step{send(begin, closeText(1000, ""), end), wantsClose(1000)}},
		{"7.1.6 a long message, close, ping", []step{send(text(strings.Repeat("*", 256<<10)), closeText(1000, ""), ping), echoes(strings.Repeat("*", 256<<10)), wantsClose(1000)}},
		{"7.3.1 close without payload", []step{send(frame(opClose|final, nil)), wantsClose(1000)}},
		{"7.3.2 close with one byte", []step{send(frame(opClose|final, []byte("x"))), wantsClose(fail)}},
		{"7.3.4 close with a reason", []step{send(closeText(1000, "Hello World!")), wantsClose(1000)}},
		{"7.3.5 close with the longest reason", []step{send(closeText(1000, long[:123])), wantsClose(1000)}},
		{"7.3.6 close with a reason too long", []step{send(closeText(1000, long[:124])), wantsClose(fail)}},
		{"7.5.1 close with a reason not UTF-8", []step{send(closeText(1000, "Hello\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80")), wantsClose(fail)}},
		{"9.2 text of 1 MiB", []step{send(text(strings.Repeat("*", 1<<20))), echoes(strings.Repeat("*", 1<<20))}},
		{"9.3 text of 256 KiB in fragments of 64", []step{send(fragments(strings.Repeat("*", 256<<10), 64)...), echoes(strings.Repeat("*", 256<<10))}},
		{"10.1.1 text of 65536 in fragments of 1300", []step{send(fragments(long, 1300)...), echoes(long)}},
	}
	for i, n := range []int{0, 125, 126, 127, 128, 65535, 65536} {
		cases = append(cases, autobahnCase{fmt.Sprintf("1.1.%d text of %d", i+1, n), []step{send(text(long[:n])), echoes(long[:n])}})
	}
	for _, op := range []byte{3, 4, 5, 6, 7, 11, 12, 13, 14, 15} {
		cases = append(cases,
			autobahnCase{fmt.Sprintf("4 opcode %d", op), []step{send(frame(op|final, nil)), wantsClose(fail)}},
			autobahnCase{fmt.Sprintf("4 opcode %d with payload, after a text", op), []step{send(text("a"), frame(op|final, []byte("x")), ping), echoes("a"), wantsClose(fail)}})
	}
	for _, code := range []int{1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 3000, 3999, 4000, 4999} {
		cases = append(cases, autobahnCase{fmt.Sprintf("7.7 close with %d", code), []step{send(closeText(code, "")), wantsClose(code)}})
	}
	for _, code := range []int{0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535} {
		cases = append(cases, autobahnCase{fmt.Sprintf("7.9 close with the invalid %d", code), []step{send(closeText(code, "")), wantsClose(fail)}})
	}
	for _, u := range utf8Cases {
		answer := []step{wantsClose(1007)}
		if u.valid {
			answer = []step{echoes(u.text)}
		}
		cases = append(cases,
			autobahnCase{u.section, append([]step{send(text(u.text))}, answer...)},
			autobahnCase{u.section + ", each byte a fragment", append([]step{send(fragments(u.text, 1)...)}, answer...)})
	}
	return cases
}

var utf8Cases = []struct {
	section string
	text    string
	valid   bool
}{
	{"6.2 Hello-µ@ßöäüàá-UTF-8!!", "Hello-µ@ßöäüàá-UTF-8!!", true},
	{"6.3 a surrogate between", "κόσμε\xed\xa0\x80edited", false},
	{"6.5 κόσμε", "κόσμε", true},
	{"6.6.1 the first byte of two", "\xce", false},
	{"6.6.3 a sequence cut short", "\xce\xba\xe1", false},
	{"6.6.11 the whole sequence", "\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5", true},
	{"6.7.1 U+0000", "\x00", true},
	{"6.7.2 U+0080", "\xc2\x80", true},
	{"6.7.3 U+0800", "\xe0\xa0\x80", true},
	{"6.7.4 U+10000", "\xf0\x90\x80\x80", true},
	{"6.8.1 five bytes", "\xf8\x88\x80\x80\x80", false},
	{"6.8.2 six bytes", "\xfc\x84\x80\x80\x80\x80", false},
	{"6.9.1 U+007F", "\x7f", true},
	{"6.9.2 U+07FF", "\xdf\xbf", true},
	{"6.9.3 U+FFFF", "\xef\xbf\xbf", true},
	{"6.9.4 U+10FFFF", "\xf4\x8f\xbf\xbf", true},
	{"6.10.1 above U+10FFFF", "\xf7\xbf\xbf\xbf", false},
	{"6.11.1 U+D7FF", "\xed\x9f\xbf", true},
	{"6.11.2 U+E000", "\xee\x80\x80", true},
	{"6.11.5 U+110000", "\xf4\x90\x80\x80", false},
	{"6.12.1 a lone continuation byte", "\x80", false},
	{"6.12.8 all continuation bytes", "\x80\x81\x82\x83\xbf", false},
	{"6.13.1 lone first bytes", "\xc0 \xc1 \xc2 \xdf ", false},
	{"6.14.1 last byte missing, two", "\xc0", false},
	{"6.14.4 last byte missing, three", "\xef\xbf", false},
	{"6.15.1 incomplete sequences in a row", "\xc0\xe0\x80\xf0\x80\x80", false},
	{"6.16.1 impossible FE", "\xfe", false},
	{"6.16.2 impossible FF", "\xff", false},
	{"6.17.1 overlong slash, two", "\xc0\xaf", false},
	{"6.17.2 overlong slash, three", "\xe0\x80\xaf", false},
	{"6.17.3 overlong slash, four", "\xf0\x80\x80\xaf", false},
	{"6.18.1 greatest overlong", "\xc1\xbf", false},
	{"6.19.1 overlong NUL", "\xc0\x80", false},
	{"6.20.1 surrogate U+D800", "\xed\xa0\x80", false},
	{"6.20.7 surrogate U+DFFF", "\xed\xbf\xbf", false},
	{"6.21.1 paired surrogates", "\xed\xa0\x80\xed\xb0\x80", false},
	{"6.22.1 non-character U+FFFE", "\xef\xbf\xbe", true},
	{"6.22.34 non-character U+10FFFF", "\xf4\x8f\xbf\xbf", true},
	{"6.23.1 replacement character", "\xef\xbf\xbd", true},
}

func TestAutobahn(t *testing.T) {
	each(t, func(t *testing.T, o Options) {
		s := serve(t, o, echo)
		for _, c := range autobahn() {
			t.Run(c.section, func(t *testing.T) {
				client, _ := s.connect(0)
				client.t = t
				for _, step := range c.steps {
					step.do(client)
				}
			})
		}
	})
}

// TestAutobahnByteByByte is for the cases that the suite sends in pieces of one
// byte ("octet-wise chops"), and for all others that are short.
func TestAutobahnByteByByte(t *testing.T) {
	each(t, func(t *testing.T, o Options) {
		s := serve(t, o, echo)
		for _, c := range autobahn() {
			client, _ := s.connect(0)
			client.byByte = true
			t.Run(c.section, func(t *testing.T) {
				client.t = t
				for _, step := range c.steps {
					step.do(client)
				}
			})
		}
	})
}
