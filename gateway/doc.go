// Package gateway holds the sockets of clients, and says in the session Hash where
// each one is. It has no business state.
//
// In the order of a connection and of an event:
//
//	config.go      settings
//	run.go         New and Run
//	gateway.go     what a gateway is made of, and its connections
//	accept.go      the request: origin, token, upgrade
//	asked.go       what a client asks for when it connects
//	connect.go     the frame connect: the token first
//	sse.go         the same as an event stream
//	stream.go      frames as the events of such a stream
//	script.go      the JavaScript client for pages
//	kicks.go       users whose connections are ended
//	limit.go       how much a client may ask for
//	open.go        opened in turn: sessions, welcome, the first subscriptions
//	connection.go  one client: identity, its frames
//	authorize.go   who the client is, until when, and a fresh token
//	call.go        what clients ask functions, and what these want
//	ack.go         what it acknowledges, and where its device begins and ends
//	subscriber.go  the gateway's Pub/Sub channel, heartbeat, what is lost on it
//	drain.go       the end
//	metrics.go     counters
//
// Packages, each of which is given what it needs and does not know the gateway:
//
//	listen/    connections of strangers, and their addresses
//	admit/     who is let in, and why somebody is not
//	auth/      whose a token is, and what it allows
//	socket/    bytes to and from a client
//	live/      what is subscribed to, and the live flow
//	history/   reads of histories
//	sessions/  the session Hashes
//	publish/   what clients publish, on its way to the partitions, and whether they may
//	calls/     what functions are to hear, on its way to the calls streams, and what they answer
//	acks/      what clients acknowledge, on its way to the acks streams, and the cursors of devices
//	slow/      connections that take nothing: reported, asked about, closed
//	api/       requests that are answered with JSON
//	answers/   who waits for an answer, and has no connection
//	wake/      requests for workers
//	limits/    how much everybody may have
//	lock/      the order of locks
//	query/     values of a URL
//
// Locks, in their order: a shard's and a client's (live/doc.go), that of the lags or the kicks, a
// connection's, then those of the acks, the sessions and the list of connections, and a
// socket's. None is held while Redis is asked.
package gateway
