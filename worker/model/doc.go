// Package model is the worker's protocol on one partition, reduced to its steps, and an explorer that tries every order
// in which they can happen with every fault at every place. It holds up promises 1 to 3: order, nothing lost, nothing twice.
//
// Read in this order:
//
//	term.go    lease, epoch and consumer group: what a takeover does, in one script
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
// Four rules are easy to leave out, and each alone breaks a promise (see Defect):
//
//   - A batch's appends go in one MULTI, and so do its claims. In a plain pipeline Redis can refuse one command (no memory, loading,
//     busy, read-only) and execute the next; XADD ids only grow, so what was refused can never be appended.
//   - Both MULTIs are under a WATCH of the epoch that was sent before the read. Else an owner that slept until an idempotency key
//     expired appends what its successor has answered as a duplicate.
//   - An owner beats to every live gateway from the start of its term, not only to those that it has published to: the lost
//     message may have been its predecessor's last.
//   - A gap that a gateway notices while it reads a target's history makes it read once more.
//
// What the group notes of the reads before it (seen) tells an event that was appended and trimmed since from one that cannot be
// appended. A subscriber and trimming are explored apart.
//
// Not in the model: several targets, expiry of the history, events that are not retained, more than one gateway.
package model
