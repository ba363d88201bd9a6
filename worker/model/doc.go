// Package model is the worker's protocol on one partition, reduced to its steps, and an explorer that tries every order
// in which they can happen with every fault at every place. It holds up promises 1 to 3: order, nothing lost, nothing twice.
//
// Read in this order:
//
//	reign.go    lease, epoch and consumer group: what a takeover does, in one script
//	model.go    the state, and the pipelines that a worker sends
//	worker.go   what Redis does with each command, what the worker does with the replies, and the worker's faults
//	gateway.go  session, history and live flow of one subscriber
//	promises.go what must hold in every state, and when all is at rest
//	intake.go   the second model: the intake's forwarding
//	canon.go    which states are the same
//	explore.go  the search
//
// What is assumed of Redis: a command, a script and a MULTI ... EXEC are one step each; commands on one connection are executed in order.
// Nothing is assumed of time: a lease may end at any moment, a worker may sleep between any two steps, and what was sent on
// a connection that the worker gave up may be executed much later, partly, or never.
//
// Not in the model: several targets, trimming and expiry of the history, events that are not retained, more than one gateway.
package model
