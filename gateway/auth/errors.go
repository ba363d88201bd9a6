package auth

import "errors"

// Verify's errors are one of these three under errors.Is. Their texts are all that a client may be told, and short
// enough for the reason of a close frame (123 bytes, RFC 6455, section 5.5).
var (
	// ErrExpired: the token was good and has ended. Close 4401: the client comes back with a fresh one.
	ErrExpired = errors.New("the token has expired: get a fresh one")
	// ErrRefused: the token will not become good by trying again. Close 4501.
	ErrRefused = errors.New("the token was refused")
	// ErrLater: the token begins soon, or nobody can tell now whether it is good. Close 1013: the client comes back with it.
	ErrLater = errors.New("the token cannot be accepted now: try again")
)

// Reasons why a token was not accepted, for logs and as a counter's label.
const (
	ReasonTooLong   = "too_long"   // longer than MaxTokenBytes
	ReasonMalformed = "malformed"  // neither a JWT nor, in dev mode, dev:<user>
	ReasonAlgorithm = "algorithm"  // signed in a way that is not accepted, or not at all
	ReasonSignature = "signature"  // not signed with our key
	ReasonKey       = "key"        // names a key that there is not
	ReasonNoKeys    = "no_keys"    // the keys cannot be had from SLUICE_JWKS_URL now, or too many tokens wait for them
	ReasonTicket    = "ticket"     // a ticket that was used, has expired, or never was
	ReasonLife      = "life"       // lives longer than SLUICE_JWT_MAX_LIFE
	ReasonClaims    = "claims"     // a claim has the wrong type or is out of bounds
	ReasonSubject   = "subject"    // sub is missing or is no user id
	ReasonNoExpiry  = "no_expiry"  // exp is missing
	ReasonAudience  = "audience"   // aud does not contain SLUICE_JWT_AUDIENCE
	ReasonIssuer    = "issuer"     // iss is not SLUICE_JWT_ISSUER
	ReasonNotBefore = "not_before" // nbf is far in the future
	ReasonSoon      = "soon"       // nbf is in the future, and soon, and nothing else is wrong
	ReasonExpired   = "expired"    // exp is in the past, and nothing else is wrong
)

// Error is what Verify returns. Its text is the fixed one of ErrExpired, ErrRefused or ErrLater: nothing internal reaches
// the client even if the whole error is sent.
type Error struct {
	// Reason is one of the Reason constants. It is for us, never for the client: it would help to forge tokens.
	Reason string
}

func (e *Error) Error() string { return e.Unwrap().Error() }

// Unwrap returns ErrExpired, ErrRefused or ErrLater.
func (e *Error) Unwrap() error {
	switch e.Reason {
	case ReasonExpired:
		return ErrExpired
	case ReasonNoKeys, ReasonSoon:
		return ErrLater
	}
	return ErrRefused
}

// ReasonOf returns the reason of an error of Verify, and "" for any other.
func ReasonOf(err error) string {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Reason
	}
	return ""
}
