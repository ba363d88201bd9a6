// Command load loads gateways, workers and Redis, and says what they take for it: CPU time, memory, latency. Floors
// measured in the same run, bare writes and plain Redis commands, tell what no system on this machine can be below, so
// results of different machines can be compared by their ratios.
//
// It shares the machine with what it measures, so it is made to be light: one thread reads thousands of plain sockets
// by epoll, and events are written to Redis by hand. A million frames a second take half a core.
//
//	main.go           the command
//	config.go         flags, and the refusal of other machines
//	bench.go          the run: one scenario after the other
//	scenario_*.go     a scenario each: it returns measurements and plots
//	rig.go            what they do it with: an installation, clients, a producer
//
//	installation.go   gateways, workers and Redis, started or found
//	process.go        a program that is started
//	fleet.go          all clients
//	loop.go           a thread that serves many of them
//	client.go         a WebSocket: handshake, frames, counts
//	frame.go          framing
//	event.go          the data of events: number and time
//	sys_*.go          sockets and epoll
//	producer.go       events on their way to Redis
//	pace.go           so many a second; waits
//
//	floor.go          bare writes, measured
//	floorserver.go    the process that does them
//	redisfloor.go     plain Redis commands, measured
//
//	meter.go          one measured stretch of time: a window
//	proc_linux.go     CPU time and memory of processes
//	hist.go           percentiles
//	measurement.go    a number, its floor and its goal
//	plot.go           numbers over others
//
//	result.go         all that was found out
//	render.go         the same as table, page (report.html) and JSON
//	svg.go            plots
//	progress.go       the live line
package main
