// Package socket holds WebSockets and event streams. It knows frames, queues, pings and closes, and
// nothing of Redis, targets or events.
//
// A Conn has a bounded queue of ready frames. Send never waits: a frame that does
// not fit is refused, and the handler is told when there is room again. An idle
// socket has no goroutine and no buffer: epoll says when there is something to read,
// and a goroutine reads until there is nothing more; a few goroutines write for all
// sockets while there is something to write. Where there is no epoll, and for
// connections that are neither TCP nor TLS over it, a socket has one goroutine that reads, and one
// while it writes.
//
//	socket.go        what a socket and all sockets of a process are made of
//	group.go         all of them, up to their end
//	upgrade.go       how a request becomes one
//	conn.go          one socket: queue, close, the states up to its end
//	framing.go       what WebSockets and event streams add to it
//	room.go          what may wait: answers beside events
//	write.go         what goes out: several frames in one write
//	turn.go          what comes in
//	reader.go        reading with gorilla/websocket
//	peek.go          headers of frames
//	partial.go       messages that have not come whole
//	wheel.go         when something is due
//	ticks.go         and what: pings, deadlines
//	link.go          a socket's way to the network: goroutines
//	poll_linux.go    and epoll
//	poll_turns.go    who may read when
//	poll_writers.go  goroutines that write for all
//	tls.go           TLS connections: goroutines
//	tls_linux.go     and epoll
//	vector_linux.go  writev
//	unsent_*.go      what the kernel may keep for a client
//	fifo.go          queues
package socket
