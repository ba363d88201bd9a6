// Package lock says in which order a gateway takes its locks. Under the race detector, as in all tests, each Mutex
// checks it; otherwise it is a sync.Mutex and nothing else.
package lock

// Locks that are held while others are taken, or taken while others are held. Any other mutex of a gateway is held for
// itself alone.
type (
	Shard   struct{} // live/flow.go: the targets of a partition, their positions, their subscriptions
	Client  struct{} // live/client.go: which subscriptions it has, what is behind
	Rereads struct{} // live/reread.go: targets to be read again
	Kicks   struct{} // kicks.go: partitions of which kicks are to be read
	Lags    struct{} // lag.go: connections that lag
	Conn    struct{} // connection.go: who it is, what it acknowledged
	Conns   struct{} // gateway.go: the connections
	Waiters struct{} // waiter.go: the requests that wait
	Waiter  struct{} // waiter.go: one of them
	Acks    struct{} // acks.go: what is to be written
	Wanted  struct{} // sessions/sessions.go: the sessions that there should be
	Stream  struct{} // sse.go: the positions of an event stream
	Parts   struct{} // socket/partial.go: messages that have come in part
	Socket  struct{} // socket/conn.go: phase, what has come and what is to go
	Cipher  struct{} // socket/tls_linux.go: what the kernel had no room for
	Poller  struct{} // socket/poll_linux.go: the sockets by descriptor
	Turns   struct{} // socket/poll_turns.go: who is read next
	Writers struct{} // socket/poll_writers.go: who is written next
	Wheel   struct{} // socket/wheel.go: what is due
	Tally   struct{} // socket/group.go: what is waited for at the end
)

// Order has each lock once: while it is held, only locks of later rows may be taken. While Redis is asked, or a client
// is waited for, none is held.
var Order = [][]any{
	{Shard{}},
	{Client{}},
	{Rereads{}, Kicks{}, Lags{}},
	{Conn{}},
	{Conns{}, Acks{}, Wanted{}, Waiters{}},
	{Waiter{}, Stream{}},
	{Parts{}},
	{Socket{}},
	{Cipher{}},
	{Poller{}, Turns{}, Writers{}, Wheel{}},
	{Tally{}},
}
