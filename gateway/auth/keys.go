package auth

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/golang-jwt/jwt/v5"
)

const (
	// minRSABits is what RS256 asks for (RFC 7518, section 3.3); maxRSABits bounds the work of one signature.
	minRSABits, maxRSABits = 2048, 8192
	// maxKeys bounds the keys of a source. A token without a key id is tried with each that fits.
	maxKeys       = 32
	maxKeyFile    = 256 << 10 // bytes
	algHS256      = "HS256"
	algRS256      = "RS256"
	algES256      = "ES256"
	algEdDSA      = "EdDSA"
	publicKeyKind = "an RSA key of 2048 to 8192 bits, a P-256 key, or an Ed25519 key"
)

// key checks tokens. It is good for one algorithm only, which follows from its kind: else a token chooses how a key is
// used, and a public key that is taken for an HMAC secret lets everybody sign. So a public key is always its Go type,
// never bytes.
type key struct {
	id    string // a token that names another key id is not checked with it; "": it has none
	alg   string
	value any
}

// newKey tells the algorithm of a key; bytes are a secret.
func newKey(id string, value any) (key, error) {
	switch k := value.(type) {
	case []byte:
		return key{id, algHS256, k}, nil
	case *rsa.PublicKey:
		if n := k.N.BitLen(); n >= minRSABits && n <= maxRSABits {
			return key{id, algRS256, k}, nil
		}
	case *ecdsa.PublicKey:
		if k.Curve == elliptic.P256() {
			return key{id, algES256, k}, nil
		}
	case ed25519.PublicKey:
		return key{id, algEdDSA, k}, nil
	}
	return key{}, errors.New("the key is of a kind that checks no tokens here: want " + publicKeyKind)
}

// keys are all that check tokens.
type keys struct {
	fixed      []key    // the secret, and those of the key file
	remote     *remote  // those of SLUICE_JWKS_URL; nil: there is no such URL
	algorithms []string // that any of them may have; "none" must never be among them
}

// newKeys takes settings that were checked, and reads the key file.
func newKeys(c Config) (keys, error) {
	var k keys
	if c.Mode != ModeJWT {
		return k, nil
	}
	if c.JWTSecret != "" {
		k.fixed = append(k.fixed, key{alg: algHS256, value: []byte(c.JWTSecret)})
	}
	if c.JWTKeyFile != "" {
		some, err := readKeyFile(c.JWTKeyFile)
		if err != nil {
			return k, fmt.Errorf("SLUICE_JWT_KEY_FILE=%q: %w", c.JWTKeyFile, err)
		}
		k.fixed = append(k.fixed, some...)
	}
	for _, one := range k.fixed {
		k.algorithms = append(k.algorithms, one.alg)
	}
	if c.JWKSURL != "" {
		k.remote = newRemote(c.JWKSURL)
		k.algorithms = append(k.algorithms, algRS256, algES256, algEdDSA)
	}
	return k, nil
}

var (
	errCritical = errors.New("the header has crit")
	errNoKey    = errors.New("there is no such key")
)

// find is the key, or the keys, that a token may be signed with: of the algorithm that it says, and of its key id if
// it names one.
func (k *keys) find(t *jwt.Token) (any, error) {
	// Header fields that must be understood (RFC 7515, section 4.1.11); we understand none, and the library does not look.
	if _, ok := t.Header["crit"]; ok {
		return nil, errCritical
	}
	id, _ := t.Header["kid"].(string)
	var fit []jwt.VerificationKey
	for _, one := range slices.Concat(k.fixed, k.remote.known()) {
		if one.alg == t.Method.Alg() && (one.id == "" || id == "" || one.id == id) {
			fit = append(fit, one.value)
		}
	}
	if len(fit) == 0 {
		return nil, errNoKey
	}
	return jwt.VerificationKeySet{Keys: fit}, nil
}

// readKeyFile reads public keys in PEM. Its errors say what is wrong with the file.
func readKeyFile(name string) ([]key, error) {
	f, err := os.Open(name) //nolint:gosec // the operator names it
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	text, err := readAtMost(f, maxKeyFile)
	if err != nil {
		return nil, err
	}
	var list []key
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		public, err := publicKey(block)
		if err != nil {
			return nil, err
		}
		k, err := newKey("", public)
		if err != nil {
			return nil, err
		}
		list = append(list, k)
	}
	if len(list) == 0 || len(list) > maxKeys {
		return nil, fmt.Errorf("it holds %d public keys in PEM (-----BEGIN PUBLIC KEY-----): want 1 to %d", len(list), maxKeys)
	}
	return list, nil
}

func publicKey(block *pem.Block) (any, error) {
	switch {
	case block.Type == "PUBLIC KEY":
		return x509.ParsePKIXPublicKey(block.Bytes)
	case block.Type == "RSA PUBLIC KEY":
		return x509.ParsePKCS1PublicKey(block.Bytes)
	case strings.HasSuffix(block.Type, "PRIVATE KEY"):
		return nil, errors.New("it holds a private key: give gateways the public one only (openssl pkey -pubout)")
	}
	return nil, fmt.Errorf("it holds a block %q: want PUBLIC KEY", block.Type)
}
