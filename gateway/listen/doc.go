// Package listen takes connections in: how many there may be, how much a stranger may send,
// and who the client is.
//
//	config.go    settings
//	listener.go  accepts; strangers beyond the bound go, the oldest first
//	conn.go      one connection, until the socket takes it over
//	gate.go      a request's header is handed on once it is whole
//	address.go   the client's address, behind trusted proxies
//	files_*.go   how many files this process may open
//
// A stranger is who has shown no valid token yet.
package listen
