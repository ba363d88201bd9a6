package store

import (
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"
)

// pair is a connection that waits in the kernel, and its other end.
func pair(t *testing.T) (*kernelConn, net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	nc, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	other, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = other.Close() })
	c, err := waiting(nc)
	if err != nil {
		t.Fatal(err)
	}
	return c.(*kernelConn), other
}

func TestKernelConn(t *testing.T) {
	c, other := pair(t)
	large := make([]byte, 8<<20) // more than the kernel keeps
	for i := range large {
		large[i] = byte(i * i >> 8)
	}
	go func() { _, _ = c.Write(large) }()
	got := make([]byte, len(large))
	if _, err := io.ReadFull(other, got); err != nil || string(got) != string(large) {
		t.Fatalf("not what was written: %v", err)
	}
	if _, err := other.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 100)
	if n, err := c.Read(b); err != nil || string(b[:n]) != "hello" {
		t.Fatalf("%q, %v", b[:n], err)
	}
	_ = other.Close()
	if _, err := c.Read(b); !errors.Is(err, io.EOF) {
		t.Fatalf("at the end: %v", err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Read(b); !errors.Is(err, net.ErrClosed) {
		t.Errorf("after the close: %v", err)
	}
	if _, err := c.Write(b); !errors.Is(err, net.ErrClosed) {
		t.Errorf("after the close: %v", err)
	}
	if err := c.Close(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("closed twice: %v", err)
	}
}

// TestKernelConnDeadlines: for reads and for writes, also when they change.
func TestKernelConnDeadlines(t *testing.T) {
	c, other := pair(t)
	defer func() { _ = c.Close() }()
	b := make([]byte, 100)
	timed := func(what string, least time.Duration, err error, begin time.Time) {
		t.Helper()
		var timeout net.Error
		if !errors.Is(err, os.ErrDeadlineExceeded) || !errors.As(err, &timeout) || !timeout.Timeout() {
			t.Errorf("%s: %v", what, err)
		}
		if took := time.Since(begin); took < least {
			t.Errorf("%s: after %v, want %v", what, took, least)
		}
	}
	for _, d := range []time.Duration{50 * time.Millisecond, time.Millisecond, 120 * time.Millisecond} {
		begin := time.Now()
		_ = c.SetReadDeadline(begin.Add(d))
		_, err := c.Read(b)
		timed("read", d, err, begin)
	}
	begin := time.Now()
	_ = c.SetDeadline(begin.Add(-time.Second))
	_, err := c.Read(b)
	timed("read in the past", 0, err, begin)
	_, err = c.Write(b)
	timed("write in the past", 0, err, begin)
	_ = c.SetWriteDeadline(begin.Add(50 * time.Millisecond))
	for err = nil; err == nil; { // nobody reads
		_, err = c.Write(make([]byte, 1<<20))
	}
	timed("write", 50*time.Millisecond, err, begin)

	_ = c.SetDeadline(time.Time{}) // none any more
	read := make(chan error, 1)
	go func() { _, err := c.Read(b); read <- err }()
	if _, err := other.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if err := <-read; err != nil {
		t.Error(err)
	}
}

// TestKernelConnClose: it ends a read that waits, and the descriptor is given back by
// the last who uses it.
func TestKernelConnClose(t *testing.T) {
	c, _ := pair(t)
	read := make(chan error, 1)
	go func() { _, err := c.Read(make([]byte, 1)); read <- err }()
	under := func() int {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.calls
	}
	for limit := time.Now().Add(10 * time.Second); under() == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(limit) {
			t.Fatal("no read is under way")
		}
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-read:
		if err == nil {
			t.Error("read something")
		}
	case <-time.After(10 * time.Second):
		t.Fatal("the read still waits")
	}
}
