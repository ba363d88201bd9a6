// Package torture tries to break the promises: while producers append numbered events and recording clients come and
// go, a schedule drawn from a seed kills, freezes and cuts off every part of a real system. When all is quiet again, the
// checker compares what was appended, what Redis retained and what every client saw.
//
//	log.go       what a run leaves behind: appends, histories, dead letters, frames, faults
//	checker.go   the judgement on the appends: histories, keys, answers, dead letters
//	client.go    the judgement on what one client saw
//	verdict.go   the outcome as one line, and the history of one target as far as it explains a failure
//
// The rest is the torture itself, in the order in which it is set up:
//
//	torture_test.go   the run: start, faults, settling, judgement; what the environment says
//	defects_test.go   the checker finds deliberate defects
//	process_test.go   binaries, signals, what they print
//	system_test.go    Redis, gateways and workers, with a link between every two parts
//	link_test.go      a TCP proxy that cuts, delays, stalls, falls silent, and splits
//	producer_test.go  appends over the intake and over partitions
//	journal_test.go   what is noted beside the clients, and the names of targets and keys
//	recorder_test.go  a client that writes down what it sees
//	habits_test.go    what it does: subscribes, unsubscribes, acknowledges, dozes, leaves
//	publish_test.go   and publishes
//	schedule_test.go  faults drawn from the seed
//	faults_test.go    what the faults of processes and of Redis do
//	harm_test.go      and those of links, keys and histories
//	settle_test.go    the wait for the end, and what is read then
//
// SLUICE_TORTURE_SEED, SLUICE_TORTURE_DURATION and SLUICE_TORTURE_FAULTS choose (`make torture SEED= DURATION= FAULTS=`).
// Without a seed the tests take always the same one, and `make torture` takes another one each time. A failure prints
// its seed, which draws the same schedule again. In which moment a fault meets which process is not drawn, so one seed
// may need several runs.
package torture
