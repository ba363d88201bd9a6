// Package worker takes events from Redis Streams and brings them to the gateways:
// it appends each to the history of its target, finds out which gateways hold
// somebody who wants it, publishes, and acknowledges.
//
//	config.go    settings
//	worker.go    New and Run: which lanes there are
//	reign.go     a lane: leases, reigns, and the loop that never stops
//	share.go     how many partitions are this worker's
//	step.go      the way of a batch, from entries to publications
//	outbox.go    messages to gateways and their sequence numbers
//	ends.go      the newest id of each target, cached
//	intake.go    the way of a batch from the intake to the partitions
//	cursors.go   acknowledgements: cursors moved, other devices told
//	redeliver.go clients that do not keep up
//	deadletters.go the command that lists, requeues and drops them
//	givenup.go   slow clients that were given up, among them
//	metrics.go   counters
package worker
