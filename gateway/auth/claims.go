package auth

import (
	"encoding/json"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

const (
	maxPatterns     = 256 // in each of the lists
	maxPatternBytes = 256

	// maxUnixSeconds is the end of the year 9999. Far larger numbers overflow time.Time and come out in the past.
	maxUnixSeconds = 253402300799
)

// claims is what we read of a JWT's payload: Issuer, Subject, Audience, ExpiresAt, NotBefore, IssuedAt, and the patterns.
type claims struct {
	jwt.RegisteredClaims
	rights

	// flaw is the reason to refuse claims that are JSON but not what they must be. It is kept instead of returned, so
	// that nobody learns what we think of claims that are not signed.
	flaw string
}

// UnmarshalJSON reads through a map, since encoding/json fits struct fields in any case: "SUB" would be as good as
// "sub", and an issuer that passes on claims of a user's choice protects only the names it knows.
func (c *claims) UnmarshalJSON(data []byte) error {
	var raw map[string]json.RawMessage
	if err := json.Unmarshal(data, &raw); err != nil {
		return err
	}
	ok := read(raw, "iss", &c.Issuer) && read(raw, "aud", &c.Audience) && c.readPatterns(raw)
	var okExp, okNbf bool
	c.ExpiresAt, okExp = readDate(raw, "exp")
	c.NotBefore, okNbf = readDate(raw, "nbf")
	c.IssuedAt, _ = readDate(raw, "iat") // only SLUICE_JWT_MAX_LIFE asks for it, and an unreadable one is none

	switch {
	case !ok || !okExp || !okNbf:
		c.flaw = ReasonClaims
	case !read(raw, "sub", &c.Subject) || !validUser(c.Subject):
		c.flaw = ReasonSubject
	case c.ExpiresAt == nil:
		// A token without end could never be taken away from whoever got hold of it.
		c.flaw = ReasonNoExpiry
	}
	return nil
}

// readPatterns reads the claim sluice: {"subscribe": [...], "publish": [...], "manage": [...], "call": [...]}.
func (c *claims) readPatterns(raw map[string]json.RawMessage) bool {
	var lists map[string]json.RawMessage
	if !read(raw, "sluice", &lists) {
		return false
	}
	for name, list := range map[string]*[]string{"subscribe": &c.subscribe, "publish": &c.publish, "manage": &c.manage, "call": &c.call} {
		if !read(lists, name, list) || len(*list) > maxPatterns {
			return false
		}
		for _, pattern := range *list {
			if len(pattern) > maxPatternBytes {
				return false
			}
		}
	}
	return true
}

// read decodes one member into v, and leaves v alone where the member is absent or null.
func read(raw map[string]json.RawMessage, name string, v any) bool {
	member, ok := raw[name]
	return !ok || json.Unmarshal(member, v) == nil
}

// readDate decodes seconds since 1970, with or without a fraction (RFC 7519, section 2). No date: nil, true.
func readDate(raw map[string]json.RawMessage, name string) (*jwt.NumericDate, bool) {
	var seconds *float64
	if !read(raw, name, &seconds) {
		return nil, false
	}
	if seconds == nil {
		return nil, true
	}
	if *seconds < 0 || *seconds > maxUnixSeconds {
		return nil, false
	}
	return jwt.NewNumericDate(time.Unix(int64(*seconds), 0)), true
}

// life is from when a token was issued, at the latest now, to its end.
func (c *claims) life(now time.Time) time.Duration {
	if c.IssuedAt != nil && c.IssuedAt.Before(now) {
		now = c.IssuedAt.Time
	}
	return c.ExpiresAt.Sub(now)
}
