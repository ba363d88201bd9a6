// Package gateway holds the sockets of clients, and says in the session Hash where
// each one is. It has no business state.
//
// In the order of a connection and of an event:
//
//	config.go      settings
//	gateway.go     New and Run
//	accept.go      the request: origin, token, upgrade
//	openers.go     so many opened at once
//	connection.go  one client: identity, subscriptions, its frames
//	sublist.go     its subscriptions
//	open.go        connect: sessions, welcome, the first subscriptions
//	publish.go     events that clients publish, on their way to the partitions
//	acks.go        what clients acknowledge, on its way to the acks streams
//	cursors.go     where devices begin and end
//	subscriber.go  the gateway's Pub/Sub channel, heartbeat, what is lost on it
//	position.go    how far a reader has come, what comes next, and what is a gap
//	hub.go         targets and their subscribers: the live flow
//	held.go        live records that wait for the history before them
//	catchup.go     one subscription on its way to the live flow: what it reads, its answer, gaps
//	feed.go        the subscriptions of a connection that are on their way
//	lag.go         connections that take nothing: reported, asked about, closed
//	reread.go      targets that may have missed something read the history
//	backlog.go     what waits for workers
//	drain.go       the end
//	metrics.go     counters
//
// Locks: a shard's lock (hub.go) comes before those of connections, sessions, lags and
// sockets; no lock is held while Redis is asked.
package gateway
