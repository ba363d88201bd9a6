package hostile_test

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// The child process learns by these what to do.
const (
	attackVariable = "HOSTILE_ATTACK"
	targetVariable = "HOSTILE_TARGET"
)

// attacker is what an attack is made of. Connections stay open until the process ends, except where an attack closes
// them.
type attacker struct {
	name   string
	addr   string
	spread int // source addresses

	keep sync.Mutex
	kept []net.Conn // lest they be collected, which closes them
	came atomic.Int64
	sent atomic.Int64
}

// attackAs is the child process: it attacks until its parent closes its standard input.
func attackAs(name string) error {
	a := &attacker{name: name, addr: os.Getenv(targetVariable), spread: 1}
	row, ok := find(name)
	if !ok {
		return errors.New("there is none of this name")
	}
	if row.spread && runtime.GOOS == "linux" { // others have no more loopback addresses
		a.spread = 200
	}
	beLast()
	go row.attack(a)
	fmt.Println("ready")
	_, _ = io.Copy(io.Discard, os.Stdin)
	fmt.Printf("%d connections, %d writes\n", a.came.Load(), a.sent.Load())
	return nil
}

// crowd does something many times at once.
func (a *attacker) crowd(n int, do func(i int)) {
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() { do(i) })
	}
	all.Wait()
}

// again does something with every connection of a crowd, one after the other, for ever.
func (a *attacker) again(n int, do func(i int)) {
	a.crowd(n, func(i int) {
		for {
			do(i)
		}
	})
}

// dial opens a connection from one of the attack's addresses. nil: it was not possible.
func (a *attacker) dial(i int) net.Conn {
	d := net.Dialer{Timeout: 5 * time.Second}
	if runtime.GOOS == "linux" {
		d.LocalAddr = &net.TCPAddr{IP: net.IPv4(127, 66, byte(1+i%a.spread/100), byte(1+i%a.spread%100))}
	}
	nc, err := d.Dial("tcp", a.addr)
	if err != nil {
		time.Sleep(10 * time.Millisecond)
		return nil
	}
	a.came.Add(1)
	return nc
}

// hold keeps a connection open.
func (a *attacker) hold(nc net.Conn) {
	a.keep.Lock()
	defer a.keep.Unlock()
	a.kept = append(a.kept, nc)
}

// write sends bytes, and reports whether they were taken.
func (a *attacker) write(nc net.Conn, b []byte) bool {
	_ = nc.SetWriteDeadline(time.Now().Add(time.Second))
	_, err := nc.Write(b)
	a.sent.Add(1)
	return err == nil
}

// drip sends the same byte again and again.
func (a *attacker) drip(nc net.Conn, every time.Duration) {
	a.hold(nc)
	for a.write(nc, []byte("x")) {
		time.Sleep(every)
	}
}

func (a *attacker) user(i int) string { return fmt.Sprintf("mallory-%s-%d", a.name, i) }

// request is the text of an HTTP request, without the empty line at its end.
func (a *attacker) request(method, path string, headers ...string) string {
	text := method + " " + path + " HTTP/1.1\r\nHost: " + a.addr + "\r\n"
	for _, h := range headers {
		text += h + "\r\n"
	}
	return text
}

func bearer(token string) string { return "Authorization: Bearer " + token }

// socket opens a WebSocket, with a token if it is not empty. nil: it was refused.
func (a *attacker) socket(i int, query, token string) *peer {
	nc := a.dial(i)
	if nc == nil {
		return nil
	}
	headers := []string{"Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="}
	if token != "" {
		headers = append(headers, bearer(token))
	}
	p := &peer{Conn: nc, a: a, in: bufio.NewReaderSize(nc, 512)}
	if a.write(nc, []byte(a.request("GET", "/v1/ws?"+query, headers...)+"\r\n")) && p.answered() {
		return p
	}
	_ = nc.Close()
	return nil
}

// member is a WebSocket of a user, of which everything is read and thrown away.
func (a *attacker) member(i int, query, user string) *peer {
	p := a.socket(i, query, tokenOf(user))
	if p != nil {
		go p.drain()
	}
	return p
}

// peer is an end of a WebSocket.
type peer struct {
	net.Conn
	a  *attacker
	in *bufio.Reader
}

// answered reads the answer to a handshake.
func (p *peer) answered() bool {
	_ = p.SetReadDeadline(time.Now().Add(5 * time.Second))
	line, err := p.in.ReadString('\n')
	if len(line) < 12 || line[9:12] != "101" {
		return false
	}
	for line != "\r\n" && err == nil {
		line, err = p.in.ReadString('\n')
	}
	_ = p.SetReadDeadline(time.Time{})
	return err == nil
}

// drain reads until the gateway ends it.
func (p *peer) drain() {
	_, _ = io.Copy(io.Discard, p.in)
	_ = p.Close()
}

// say sends a text frame.
func (p *peer) say(text string) bool { return p.a.write(p, wsFrame(0x81, text)) }

// wsFrame is a frame of a client with this first byte, masked by zeros.
func wsFrame(first byte, payload string) []byte {
	b := []byte{first}
	switch n := len(payload); {
	case n < 126:
		b = append(b, 0x80|byte(n))
	case n < 1<<16:
		b = binary.BigEndian.AppendUint16(append(b, 0x80|126), uint16(n)) //nolint:gosec // it was compared
	default:
		b = binary.BigEndian.AppendUint64(append(b, 0x80|127), uint64(n)) //nolint:gosec // lengths are not negative
	}
	return append(append(b, 0, 0, 0, 0), payload...)
}
