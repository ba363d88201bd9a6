package socket

import (
	"errors"
	"net"
	"os"
	"runtime"
	"sync"
	"time"
)

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
