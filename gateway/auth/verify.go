package auth

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

const (
	// Leeway is by how much the issuer's clock and ours may differ.
	Leeway = 5 * time.Second
	// soon is how long before its begin a token is worth coming back with.
	soon = time.Minute
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
	k, err := newKeys(c)
	if err != nil {
		return nil, err
	}
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

// Run keeps the keys of SLUICE_JWKS_URL fresh until ctx ends. failed is told of each fetch that fails.
func (v *Verifier) Run(ctx context.Context, log *slog.Logger, failed func()) error {
	if v.keys.remote != nil {
		v.keys.remote.run(ctx, log, failed)
	}
	return nil
}

// Ready is nil unless there is a SLUICE_JWKS_URL and no key has come from it.
func (v *Verifier) Ready() error {
	if v.keys.remote == nil {
		return nil
	}
	return v.keys.remote.ready()
}

// Await is Verify. A token that names a key which is not known waits for the next fetch of the keys, which takes
// fetchEvery and fetchTimeout at most: the key may be new. Then the error may be ErrLater.
func (v *Verifier) Await(ctx context.Context, token string, now func() time.Time) (Identity, error) {
	id, err := v.Verify(token, now())
	if v.keys.remote == nil || ReasonOf(err) != ReasonKey {
		return id, err
	}
	if v.keys.remote.await(ctx) != nil || v.Ready() != nil { // a set without keys is a mistake of who serves it
		return Identity{}, &Error{ReasonNoKeys}
	}
	return v.Verify(token, now())
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
	return Identity{User: c.Subject, Expires: c.ExpiresAt.Time, rights: c.rights}, nil
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
	return Identity{User: user, rights: rights{everything: true}}, nil
}

// checkClaims returns why signed claims are not accepted, or "". What time mends comes last, and expiry behind a begin: a client that
// comes back, or fetches a fresh token, must not find that something else was wrong all along.
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
	case c.NotBefore != nil && now.Before(c.NotBefore.Add(-Leeway-soon)):
		return ReasonNotBefore
	case v.config.JWTMaxLife > 0 && c.life(now) > v.config.JWTMaxLife+Leeway:
		return ReasonLife
	case c.NotBefore != nil && !c.NotBefore.Before(c.ExpiresAt.Add(Leeway)): // it is never good
		return ReasonNotBefore
	case c.NotBefore != nil && now.Before(c.NotBefore.Add(-Leeway)):
		return ReasonSoon
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
	case errors.Is(err, errNoKey):
		return ReasonKey
	case errors.Is(err, jwt.ErrTokenUnverifiable): // keys.find does not take such a header
		return ReasonAlgorithm
	default:
		return ReasonSignature
	}
}
