// Package live knows who on this gateway wants what, holds the live flow in order, and
// brings subscriptions what they lack. It knows no Redis and no socket: it is given a
// History, Sessions, and for each client a Peer and an Owner.
//
// In the order of a subscription and of an event:
//
//	live.go      Flow: what it is given, what it counts
//	request.go   what a client asks for
//	client.go    a connection's part: subscribe, move, end
//	sublist.go   its subscriptions
//	position.go  how far a reader has come, what comes next, and what is a gap
//	terms.go    messages of the channel: terms, sequence numbers, beats
//	flow.go      targets and their subscribers: the live flow
//	held.go      live records that wait for the history before them
//	catchup.go   one subscription on its way to the live flow: what it reads, its answer, gaps
//	feed.go      the subscriptions of a client that are on their way
//	reread.go    targets that may have missed something read the history
//
// Locks: a shard's (flow.go) comes before a Client's, and that one before those of its
// owner and its peer. The list of rereads comes after a shard's. None is held while a
// History or Sessions wait.
package live
