// Package torture tries to break the promises: while producers append numbered events and recording clients come and
// go, a schedule drawn from a seed kills, freezes and cuts off every part of a real system. When all is quiet again, the
// checker compares what was appended, what Redis retained and what every client saw.
//
//	log.go       what a run leaves behind: appends, histories, dead letters, frames, faults
//	checker.go   the judgement on the appends: histories, keys, answers, dead letters
//	client.go    the judgement on what one client saw
//	gap.go       and on the gaps that it was told of
//	verdict.go   the outcome as one line, and the history of one target as far as it explains a failure
//	unread.go    and on what functions heard of events that nobody had acknowledged
//	functions.go the judgement on what functions heard, did and replied
//	file.go      a log as a file, whole or cut down to a target and a client
//
// The rest is the torture itself, in the order in which it is set up:
//
//	torture_test.go   the run: start, faults, settling, judgement; what the environment says
//	defects_test.go   the checker finds deliberate defects
//	functions_test.go a function that fails, hangs and answers late, and who calls it, under faults of their own (TestTortureFunctions)
//	file_test.go      kept histories are judged again
//	process_test.go   binaries, signals, what they print
//	system_test.go    Redis, gateways and workers, with a link between every two parts
//	backend_test.go   Redis, as one server, and the faults that only one server can take
//	replicated_test.go Redis with Sentinel, and as a Cluster with replicas: its masters are lost
//	losses_test.go    what was lost with them: the append-only files of both nodes, compared
//	aof_test.go       append-only files, read while they are written
//	ledger_test.go    what Redis retained when: its append-only file, read while it is written
//	books_test.go     and what is booked of it
//	link_test.go      a TCP proxy that cuts, delays, stalls, falls silent, and splits
//	producer_test.go  appends over the intake and over partitions
//	journal_test.go   what is noted beside the clients, and the names of targets and keys
//	recorder_test.go  a client that writes down what it sees
//	habits_test.go    what it does: subscribes, unsubscribes, acknowledges, dozes, leaves
//	stream_test.go    it comes by an event stream
//	device_test.go    its device: acknowledgements and cursors
//	publish_test.go   and publishes
//	life_test.go      what is ordinary: quiet topics, many topics, crowds
//	schedule_test.go  faults drawn from the seed
//	faults_test.go    what the faults of processes and of Redis do
//	harm_test.go      and those of links, keys and histories
//	settle_test.go    the wait for the end, and what is read then
//
// SLUICE_TORTURE_SEED, SLUICE_TORTURE_DURATION and SLUICE_TORTURE_FAULTS choose (`make torture SEED= DURATION= FAULTS=`).
// Without a seed the tests take always the same one, and `make torture` takes another one each time. A failure prints
// its seed, which draws the same schedule again. In which moment a fault meets which process is not drawn, so one seed
// may need several runs. SLUICE_TORTURE_RULES=positions,devices,keys holds the run to rules that not every version keeps,
// SLUICE_TORTURE_REDIS chooses the shape of Redis (alone, sentinel, cluster: `make torture REDIS=`), and SLUICE_TORTURE_HISTORY a file to be judged again (TestHistories).
package torture
