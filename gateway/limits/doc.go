// Package limits says how much one client, user or address may have, so that others keep
// their share.
//
//	queue.go      what waits, served in turn by key
//	pool.go       goroutines that are served in turn by key
//	line.go       goroutines of crowds, a few at a time
//	semaphore.go  a budget that keys share: who waits for it is served in turn by key
//
// It knows nothing of sockets, frames or Redis.
package limits
