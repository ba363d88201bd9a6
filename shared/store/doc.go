// Package store is the only one that speaks Redis. It knows every key, every
// script, and which command may be repeated; it decides nothing.
//
//	config.go    what Redis, which prefix, how many partitions, how much history
//	keys.go      every key
//	store.go     opening, the check of sluice:meta, Redis's clock
//	moved.go     where the partitions of a Cluster are after a failure
//	errors.go    which failures are worth a repeat
//	scripts.go   the scripts under lua/
//	ingress.go   appending to partitions, forwarding the intake, reading, trimming
//	reign.go     leases and reigns
//	lane.go      a connection that watches the epochs by whose right it writes
//	kernelwait_*.go  connections that hold a thread while they wait
//	words.go     the words of a batch's commands
//	step.go      the worker's step: prepare, append and route, commit
//	history.go   what is retained of a target, and whether it is complete
//	session.go   which gateway holds whom
//	bus.go       one Pub/Sub channel per gateway
//	ack.go       acks: appended, trimmed
//	cursor.go    what each device has acknowledged
//	slow.go      reports about slow clients
//	tasks.go     where asynq's tasks are, and all that is known of its keys
//	group.go     acks and those reports, read by any worker
//	member.go    who lives
//	dead.go      dead letters
package store
