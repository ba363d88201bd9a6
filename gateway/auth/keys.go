package auth

import (
	"errors"

	"github.com/golang-jwt/jwt/v5"
)

// keys says which signatures are accepted. This is the only place that knows: public keys from a file (RS256, ES256,
// EdDSA) and key sets fetched from a URL (by the header's kid) belong here.
//
// Each key must be good for one algorithm only, or an attacker chooses how it is used: a public key that is accepted
// as an HMAC secret lets everybody sign. So find must look at the header's alg before it returns a key, and a public
// key must be returned as its Go type, never as bytes.
type keys struct {
	algorithms []string    // accepted values of the header's alg; "none" must never be among them
	find       jwt.Keyfunc // the key for a token with such an alg
}

// newKeys takes settings that were checked.
func newKeys(c Config) keys {
	secret := []byte(c.JWTSecret)
	return keys{
		algorithms: []string{jwt.SigningMethodHS256.Alg()},
		find: func(t *jwt.Token) (any, error) {
			// Header fields that must be understood (RFC 7515, section 4.1.11); we understand none, and the library
			// does not look.
			if _, ok := t.Header["crit"]; ok {
				return nil, errors.New("the header has crit")
			}
			return secret, nil
		},
	}
}
