// Package socket holds WebSockets. It knows frames, queues, pings and closes, and
// nothing of Redis, targets or events.
//
// A Conn has a bounded queue of ready frames. Send never waits: a frame that does
// not fit is refused, and the handler is told when there is room again. A goroutine
// writes only while there is something to write.
//
//	group.go  all sockets of a process: upgrade, pings, waiting for the end
//	conn.go   one socket: queue and close
//	read.go   what comes in
package socket
