package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// The floor is a server that does nothing but write(2): the frames that a gateway would write, to the same number of
// sockets, at the same pace. No server that makes one write for one delivery can cost less. It runs as a process of its
// own, which is this program again, so that its CPU time is told like a gateway's.

// floorVariable in the environment makes this program the floor.
const floorVariable = "LOAD_FLOOR"

// order is what the floor shall do; it comes as a line of JSON on its standard input, and a report goes back.
type order struct {
	Rate    float64 `json:"rate"`    // writes to every socket, or to one, in a second; 0: as fast as it goes
	Batch   int     `json:"batch"`   // frames in one write
	Size    int     `json:"size"`    // of an event's data, in bytes
	One     bool    `json:"one"`     // each write goes to one socket, in turn, instead of to all
	Seconds float64 `json:"seconds"` // how long
}

type floorReport struct {
	Addr   string `json:"addr,omitempty"` // in the first one
	Frames uint64 `json:"frames"`
	Refuse uint64 `json:"refused"` // writes that a full socket refused, or took in part
}

// greeting is the path on which the floor sends ?n=50 frames behind the handshake.
const greeting = "/greet"

type floorServer struct {
	mu      sync.Mutex
	sockets []*floorSocket
}

type floorSocket struct {
	fd   int
	rest []byte // what a full socket did not take; shared, never written to
}

// runFloor serves until the standard input ends.
func runFloor(in io.Reader, out io.Writer) error {
	listener, addr, err := listenSocket()
	if err != nil {
		return fmt.Errorf("the floor cannot listen: %w", err)
	}
	reports := json.NewEncoder(out)
	if err := reports.Encode(floorReport{Addr: addr}); err != nil {
		return err
	}
	p, err := newPoller()
	if err == nil {
		err = p.add(listener, int32(listener), wantRead)
	}
	if err != nil {
		return fmt.Errorf("the floor cannot poll: %w", err)
	}
	s := &floorServer{}
	go s.accept(p, listener) // ends with the process
	orders := json.NewDecoder(in)
	for {
		var o order
		if err := orders.Decode(&o); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("the floor does not understand its order: %w", err)
		}
		if err := reports.Encode(s.run(o)); err != nil {
			return err
		}
	}
}

// accept serves handshakes until the process ends. Requests that are not there yet are not waited for: the kernel's queue
// of connections would run over.
func (s *floorServer) accept(p *poller, listener int) {
	asking := make(map[int32][]byte) // begins of requests
	buf := make([]byte, 4096)
	for {
		n := p.wait(time.Second)
		for i := range n {
			fd, _ := p.event(i)
			if int(fd) == listener {
				s.acceptAll(p, listener, asking)
				continue
			}
			got, err := readSocket(int(fd), buf)
			if errors.Is(err, errAgain) {
				continue
			}
			request := slices.Concat(asking[fd], buf[:got])
			whole := bytes.Contains(request, []byte("\r\n\r\n"))
			switch {
			case err != nil || got == 0:
				closeSocket(int(fd))
			case !whole:
				asking[fd] = request
				continue
			default:
				p.remove(int(fd))
				s.greet(int(fd), request)
			}
			delete(asking, fd)
		}
	}
}

func (s *floorServer) acceptAll(p *poller, listener int, asking map[int32][]byte) {
	for {
		fd, err := acceptSocket(listener)
		if errors.Is(err, errAgain) {
			return
		}
		if err == nil {
			asking[int32(fd)] = nil
			err = p.add(fd, int32(fd), wantRead)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "the floor cannot accept:", err)
			return
		}
	}
}

// greet answers a request, and from then on frames are written to the socket.
func (s *floorServer) greet(fd int, request []byte) {
	answer := fmt.Appendf(nil, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n", handshakeAccept)
	line, _, _ := strings.Cut(string(request), " HTTP/")
	if _, text, ok := strings.Cut(line, greeting+"?n="); ok {
		frames, _ := strconv.Atoi(text)
		for i := range frames {
			answer = appendEventFrame(answer, floorTarget, 256, uint32(i+1), clock())
		}
	}
	if n, err := writeSocket(fd, answer); err != nil || n < len(answer) {
		fmt.Fprintln(os.Stderr, "the floor's greeting does not fit:", err)
	}
	s.mu.Lock()
	s.sockets = append(s.sockets, &floorSocket{fd: fd})
	s.mu.Unlock()
}

const floorTarget = "topic:load-floor-1"

// run does one order.
func (s *floorServer) run(o order) floorReport {
	s.mu.Lock()
	sockets := s.sockets
	s.mu.Unlock()
	var r floorReport
	if len(sockets) == 0 {
		return r
	}
	numbers := make([]uint32, len(sockets))
	number := uint32(0)
	begin := time.Now()
	end := begin.Add(time.Duration(o.Seconds * float64(time.Second)))
	for done := 0; ; done++ {
		now := time.Now()
		if !now.Before(end) {
			return r
		}
		if o.Rate > 0 {
			if wait := time.Duration(float64(done)/o.Rate*float64(time.Second)) - now.Sub(begin); wait > 0 {
				nap(min(wait, end.Sub(now)))
				done-- // look at the clock again
				continue
			}
		}
		if o.One {
			i := done % len(sockets)
			numbers[i]++
			sockets[i].write(appendEventFrame(nil, floorTarget, o.Size, numbers[i], clock()), 1, &r)
			continue
		}
		var frames []byte
		for range o.Batch {
			number++
			frames = appendEventFrame(frames, floorTarget, o.Size, number, clock())
		}
		before := r.Frames
		for _, x := range sockets {
			x.write(frames, o.Batch, &r)
		}
		if r.Frames == before {
			nap(50 * time.Microsecond) // all are full
		}
	}
}

// write writes frames unless there is still a rest of earlier ones.
func (x *floorSocket) write(frames []byte, count int, r *floorReport) {
	data := frames
	if len(x.rest) > 0 {
		data = x.rest
	}
	n, err := writeSocket(x.fd, data)
	if n < len(data) {
		r.Refuse++
		if err == nil || errors.Is(err, errAgain) && len(x.rest) > 0 {
			x.rest = data[n:]
		}
		return
	}
	if len(x.rest) > 0 {
		x.rest = nil
	}
	r.Frames += uint64(count)
}
