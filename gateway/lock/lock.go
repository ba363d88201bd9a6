// Package lock says in which order a gateway takes its locks. Under the race detector, as in all tests, each Mutex
// checks it; otherwise it is a sync.Mutex and nothing else.
package lock

// Locks that are held while others are taken, or taken while others are held. Any other mutex of a gateway is held for
// itself alone.

type (
	// Shard is in live/flow.go: the targets of a partition, their positions, their subscriptions
	Shard struct{}
	// Client is in live/client.go: which subscriptions it has, what is behind
	Client struct{}
	// Rereads is in live/reread.go: targets to be read again
	Rereads struct{}
	// Kicks is in admit/kicks.go: partitions of which kicks are to be read
	Kicks struct{}
	// Lags is in slow/slow.go: connections that lag
	Lags struct{}
	// Conn is in connection.go: who it is, and whether it is over
	Conn struct{}
	// Acking is in acks/client.go: what a connection acknowledged
	Acking struct{}
	// Conns is in gateway.go: the connections
	Conns struct{}
	// Waiters is in api/waiter.go: the requests that wait
	Waiters struct{}
	// Waiter is in api/waiter.go: one of them
	Waiter struct{}
	// Acks is in acks/acks.go: what is to be written
	Acks struct{}
	// Wanted is in sessions/sessions.go: the sessions that there should be
	Wanted struct{}
	// Stream is in stream.go: the positions of an event stream
	Stream struct{}
	// Parts is in socket/partial.go: messages that have come in part
	Parts struct{}
	// Socket is in socket/conn.go: phase, what has come and what is to go
	Socket struct{}
	// Cipher is in socket/tls_linux.go: what the kernel had no room for
	Cipher struct{}
	// Poller is in socket/poll_linux.go: the sockets by descriptor
	Poller struct{}
	// Turns is in socket/poll_turns.go: who is read next
	Turns struct{}
	// Writers is in socket/poll_writers.go: who is written next
	Writers struct{}
	// Wheel is in socket/wheel.go: what is due
	Wheel struct{}
	// Tally is in socket/group.go: what is waited for at the end
	Tally struct{}
)

// Order has each lock once: while it is held, only locks of later rows may be taken. While Redis is asked, or a client
// is waited for, none is held.
var Order = [][]any{
	{Shard{}},
	{Client{}},
	{Rereads{}, Kicks{}, Lags{}},
	{Conn{}, Acking{}},
	{Conns{}, Acks{}, Wanted{}, Waiters{}},
	{Waiter{}, Stream{}},
	{Parts{}},
	{Socket{}},
	{Cipher{}},
	{Poller{}, Turns{}, Writers{}, Wheel{}},
	{Tally{}},
}
