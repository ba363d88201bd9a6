// Package auth decides who connects and what they may do. In the order in which a connection meets it:
//
//	config.go    the settings, and which of them are refused at start
//	origin.go    from which web pages browsers may connect
//	request.go   where a handshake carries its token, and which subprotocol is echoed
//	verify.go    from a token to an Identity
//	keys.go      which algorithms and keys sign tokens: the place for RS256, ES256, EdDSA and JWKS
//	claims.go    what a JWT says, with its bounds
//	identity.go  what an Identity may subscribe and publish to
//	errors.go    expired or refused, and why
//
// The package starts no goroutine, keeps no state and does no I/O; all its values are safe for concurrent use.
package auth
