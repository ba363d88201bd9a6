package store

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/redis/go-redis/v9"
)

// waitInKernel makes the reads of a client's connections wait in the kernel, not in Go's
// poller.
//
// A worker's lane does nothing but ask and wait for the answer, thousands of times a
// second. Through Go's poller each answer takes a read that finds nothing, two
// epoll_wait, the read, and often the wake-up of a thread that finds nothing to do:
// measured, more than half of what the worker uses at 5,000 events/s. A read that waits
// is one call. It holds a thread, and for up to 10 ms one of the GOMAXPROCS, so this is
// only for a connection that is busy, one a process, and not where there is one
// processor.
func waitInKernel(rdb redis.UniversalClient) {
	if runtime.GOMAXPROCS(0) > 1 {
		rdb.AddHook(kernelDial{})
	}
}

// kernelDial is a hook that takes over what the client has dialed. TLS stays as it is.
type kernelDial struct{}

func (kernelDial) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		nc, err := next(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return waiting(nc)
	}
}

func (kernelDial) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }

func (kernelDial) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

// waiting takes the descriptor of a connection over.
func waiting(nc net.Conn) (net.Conn, error) {
	tcp, ok := nc.(*net.TCPConn)
	if !ok {
		return nc, nil
	}
	defer func() { _ = nc.Close() }() // the connection lives on in the copy
	raw, err := tcp.SyscallConn()
	if err != nil {
		return nil, err
	}
	fd, dup := -1, error(nil)
	err = raw.Control(func(old uintptr) { fd, dup = unix.FcntlInt(old, unix.F_DUPFD_CLOEXEC, 0) })
	if err = errors.Join(err, dup); err != nil {
		return nil, os.NewSyscallError("fcntl", err)
	}
	if err = unix.SetNonblock(fd, false); err != nil {
		_ = unix.Close(fd)
		return nil, os.NewSyscallError("fcntl", err)
	}
	return &kernelConn{fd: fd, local: nc.LocalAddr(), remote: nc.RemoteAddr()}, nil
}

// kernelConn is a connection whose calls wait in the kernel. One goroutine uses it;
// another one may close it, which ends a call that waits. A deadline counts for calls
// that begin after it was set, and may be late by an eighth.
type kernelConn struct {
	local, remote net.Addr
	read, write   limit

	mu     sync.Mutex
	fd     int
	calls  int // under way: they use the descriptor
	closed bool
}

// limit is how long a call may wait.
type limit struct {
	deadline time.Time
	set      time.Duration // what the kernel knows, 0: for ever
}

func (c *kernelConn) Read(b []byte) (int, error) {
	n, err := c.call(&c.read, unix.SO_RCVTIMEO, func() (int, error) { return unix.Read(c.fd, b) })
	if n == 0 && err == nil && len(b) > 0 {
		return 0, io.EOF
	}
	return n, err
}

func (c *kernelConn) Write(b []byte) (done int, err error) {
	for done < len(b) && err == nil {
		var n int
		n, err = c.call(&c.write, unix.SO_SNDTIMEO, func() (int, error) { return unix.Write(c.fd, b[done:]) })
		done += n
	}
	return done, err
}

func (c *kernelConn) call(l *limit, option int, f func() (int, error)) (int, error) {
	if !c.begin() {
		return 0, net.ErrClosed
	}
	defer c.end()
	for {
		if err := l.tell(c.fd, option); err != nil {
			return 0, err
		}
		n, err := f()
		switch {
		case err == nil:
			return n, nil
		case errors.Is(err, unix.EAGAIN):
			return 0, os.ErrDeadlineExceeded
		case !errors.Is(err, unix.EINTR):
			return 0, err
		}
	}
}

// tell tells the kernel how long the next call may wait, if what it knows is shorter,
// or longer by an eighth. The client's deadlines are always about the same time ahead,
// so it is told once.
func (l *limit) tell(fd, option int) error {
	var wait time.Duration
	if !l.deadline.IsZero() {
		if wait = time.Until(l.deadline); wait <= 0 {
			return os.ErrDeadlineExceeded
		}
		if l.set >= wait && l.set <= wait+wait/8 {
			return nil
		}
		wait += wait/16 + time.Millisecond // 0 would be for ever
	}
	if wait == l.set {
		return nil
	}
	tv := unix.NsecToTimeval(wait.Nanoseconds())
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, option, &tv); err != nil {
		return os.NewSyscallError("setsockopt", err)
	}
	l.set = wait
	return nil
}

func (c *kernelConn) begin() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return false
	}
	c.calls++
	return true
}

func (c *kernelConn) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.calls--; c.closed && c.calls == 0 {
		_ = unix.Close(c.fd)
	}
}

// Close ends calls under way; the last one gives the descriptor back.
func (c *kernelConn) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return net.ErrClosed
	}
	c.closed = true
	if c.calls > 0 {
		_ = unix.Shutdown(c.fd, unix.SHUT_RDWR) // if it is not connected any more, nothing waits
		return nil
	}
	return os.NewSyscallError("close", unix.Close(c.fd))
}

func (c *kernelConn) LocalAddr() net.Addr  { return c.local }
func (c *kernelConn) RemoteAddr() net.Addr { return c.remote }

func (c *kernelConn) SetDeadline(t time.Time) error {
	c.read.deadline, c.write.deadline = t, t
	return nil
}

func (c *kernelConn) SetReadDeadline(t time.Time) error {
	c.read.deadline = t
	return nil
}

func (c *kernelConn) SetWriteDeadline(t time.Time) error {
	c.write.deadline = t
	return nil
}
