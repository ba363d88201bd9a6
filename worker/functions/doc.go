// Package functions calls web addresses with what happens on connections: calls of clients, and the begin and end of
// connections. It knows nothing of streams and partitions; package worker brings the order in which it is asked.
//
// The files, as an event meets them: config.go (which address takes it), event.go (its CloudEvent),
// caller.go (one attempt, with the bounds of its address), breaker.go, answer.go (what it is answered).
package functions
