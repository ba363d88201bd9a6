// Package store is the only one that speaks Redis. It knows every key, every
// script, and which command may be repeated. It decides only what it alone can tell from
// Redis's answers: which event is a repeat, was trimmed, or is out of order (claim.go,
// append.go); which lease, session or member is over (by Redis's clock); where the next
// term begins (lua/takeover.lua); which marks of the intake and which cursors give way
// (forward.go, lua/cursor.lua). What follows from that is for its callers to decide, and so is
// whether a client misses something: History tells only what is there.
//
//	config.go    what Redis, which prefix, how many partitions, how much history
//	secure.go    TLS to Redis, and who we are to Sentinels
//	acl.go       what each tier may do in Redis (acl.conf)
//	keys.go      every key
//	store.go     opening, the check of sluice:meta, Redis's clock
//	moved.go     where the partitions of a Cluster are after a failure
//	errors.go    which failures are worth a repeat
//	scripts.go   the scripts under lua/
//	ingress.go   appending to partitions, trimming, what waits there
//	forward.go   the intake's entries brought to their partitions
//	term.go     leases and terms
//	lane.go      a connection that watches the epochs by whose right it writes
//	kernelwait_*.go  connections that hold a thread while they wait
//	words.go     the words of a batch's commands
//	step.go      the worker's step: prepare, then append and route
//	claim.go     its claims of idempotency keys, and who holds those
//	append.go    its appends to histories, and what became of refused ones
//	commit.go    its end: publish, acknowledge, read on
//	read.go      entries of ingress streams, as it reads them
//	history.go   what is retained of a target, and where it begins and ends
//	ends.go      the ends, without an entry
//	memory.go    how full Redis is, and histories shortened for it
//	session.go   which gateway holds whom: every write and read of it
//	bus.go       one Pub/Sub channel per gateway
//	ack.go       acks: appended, trimmed
//	cursor.go    what each device has acknowledged
//	call.go      what functions are to hear, and what is known of its connections
//	connect.go   clients of which functions are asked who they are
//	postcall.go  calls without a connection, and their answers
//	slow.go      reports about slow clients
//	tasks.go     where asynq's tasks are, and all that is known of its keys
//	group.go     acks and those reports, read by any worker
//	kick.go      users to be ended and kept out, and a user's connections
//	ticket.go    tickets, taken once
//	member.go    who lives
//	dead.go      dead letters
package store
