// Package worker takes events from Redis Streams and brings them to the gateways:
// it appends each to the history of its target, finds out which gateways hold
// somebody who wants it, publishes, and acknowledges.
//
//	config.go      settings
//	run.go         New and Run: the parts of a worker, in the order of their start
//	roles.go       the roles that there are
//	worker.go      what the parts share
//	member.go      who lives
//	share.go       how many partitions are this worker's
//	events.go      role: the lanes
//	loop.go        a lane: the loop that never stops
//	lane.go        what it is, and how it reads
//	term.go        its leases and terms
//	batch.go       how much is read at once, and done again
//	room.go        histories kept shorter while Redis's memory is short
//	bring.go       how a lane brings what it reads of the intake to its partitions, and finds it there
//	intake.go      the way of a batch from the intake to the partitions
//	step.go        the way of a batch, from entries to publications
//	ends.go        the newest id of each target, cached
//	outbox.go      messages to gateways and their sequence numbers
//	group.go       the loop for streams that any worker reads
//	cursors.go     role: acknowledgements move cursors, other devices are told
//	slow.go        role: what gateways report about clients that do not keep up
//	tasks.go       tasks, by type
//	redeliver.go   a type: attempts to serve a client that does not keep up
//	functions.go   role: reads what functions are to hear
//	calls.go       what is held of it
//	lines.go       the events of each connection, one after the other
//	answers.go     what follows from an answer, and a type: attempts after one that failed
//	deadletters.go the command that lists, requeues and drops them
//	givenup.go     tasks that were given up, among them
//	apart.go       what cannot be worked on until a key is mended
//	upkeep.go      gauges, and dead letters that wait
//	metrics.go     counters
package worker
