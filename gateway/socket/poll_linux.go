//go:build linux && !sluice_goroutines

package socket

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"sluice/gateway/lock"
)

// pollEvents are how many sockets get a turn at once.
const pollEvents = 128

// poller knows by epoll which sockets are ready. Go's own poller waits for epoll's
// descriptor, so that no thread does.
//
// Sockets are registered once, edge-triggered, for both directions: that saves a call
// for each message, against EPOLLONESHOT, and another one for each full buffer. The
// turn and the writer remember what came while they were under way (Conn.ready).
type poller struct {
	file    *os.File
	raw     syscall.RawConn
	readers sync.Pool
	turns   turns
	writers writers

	mu         lock.Mutex[lock.Poller]
	fd         int // -1: closed
	generation int32
	links      []*pollLink // by descriptor
}

func newPoller(g *Group) (*poller, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	if err = unix.SetNonblock(fd, true); err != nil { // for os.NewFile
		_ = unix.Close(fd)
		return nil, os.NewSyscallError("fcntl", err)
	}
	p := &poller{file: os.NewFile(uintptr(fd), "epoll"), fd: fd}
	if p.raw, err = p.file.SyscallConn(); err != nil {
		_ = p.file.Close()
		return nil, err
	}
	p.readers.New = func() any { return g.newReader() }
	p.turns.init(g)
	p.writers.init(g)
	return p, nil
}

// run tells sockets that they are ready, until close.
func (p *poller) run(ctx context.Context) error {
	if p == nil {
		<-ctx.Done()
		return nil
	}
	var events [pollEvents]unix.EpollEvent
	var ready [len(events)]*pollLink
	var failure error
	err := p.raw.Read(func(fd uintptr) bool {
		for {
			n, err := unix.EpollWait(int(fd), events[:], 0)
			if err == unix.EINTR {
				continue
			}
			if err != nil {
				failure = err
				return true
			}
			p.find(events[:n], ready[:n])
			for i, l := range ready[:n] {
				if l != nil {
					l.c.ready(events[i].Events)
				}
			}
			clear(ready[:n])
			if n < len(events) {
				return false // wait until there is more
			}
			runtime.Gosched() // those who got a turn first: else a crowd that sends at once is in front of what others get
		}
	})
	if failure != nil {
		return os.NewSyscallError("epoll_wait", failure)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.fd < 0 {
		return nil // closed
	}
	return err
}

// find looks up whose events these are. A descriptor may be another socket's by now:
// the generation tells.
func (p *poller) find(events []unix.EpollEvent, ready []*pollLink) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range events {
		e := &events[i]
		if int(e.Fd) < len(p.links) {
			if l := p.links[e.Fd]; l != nil && l.generation == e.Pad {
				ready[i] = l
			}
		}
	}
}

func (p *poller) close() {
	if p == nil {
		return
	}
	p.mu.Lock()
	p.fd = -1
	p.mu.Unlock()
	_ = p.file.Close()
}

func (p *poller) together(f func()) {
	if p != nil {
		p.writers.hold()
		defer p.writers.release()
	}
	f()
}

// ready is told what epoll said.
func (c *Conn) ready(events uint32) {
	const hangup = unix.EPOLLRDHUP | unix.EPOLLHUP | unix.EPOLLERR
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.phase >= gone {
		return
	}
	if events&(unix.EPOLLOUT|hangup) != 0 {
		c.out.writable = true
		if c.out.writer == blocked {
			c.out.writer = writing
			c.link.wantWrite()
		}
	}
	if events&(unix.EPOLLIN|hangup) == 0 {
		return
	}
	if c.in.held && events&hangup != 0 {
		c.die(abnormal)
		c.settle()
		return
	}
	c.in.again = true
	c.in.hungup = c.in.hungup || events&hangup != 0
	if !c.in.held {
		c.read()
		c.in.awake()
	}
}

// pollLink is a link of a TCP connection that the poller watches.
type pollLink struct {
	c          *Conn
	poller     *poller
	fd         int
	generation int32
	drained    bool    // nothing more is there, unless c.again
	kept       *reader // of a turn that ended early
}

// takeOver is a descriptor of the connection, which is closed then; -1 if there is none.
func takeOver(tcp *net.TCPConn) int {
	raw, err := tcp.SyscallConn()
	if err != nil {
		return -1
	}
	fd := -1
	if raw.Control(func(old uintptr) { fd, err = unix.FcntlInt(old, unix.F_DUPFD_CLOEXEC, 0) }) != nil || err != nil {
		return -1
	}
	_ = tcp.Close() // the connection lives on in the copy
	return fd
}

func (l *pollLink) start() error {
	p := l.poller
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.fd < 0 {
		return os.ErrClosed
	}
	for l.fd >= len(p.links) {
		p.links = append(p.links, make([]*pollLink, max(64, len(p.links)))...)
	}
	p.generation++
	l.generation = p.generation
	p.links[l.fd] = l
	return unix.EpollCtl(p.fd, unix.EPOLL_CTL_ADD, l.fd, &unix.EpollEvent{
		Events: unix.EPOLLIN | unix.EPOLLOUT | unix.EPOLLRDHUP | unix.EPOLLET,
		Fd:     int32(l.fd), Pad: l.generation,
	})
}

// serve reads with a reader that is lent. It ends early when others wait for a turn.
func (l *pollLink) serve(deaf bool) (more bool) {
	l.drained = false
	if deaf {
		l.c.discard(false)
		return false
	}
	r := l.kept
	if r == nil {
		r = l.poller.readers.Get().(*reader)
	}
	r.c = l.c
	for !more && r.step() && !l.c.isHeld() {
		more = l.poller.turns.crowd.Load()
		l.poller.turns.line.Stand() // else what others get waits until each of those who send all the time has had its 10 ms
	}
	r.c, l.kept = nil, nil
	switch {
	case r.broken:
	case r.br.Buffered() > 0:
		l.kept = r
	default:
		l.poller.readers.Put(r)
	}
	return more
}

func (l *pollLink) wantTurn()  { l.poller.turns.add(l.c) }
func (l *pollLink) wantWrite() { l.poller.writers.add(l.c) }

func (l *pollLink) interrupt() { l.c.in.awake() }

// awake lets a turn that waits for bytes look again.
func (i *inbound) awake() {
	if i.wake != nil {
		i.wake <- struct{}{}
		i.wake = nil
	}
}

func (l *pollLink) halfClose() bool { return unix.Shutdown(l.fd, unix.SHUT_WR) == nil }

func (l *pollLink) close(unsent bool) {
	p := l.poller
	p.mu.Lock()
	if l.generation != 0 && p.fd >= 0 {
		p.links[l.fd] = nil
		_ = unix.EpollCtl(p.fd, unix.EPOLL_CTL_DEL, l.fd, nil)
	}
	p.mu.Unlock()
	if unsent {
		_ = unix.SetsockoptLinger(l.fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	}
	_ = unix.Close(l.fd)
}

func (l *pollLink) read(b []byte, wait bool) (int, error) {
	for {
		if l.c.past(dead) { // the client may never stop to talk
			return 0, errInterrupted
		}
		if l.drained {
			if !wait {
				return 0, errAgain
			}
			if err := l.await(); err != nil {
				return 0, err
			}
		}
		n, err := unix.Read(l.fd, b)
		switch {
		case n > 0:
			// After the end of the stream there is no event any more that tells of it.
			l.drained = n < len(b) && !l.c.hasHungUp()
			return n, nil
		case err == nil:
			return 0, io.EOF
		case err == unix.EAGAIN:
			l.drained = true
		case err != unix.EINTR:
			return 0, err
		}
	}
}

// await waits until there is something to read.
func (l *pollLink) await() error {
	c := l.c
	c.mu.Lock()
	for !c.in.again {
		if c.phase >= dead || c.in.deaf {
			c.mu.Unlock()
			return errInterrupted
		}
		wake := make(chan struct{}, 1)
		c.in.wake = wake
		c.mu.Unlock()
		<-wake
		c.mu.Lock()
	}
	c.in.again = false
	c.mu.Unlock()
	l.drained = false
	return nil
}

func (c *Conn) hasHungUp() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.in.hungup
}

func (l *pollLink) write(frames [][]byte, v *vector) (int, error) {
	want := 0
	for i, f := range frames {
		v[i].Base = unsafe.SliceData(f)
		v[i].SetLen(len(f))
		want += len(f)
	}
	for {
		var n int
		var err error
		if len(frames) == 1 {
			n, err = unix.Write(l.fd, frames[0])
		} else {
			n, err = writev(l.fd, v[:len(frames)])
		}
		if errors.Is(err, unix.EINTR) {
			continue
		}
		clear(v[:len(frames)])
		switch {
		case errors.Is(err, unix.EAGAIN):
			return 0, errAgain
		case err != nil:
			return 0, err
		case n < want: // a short write says that there is no more room (epoll(7))
			return n, errAgain
		}
		return n, nil
	}
}
