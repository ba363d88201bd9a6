// Package storetest starts Redis for tests, and holds the conformance suite of
// shared/store: what the store promises, on a real Redis, alone, behind Sentinel and as a
// Cluster, and on the embedded one.
//
//	server.go     a real redis-server, alone or as a Cluster of one node
//	replicated.go Redis that outlives the loss of a node: Sentinel, a Cluster with replicas
//	backend.go    the kinds of Redis under the suite, and stores over them
//	proxy.go      a link that loses a reply
//	suite.go      Run: the list of what is checked
//	owner.go      a worker's part in the checks
//	meta.go       opening, the clock, readiness
//	takeover.go   leases and terms
//	fence.go      what a deposed owner can still do: nothing
//	commit.go     publish, acknowledge, read
//	step.go       prepare, append and route
//	refused.go    Redis without memory, or read-only
//	ingress.go    publishing, forwarding, trimming, backlogs
//	dead.go       dead letters
//	history.go    what is retained
//	session.go    sessions and members
//	acks.go       acks, cursors
//	slow.go       tasks of which a part was lost
//	bus.go        Pub/Sub
//	faults.go     lost scripts, lost replies, a frozen server
//	failover.go   a master that is lost
package storetest
