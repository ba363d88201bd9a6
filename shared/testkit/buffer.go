package testkit

import (
	"bytes"
	"sync"
)

// Buffer collects what several goroutines write, such as a log, and keeps the newest megabytes. The zero value is empty.
type Buffer struct {
	mu  sync.Mutex
	buf []byte
}

func (o *Buffer) Write(b []byte) (int, error) {
	const most = 4 << 20
	o.mu.Lock()
	defer o.mu.Unlock()
	o.buf = append(o.buf, b...)
	if len(o.buf) > 2*most {
		o.buf = bytes.Clone(o.buf[len(o.buf)-most:])
	}
	return len(b), nil
}

func (o *Buffer) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return string(o.buf)
}
