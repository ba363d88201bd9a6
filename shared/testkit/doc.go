// Package testkit is what tests of several packages need: it is for tests only, and imports nothing of ours.
//
//	process.go   a program that runs, with what it prints
//	buffer.go    what is written, by several goroutines
//	build.go     our programs, built once
//	port.go      ports of loopback that stay free until they are used
//	cert.go      an authority and certificates for this machine
package testkit
