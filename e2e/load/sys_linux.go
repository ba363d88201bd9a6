package main

import (
	"errors"
	"fmt"
	"net/netip"
	"syscall"
	"time"
	"unsafe"
)

// What is asked of the kernel without Go's own poller, which would cost more than the sockets do: everything here is
// non-blocking, and one thread serves thousands of sockets.

var errAgain = errors.New("not now")

const (
	wantRead  = syscall.EPOLLIN
	wantWrite = syscall.EPOLLOUT
	// bindAddressNoPort leaves the choice of the port to connect, where it must be unique only for the destination.
	bindAddressNoPort = 24
)

// openSocket begins a connection. A valid from is the source address. receiveBuffer 0 leaves the kernel's default.
func openSocket(to netip.AddrPort, from netip.Addr, receiveBuffer int) (fd int, err error) {
	family := syscall.AF_INET
	if to.Addr().Is6() {
		family = syscall.AF_INET6
	}
	fd, err = syscall.Socket(family, syscall.SOCK_STREAM|syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("no more sockets (the limit of open files is ulimit -n): %w", err)
	}
	fail := func(err error) (int, error) {
		closeSocket(fd)
		return -1, err
	}
	if receiveBuffer > 0 {
		if err := syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_RCVBUF, receiveBuffer); err != nil {
			return fail(fmt.Errorf("cannot set the receive buffer: %w", err))
		}
	}
	_ = syscall.SetsockoptInt(fd, syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 1) // a courtesy to pongs
	if from.IsValid() {
		_ = syscall.SetsockoptInt(fd, syscall.IPPROTO_IP, bindAddressNoPort, 1)
		if err := syscall.Bind(fd, sockaddr(netip.AddrPortFrom(from, 0))); err != nil {
			return fail(fmt.Errorf("cannot use the source address %s: %w", from, err))
		}
	}
	if err := syscall.Connect(fd, sockaddr(to)); err != nil && !errors.Is(err, syscall.EINPROGRESS) {
		return fail(fmt.Errorf("cannot connect to %s: %w", to, err))
	}
	return fd, nil
}

func sockaddr(a netip.AddrPort) syscall.Sockaddr {
	if a.Addr().Is4() {
		return &syscall.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}
	}
	return &syscall.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()}
}

// connected is the outcome of a connection that openSocket began.
func connected(fd int) error {
	n, err := syscall.GetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_ERROR)
	if err == nil && n != 0 {
		err = syscall.Errno(n)
	}
	return err
}

// readSocket does not tell the scheduler about the call: it never blocks.
func readSocket(fd int, b []byte) (int, error) {
	n, _, errno := syscall.RawSyscall(syscall.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)))
	return outcome(n, errno)
}

func writeSocket(fd int, b []byte) (int, error) {
	n, _, errno := syscall.RawSyscall(syscall.SYS_WRITE, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)))
	return outcome(n, errno)
}

func outcome(n uintptr, errno syscall.Errno) (int, error) {
	switch errno {
	case 0:
		return int(n), nil
	case syscall.EAGAIN, syscall.EINTR:
		return 0, errAgain
	}
	return 0, errno
}

func closeSocket(fd int) { _ = syscall.Close(fd) }

// resetSocket ends a connection as a cut does, and leaves nothing of it in TIME_WAIT.
func resetSocket(fd int) {
	_ = syscall.SetsockoptLinger(fd, syscall.SOL_SOCKET, syscall.SO_LINGER, &syscall.Linger{Onoff: 1})
	closeSocket(fd)
}

// listenSocket listens on a free port of 127.0.0.1.
func listenSocket() (fd int, addr string, err error) {
	fd, err = syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, "", err
	}
	if err = syscall.Bind(fd, sockaddr(netip.MustParseAddrPort("127.0.0.1:0"))); err == nil {
		err = syscall.Listen(fd, 4096)
	}
	var name syscall.Sockaddr
	if err == nil {
		name, err = syscall.Getsockname(fd)
	}
	if err != nil {
		closeSocket(fd)
		return -1, "", err
	}
	return fd, fmt.Sprintf("127.0.0.1:%d", name.(*syscall.SockaddrInet4).Port), nil
}

func acceptSocket(listener int) (fd int, err error) {
	fd, _, err = syscall.Accept4(listener, syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC)
	switch err {
	case nil:
		_ = syscall.SetsockoptInt(fd, syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 1)
	case syscall.EAGAIN, syscall.EINTR, syscall.ECONNABORTED:
		err = errAgain
	}
	return fd, err
}

// poller is an epoll set. Its tokens are the callers' own.
type poller struct {
	fd     int
	events [512]syscall.EpollEvent
}

func newPoller() (*poller, error) {
	fd, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("no epoll: %w", err)
	}
	return &poller{fd: fd}, nil
}

func (p *poller) close() { closeSocket(p.fd) }

func (p *poller) add(fd int, token int32, want uint32) error {
	return syscall.EpollCtl(p.fd, syscall.EPOLL_CTL_ADD, fd, &syscall.EpollEvent{Events: want, Fd: token})
}

func (p *poller) change(fd int, token int32, want uint32) error {
	return syscall.EpollCtl(p.fd, syscall.EPOLL_CTL_MOD, fd, &syscall.EpollEvent{Events: want, Fd: token})
}

func (p *poller) remove(fd int) { _ = syscall.EpollCtl(p.fd, syscall.EPOLL_CTL_DEL, fd, nil) }

// wait waits for events, at most so long, and returns how many there are. What is there already is fetched without
// telling the scheduler.
func (p *poller) wait(atMost time.Duration) int {
	at := uintptr(unsafe.Pointer(&p.events))
	n, _, errno := syscall.RawSyscall6(syscall.SYS_EPOLL_PWAIT, uintptr(p.fd), at, uintptr(len(p.events)), 0, 0, 0)
	if errno != 0 || n > 0 {
		return ready(n, errno)
	}
	n, _, errno = syscall.Syscall6(syscall.SYS_EPOLL_PWAIT, uintptr(p.fd), at, uintptr(len(p.events)), uintptr(atMost.Milliseconds()), 0, 0)
	return ready(n, errno)
}

func ready(n uintptr, errno syscall.Errno) int {
	if errno != 0 {
		return 0 // a signal
	}
	return int(n)
}

// event is what happened to a token.
func (p *poller) event(i int) (token int32, writable bool) {
	e := &p.events[i]
	return e.Fd, e.Events&wantWrite != 0
}

// nap sleeps more precisely than Go's timers, which are rounded up to a millisecond while a process is idle.
func nap(d time.Duration) {
	if d > 0 {
		ts := syscall.NsecToTimespec(int64(d))
		_ = syscall.Nanosleep(&ts, nil) // cut short by a signal: the caller looks at the clock again
	}
}

// raiseFiles makes room for n open files here and in the processes started from here.
func raiseFiles(n uint64) error {
	var l syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l); err != nil {
		return fmt.Errorf("cannot read the limit of open files: %w", err)
	}
	// Set also when it is enough: else Go gives child processes the soft limit that it found.
	want := syscall.Rlimit{Cur: max(n, l.Cur), Max: max(n, l.Max)}
	if syscall.Setrlimit(syscall.RLIMIT_NOFILE, &want) == nil {
		return nil
	}
	want = syscall.Rlimit{Cur: l.Max, Max: l.Max}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &want); err != nil {
		return fmt.Errorf("cannot raise the limit of open files: %w", err)
	}
	if l.Max < n {
		return fmt.Errorf("only %d open files are allowed and %d are needed: raise the hard limit (ulimit -Hn, or LimitNOFILE of systemd)", l.Max, n)
	}
	return nil
}

// dieWithParent ends a child also when this process is killed.
func dieWithParent() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
