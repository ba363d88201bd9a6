// Package auth decides who connects and what they may do. In the order in which a connection meets it:
//
//	config.go    the settings, and which of them are refused at start
//	origin.go    from which web pages browsers may connect
//	request.go   where a handshake carries its token, and which subprotocol is echoed
//	verify.go    from a token to an Identity
//	keys.go      which keys check tokens, each for one algorithm: the secret, the key file
//	remote.go    those of SLUICE_JWKS_URL, fetched again and again
//	ticket.go    an Identity kept for a ticket
//	claims.go    what a JWT says, with its bounds
//	identity.go  what an Identity may subscribe and publish to
//	errors.go    expired or refused, and why
//
// The package starts no goroutine; Verifier.Run fetches keys, and nothing else does I/O once New has read the key file. All
// its values are safe for concurrent use.
package auth
