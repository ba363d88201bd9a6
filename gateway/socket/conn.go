package socket

// Attach sets who is told; it comes before everything else.
func (c *Conn) Attach(h Handler) { c.handler = h }

// ServeAs says whose turns the socket takes: the sockets of one key are read in turn with
// those of others. It is called before Start, or in a call of the handler.
func (c *Conn) ServeAs(key string) {
	c.mu.Lock()
	c.key = key
	c.mu.Unlock()
}

// Received is how many bytes have come, whatever is in them. It is called by the handler, in
// Message, Ping or Pong.
func (c *Conn) Received() uint64 { return c.received }

// Start begins to read and to ping. No message is handed over before.
func (c *Conn) Start() {
	c.group.tally.add()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.started = true
	if !c.group.wheel.start(c) {
		c.die(abnormal)
	} else if err := c.link.start(); err != nil {
		c.die(abnormal) // no memory for it in the kernel
	}
	c.settle()
}

// Hold keeps messages from the handler until Release or a close: what the client sends
// stays in the kernel. A client that hangs up meanwhile is dead at once (with epoll; else
// that is seen after Release). It is called before Start, or in Message.
func (c *Conn) Hold() {
	c.mu.Lock()
	c.in.held = c.phase < closing
	c.mu.Unlock()
}

// Release ends Hold.
func (c *Conn) Release() {
	c.mu.Lock()
	c.release()
	c.mu.Unlock()
}

// release lets a turn look for what has come meanwhile; c.mu is held.
func (c *Conn) release() {
	if !c.in.held {
		return
	}
	c.in.held, c.in.again = false, true
	if c.started {
		c.read()
	}
}

// read lets a turn begin where none is; c.mu is held.
func (c *Conn) read() {
	if c.in.turn == unread && c.phase < gone {
		c.in.turn = reading
		c.link.wantTurn()
	}
}

// Abandon ends a socket that was never started, with a close code. ended is called when it
// is gone.
func (c *Conn) Abandon(code int, reason string, ended func()) {
	c.Attach(nobody{ended})
	c.Start()
	c.Close(code, reason)
}

// nobody handles sockets that are only closed.
type nobody struct{ ended func() }

func (nobody) Early([]byte) bool { return false }
func (nobody) Message([]byte)    {}
func (nobody) Ping() bool        { return false }
func (nobody) Pong()             {}
func (nobody) Drained()          {}
func (n nobody) Closed(int)      { n.ended() }

// Send queues a ready frame and reports whether it was taken. It is refused when
// the queue is full, then Drained follows; or when the socket closes, then Closed
// follows. The frame must never be changed again.
func (c *Conn) Send(frame []byte) bool { return c.SendPieces(frame) }

// SendPieces is Send of a frame that lies in several places, of which others may share
// some.
func (c *Conn) SendPieces(pieces ...[]byte) bool {
	size := length(pieces)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.phase >= closing {
		return false
	}
	if c.out.bytes > 0 && (c.out.bytes+size > c.group.opts.QueueBytes || c.out.queue.len() >= maxQueued) {
		c.out.refused = true
		return false
	}
	for _, p := range pieces {
		c.push(p)
	}
	return true
}

func length(pieces [][]byte) (bytes int) {
	for _, p := range pieces {
		bytes += len(p)
	}
	return bytes
}

// answer queues a control frame, if there is room: a client that sends pings and
// reads nothing gets no more answers.
func (c *Conn) answer(frame []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.phase < closing && c.out.bytes < c.group.opts.QueueBytes && c.out.queue.len() < maxQueued {
		c.push(frame)
	}
}

// push queues a frame; c.mu is held.
func (c *Conn) push(frame []byte) {
	c.out.queue.push(frame)
	c.out.bytes += len(frame)
	if c.out.writer == idle {
		c.out.writer = writing
		c.link.wantWrite()
	}
}

// Close sends what is queued and a close frame, waits for the client's for at most
// CloseTimeout, and ends the socket. It does not wait. Codes 1005 and 1006 are never
// sent: the close frame has none.
func (c *Conn) Close(code int, reason string) {
	c.mu.Lock()
	c.close(code, reason)
	c.mu.Unlock()
}

func (c *Conn) close(code int, reason string) {
	if c.phase >= closing {
		return
	}
	c.phase, c.code = closing, code
	c.push(c.framing.close(code, reason))
	c.group.wheel.endBy(c)
	c.release()
}

// refuse closes, and reads no message any more.
func (c *Conn) refuse(code int, reason string) {
	c.mu.Lock()
	c.close(code, reason)
	c.deafen()
	c.mu.Unlock()
}

// deafen throws away what comes from now on. Once everything is sent, the client is
// told so by a half-close, and the socket ends when the client closes, too: a socket
// that is closed with unread bytes resets the connection, and the close frame would
// be lost.
func (c *Conn) deafen() {
	c.in.deaf = true
	c.settle()
}

// Kill ends the socket at once.
func (c *Conn) Kill() {
	c.mu.Lock()
	c.die(abnormal)
	c.settle()
	c.mu.Unlock()
}

// die ends all reads and writes; settle must follow. code counts if the socket is
// not closing.
func (c *Conn) die(code int) {
	if c.phase >= dead {
		return
	}
	if c.phase < closing {
		c.code = code
	}
	c.phase = dead
	if c.out.writer == blocked {
		c.out.writer = idle
	}
	c.out.unsent = c.out.bytes > 0
	c.out.queue, c.out.bytes = fifo[[]byte]{}, 0
	c.link.interrupt()
}

// settle draws the conclusions of a change; c.mu is held.
func (c *Conn) settle() {
	if c.phase == closing && c.out.queue.len() == 0 && c.out.writer != writing {
		if c.in.deaf && !c.out.halved {
			c.out.halved = true
			c.in.eof = !c.link.halfClose() || c.in.eof
		}
		if c.in.eof {
			c.die(c.code)
		}
	}
	if c.phase >= dead && c.started {
		c.read()
	}
}

// end is the last turn. Nobody else uses the link any more.
func (c *Conn) end() {
	c.group.wheel.remove(c)
	c.link.close(c.out.unsent)
	c.handler.Closed(c.code)
	c.mu.Lock()
	c.phase = told
	if c.ended != nil {
		close(c.ended)
	}
	c.mu.Unlock()
	c.group.tally.done()
}

// Done is closed when the socket is gone and the handler knows.
func (c *Conn) Done() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended == nil {
		c.ended = make(chan struct{})
		if c.phase == told {
			close(c.ended)
		}
	}
	return c.ended
}
