// Package ops is what a process of Sluice needs around its real work: its log,
// its signals, and the address where operators look at it.
//
// In the order in which a process meets them:
//
//	program.go     Main: flags, settings, log, signals, exit codes
//	usage.go       the page behind -h
//	log.go         NewLogger and its settings
//	listen.go      Listen: bind errors that say what to do
//	admin.go       Admin: health, readiness, metrics, profiles
//	adminguard.go  and who may see them
//	profiles.go    pprof, one profile at a time
//	health.go      HealthCommand: a process asks its own admin address
//	metrics.go     NewRegistry: what every process exports
//	memory.go      TidyMemory: bursts are given back to the system
//	version.go     Version
//	hostid.go      ProcessName: a name that no other process has
//	stopped.go     UnlessStopped: what fails because of the stop is no failure
//
// Of Sluice it imports only shared/settings.
package ops
