package main

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// counts are what a loop, or all of them, have seen.
type counts struct {
	dialled uint64 // connections begun
	opens   uint64 // of these, those that came to be open
	open    uint64 // those that are open now
	failed  uint64 // those that could not be made, or ended by themselves
	whole   uint64 // clients that have all events they wanted
	reads   uint64 // read(2) that gave something
	frames  uint64
	events  uint64 // of the generator, whole and parsed
	foreign uint64 // text frames that are none of the generator's
	pings   uint64
	gaps    uint64
	holes   uint64 // events whose number was skipped
	repeats uint64 // events whose number did not grow
}

func (c *counts) add(o counts) {
	c.dialled += o.dialled
	c.opens += o.opens
	c.open += o.open
	c.failed += o.failed
	c.whole += o.whole
	c.reads += o.reads
	c.frames += o.frames
	c.events += o.events
	c.foreign += o.foreign
	c.pings += o.pings
	c.gaps += o.gaps
	c.holes += o.holes
	c.repeats += o.repeats
}

// loop is one thread that serves many clients.
type loop struct {
	poll *poller
	stop atomic.Bool
	done chan struct{}
	seen atomic.Uint64 // events, for those who must not wait for the lock

	mu sync.Mutex // guards the rest; held while a batch of sockets is served
	counts
	latencies
	clients  []*client
	problems []string // the first few
	buffer   []byte
	scratch  [256]byte
}

// latencies are what a loop has measured since somebody took it.
type latencies struct {
	events  hist // from the write of an event to the end of the read that brought it
	opening hist // from the begin of a connection to its last `subscribed`
	wholes  hist // from the begin of a connection to its last wanted event
}

func newLatencies() latencies { return latencies{newHist(), newHist(), newHist()} }

// readBytes is the most that one read takes: enough that a socket which is behind is emptied at once.
const readBytes = 256 << 10

func newLoop() (*loop, error) {
	p, err := newPoller()
	if err != nil {
		return nil, err
	}
	l := &loop{poll: p, done: make(chan struct{}), buffer: make([]byte, readBytes), latencies: newLatencies()}
	go l.run()
	return l, nil
}

func clock() int64 { return time.Now().UnixNano() }

func nanoseconds(n int64) time.Duration { return time.Duration(max(n, 0)) }

func (l *loop) run() {
	defer close(l.done)
	for !l.stop.Load() {
		n := l.poll.wait(20 * time.Millisecond)
		if n == 0 {
			continue
		}
		l.mu.Lock()
		for i := range n {
			slot, writable := l.poll.event(i)
			c := l.clients[slot]
			switch {
			case c.state == closed:
			case c.state == connecting:
				if writable {
					c.dialled()
				}
			default:
				l.read(c)
			}
		}
		l.seen.Store(l.counts.events)
		l.mu.Unlock()
	}
}

// read takes what a socket has. What does not fit comes with the next round.
func (l *loop) read(c *client) {
	for len(c.rest) > len(l.buffer)/2 { // the rest of a large frame
		l.buffer = make([]byte, 2*len(l.buffer))
	}
	kept := copy(l.buffer, c.rest)
	n, err := readSocket(c.fd, l.buffer[kept:])
	if n == 0 && err == nil {
		err = io.EOF
	}
	if err != nil {
		if !errors.Is(err, errAgain) {
			c.fail("%s ended a connection without a close frame: %v", c.gateway, err)
		}
		return
	}
	l.reads++
	c.feed(l.buffer[:kept+n], clock())
}

// dial begins a connection.
func (l *loop) dial(s spec, from netip.Addr) (*client, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := &client{spec: s, loop: l, slot: int32(len(l.clients)), begun: clock()}
	var err error
	if c.fd, err = openSocket(s.gateway, from, s.buffer); err != nil {
		return nil, err
	}
	l.clients = append(l.clients, c)
	l.dialled++
	if err := l.poll.add(c.fd, c.slot, wantWrite); err != nil {
		c.end()
		return nil, fmt.Errorf("epoll refuses a socket: %w", err)
	}
	return c, nil
}

func (l *loop) opened(took int64) {
	l.opens++
	l.counts.open++
	l.opening.record(nanoseconds(took))
}

func (l *loop) completed(took int64) {
	l.whole++
	l.wholes.record(nanoseconds(took))
}

// note keeps the first problems in full; the counters have all of them.
func (l *loop) note(text string) {
	if len(l.problems) < 5 {
		l.problems = append(l.problems, text)
	}
}

// pause makes a client read nothing until resume: it is as slow as one can be.
func (l *loop) pause(c *client) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if c.state != closed {
		l.poll.remove(c.fd)
	}
}

func (l *loop) resume(c *client) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if c.state == closed {
		return nil
	}
	return l.poll.add(c.fd, c.slot, wantRead)
}

// close ends all clients and the thread.
func (l *loop) close() {
	l.stop.Store(true)
	<-l.done
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range l.clients {
		c.end()
	}
	l.poll.close()
}
