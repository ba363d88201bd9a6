package socket

import (
	"errors"
	"net"
	"os"
	"runtime"
	"sync"
	"time"
)

// link is a socket's way to the network. wantWrite, wantTurn, interrupt, start and
// halfClose are called with the socket's lock held.
type link interface {
	start() error                // turns begin
	serve(deaf bool) (more bool) // reads what has come: for the handler, or to throw it away; more: others want a turn first
	wantTurn()                   // Conn.turn must be called
	wantWrite()                  // Conn.write must be called, until it is done
	interrupt()                  // the socket is dead or deaf: ends reads that wait, and writes if it is dead
	halfClose() bool             // tells the client that nothing more comes; false: that is not possible
	close(unsent bool)           // the last call; unsent: nobody will get what the kernel still has

	// read waits for bytes if it may, else returns errAgain. errInterrupted: look at
	// the socket's state.
	read(b []byte, wait bool) (int, error)
	// write returns errAgain if the kernel has no room for the rest; Conn.ready follows.
	write(frames [][]byte, v *vector) (int, error)
}

// netLink is a link with a goroutine that reads, and one while there is something to
// write.
type netLink struct {
	c      *Conn
	nc     net.Conn
	reader *reader
}

func (l *netLink) start() error {
	l.c.read()
	return nil
}

func (l *netLink) serve(deaf bool) bool {
	if deaf {
		l.c.discard(true)
		return false
	}
	r := l.reader
	r.c = l.c
	for {
		for r.step() {
			if l.c.isHeld() {
				return false
			}
			runtime.Gosched() // as in pollLink.serve
		}
		if r.broken {
			return false
		}
		r.look = false
		if _, err := r.br.Peek(1); err != nil {
			return r.failed(err)
		}
	}
}

func (l *netLink) wantTurn() {
	tally := &l.c.group.tally
	tally.add()
	go func() {
		defer tally.done()
		l.c.turn()
	}()
}

var netWriters = sync.Pool{New: func() any { return new(writer) }}

func (l *netLink) wantWrite() {
	tally := &l.c.group.tally
	tally.add()
	go func() {
		defer tally.done()
		w := netWriters.Get().(*writer)
		defer netWriters.Put(w)
		for l.c.write(w) {
		}
	}()
}

var longAgo = time.Unix(1, 0)

func (l *netLink) interrupt() {
	if l.c.phase >= dead {
		_ = l.nc.SetDeadline(longAgo)
	} else {
		_ = l.nc.SetReadDeadline(longAgo)
	}
}

func (l *netLink) halfClose() bool {
	tcp := tcpOf(l.nc) // others may wait, and TLS does
	return tcp != nil && tcp.CloseWrite() == nil
}

func (l *netLink) close(unsent bool) {
	if tcp := tcpOf(l.nc); tcp != nil && unsent {
		_ = tcp.SetLinger(0)
	}
	_ = l.nc.Close()
}

func (l *netLink) read(b []byte, wait bool) (int, error) {
	if !wait {
		return 0, errAgain
	}
	n, err := l.nc.Read(b)
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		return n, err
	}
	l.c.mu.Lock()
	if l.c.phase < dead {
		_ = l.nc.SetReadDeadline(time.Time{})
	}
	l.c.mu.Unlock()
	return 0, errInterrupted
}

// piece is how much a goroutine writes at once: it must be seen that a slow client
// takes something.
const piece = 16 << 10

func (l *netLink) write(frames [][]byte, _ *vector) (int, error) {
	left := piece
	for i, f := range frames {
		if left -= len(f); left <= 0 {
			frames = frames[:i+1]
			frames[i] = f[:len(f)+left]
			break
		}
	}
	b := net.Buffers(frames)
	n, err := b.WriteTo(l.nc)
	return int(n), err
}
