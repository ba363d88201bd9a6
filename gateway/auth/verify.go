package auth

import (
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

const (
	// Leeway is by how much the issuer's clock and ours may differ.
	Leeway = 5 * time.Second
	// MaxTokenBytes bounds a token. Longer ones are refused unread: claims are decoded before their signature is
	// checked, so anybody can make us do that work.
	MaxTokenBytes = 8 << 10

	devPrefix = "dev:"
)

// Verifier tells who a token's bearer is, and whether a page may connect (OriginAllowed).
type Verifier struct {
	config  Config
	origins []allowedOrigin
	keys    keys
	parser  *jwt.Parser
}

// New returns an error, one sentence for the operator, for each setting that Config.Check refuses; only Check knows
// the listen address, so it has to be called as well.
func New(c Config) (*Verifier, error) {
	if err := c.checkMode(); err != nil {
		return nil, err
	}
	origins, err := parseAllowed(c.AllowedOrigins)
	if err != nil {
		return nil, err
	}
	k := newKeys(c)
	return &Verifier{
		config:  c,
		origins: origins,
		keys:    k,
		// The library decodes, allows the algorithm and checks the signature. What the claims must be is in
		// checkClaims: the library's errors do not tell an audience that is missing from an issuer that is, and its
		// clock belongs to the parser.
		parser: jwt.NewParser(jwt.WithValidMethods(k.algorithms), jwt.WithStrictDecoding(), jwt.WithoutClaimsValidation()),
	}, nil
}

// Verify returns the token's bearer. Its errors are *Error: ErrExpired if a token is good but for its age, ErrRefused
// for any other flaw.
func (v *Verifier) Verify(token string, now time.Time) (Identity, error) {
	if len(token) > MaxTokenBytes {
		return Identity{}, &Error{ReasonTooLong}
	}
	if v.config.Mode == ModeDev {
		return verifyDev(token)
	}
	var c claims
	t, err := v.parser.ParseWithClaims(token, &c, v.keys.find)
	if err != nil {
		return Identity{}, &Error{v.parseReason(t, err)}
	}
	if reason := v.checkClaims(&c, now); reason != "" {
		return Identity{}, &Error{reason}
	}
	return Identity{User: c.Subject, Expires: c.ExpiresAt.Time, subscribe: c.subscribe, publish: c.publish}, nil
}

// verifyDev believes what the token says.
func verifyDev(token string) (Identity, error) {
	user, ok := strings.CutPrefix(token, devPrefix)
	if !ok {
		return Identity{}, &Error{ReasonMalformed}
	}
	if !validUser(user) {
		return Identity{}, &Error{ReasonSubject}
	}
	return Identity{User: user, everything: true}, nil
}

// checkClaims returns why signed claims are not accepted, or "". Expiry comes last: a client that fetches a fresh
// token because of it must not find that something else was wrong all along.
func (v *Verifier) checkClaims(c *claims, now time.Time) (reason string) {
	switch {
	case c.flaw != "":
		return c.flaw
	case c.ExpiresAt == nil: // the payload was null, so nothing was read at all
		return ReasonNoExpiry
	case v.config.JWTAudience != "" && !slices.Contains(c.Audience, v.config.JWTAudience):
		return ReasonAudience
	case v.config.JWTIssuer != "" && c.Issuer != v.config.JWTIssuer:
		return ReasonIssuer
	case c.NotBefore != nil && now.Before(c.NotBefore.Add(-Leeway)):
		return ReasonNotBefore
	case !now.Before(c.ExpiresAt.Add(Leeway)):
		return ReasonExpired
	}
	return ""
}

// parseReason names what the library refused.
func (v *Verifier) parseReason(t *jwt.Token, err error) string {
	switch {
	case errors.Is(err, jwt.ErrTokenMalformed) || t == nil:
		return ReasonMalformed
	case t.Method == nil || !slices.Contains(v.keys.algorithms, t.Method.Alg()):
		return ReasonAlgorithm
	case errors.Is(err, jwt.ErrTokenUnverifiable): // keys.find has no key for such a header
		return ReasonAlgorithm
	default:
		return ReasonSignature
	}
}
