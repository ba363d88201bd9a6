// Package conformance plays scripts to a client of Sluice and says what it did wrong: so whoever writes a client, in whichever
// language, can prove it. docs/conformance.md says what the client has to do.
//
//	script.go          what a script is; scripts.json holds them
//	server.go          the gateway that the client sees
//	player.go          a script, step by step
//	peer.go            one connection
//	cmd/conformance    plays all scripts to a program
package conformance
