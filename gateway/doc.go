// Package gateway holds the sockets of clients, and says in the session Hash where
// each one is. It has no business state.
//
// In the order of a connection and of an event:
//
//	config.go      settings
//	gateway.go     New and Run
//	accept.go      the request: origin, token, upgrade
//	connect.go     the frame connect: the token first
//	sse.go         the same as an event stream
//	http.go        requests that are no WebSocket: checks, answers and refusals as JSON
//	events.go      what requests publish
//	page.go        what requests read of histories
//	waiter.go      requests that wait for an event
//	tickets.go     what stands for a token once
//	script.go      the JavaScript client for pages
//	kicks.go       users whose connections are ended
//	users.go       a user's connections, listed and ended by HTTP
//	limit.go       how much a client may ask for
//	connection.go  one client: identity, its frames
//	open.go        connect: sessions, welcome, the first subscriptions
//	call.go        what clients ask functions, and what these want
//	postcall.go    a call by a request, which has no connection
//	ack.go         what it acknowledges, and where its device begins and ends
//	postacks.go    the same by a request
//	subscriber.go  the gateway's Pub/Sub channel, heartbeat, what is lost on it
//	drain.go       the end
//	metrics.go     counters
//
// What is subscribed to, and the live flow, are in live/, reads of histories in history/, the
// session Hashes in sessions/, bytes to and from a client in socket/, tokens in auth/; what
// a stranger may send in listen/, and how much everybody may have in limits/. What clients publish
// goes on its way in publish/, what functions are to hear in calls/, what is acknowledged in acks/, reports of those that take nothing in slow/, and answers/ keeps who waits without a
// connection for what becomes of it. Who is let in admit/ says. Workers are asked for in wake/.
//
// Locks, in their order: a shard's and a client's (live/doc.go), that of the lags or the kicks, a
// connection's, then those of the acks, the sessions and the list of connections, and a
// socket's. None is held while Redis is asked.
package gateway
