// Package ops is what a process of Sluice needs around its real work: its
// settings, its log, its signals, and the address where operators look at it.
//
// In the order in which a process meets them:
//
//	program.go   Main: flags, settings, log, signals, exit codes
//	config.go    Load: environment variables into structs, one sentence per mistake
//	fields.go    the walk over a struct of settings that the rest shares
//	bytesize.go  ByteSize: 65536, 64KiB
//	redact.go    what may be shown of a setting, and what may not
//	usage.go     the page behind -h
//	log.go       NewLogger and its settings
//	listen.go    Listen: bind errors that say what to do
//	admin.go     Admin: health, readiness, metrics, profiles
//	health.go    HealthCommand: a process asks its own admin address
//	metrics.go   NewRegistry: what every process exports
//	memory.go    TidyMemory: bursts are given back to the system
//	version.go   Version
//	hostid.go    ProcessName: a name that no other process has
//	stopped.go   UnlessStopped: what fails because of the stop is no failure
//
// It imports no other package of Sluice.
package ops
