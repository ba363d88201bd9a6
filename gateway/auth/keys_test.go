package auth

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// signer is a key pair, and the only algorithm that it may be used with.
type signer struct {
	method  jwt.SigningMethod
	private crypto.Signer
}

func ecKey(t testing.TB, curve elliptic.Curve) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func edKey(t testing.TB) ed25519.PrivateKey {
	t.Helper()
	_, k, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// rsaKey is made once: it takes long.
var rsaKey = sync.OnceValue(func() *rsa.PrivateKey {
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return k
})

func signers(t testing.TB) map[string]signer {
	return map[string]signer{
		"RS256": {jwt.SigningMethodRS256, rsaKey()},
		"ES256": {jwt.SigningMethodES256, ecKey(t, elliptic.P256())},
		"EdDSA": {jwt.SigningMethodEdDSA, edKey(t)},
	}
}

// token is one of alice's that ends a minute after now; kid "" leaves the key id out.
func (s signer) token(t testing.TB, kid string) string {
	t.Helper()
	return signWith(t, s.method, s.private, kid)
}

func signWith(t testing.TB, method jwt.SigningMethod, private any, kid string) string {
	t.Helper()
	token := jwt.NewWithClaims(method, jwt.MapClaims{"sub": "alice", "exp": now.Unix() + 60})
	if kid != "" {
		token.Header["kid"] = kid
	}
	text, err := token.SignedString(private)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func publicPEM(t testing.TB, public any) string {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

func keyFile(t testing.TB, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "keys.pem")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// A public key checks tokens of its own algorithm, whatever a token says, and no others.
func TestKeyFile(t *testing.T) {
	all := signers(t)
	for alg, own := range all {
		public := publicPEM(t, own.private.Public())
		v := newVerifier(t, Config{Mode: ModeJWT, JWTKeyFile: keyFile(t, public)})
		for _, kid := range []string{"", "any"} {
			if id, err := v.Verify(own.token(t, kid), now); err != nil || id.User != "alice" {
				t.Errorf("%s with the key id %q: got %+v, %s", alg, kid, id, ReasonOf(err))
			}
		}
		for other, s := range all {
			if other != alg {
				id, err := v.Verify(s.token(t, ""), now)
				checkRefused(t, id, err, ReasonAlgorithm)
			}
		}
		// The classic confusion: whoever knows the public key signs with its text.
		id, err := v.Verify(signWith(t, jwt.SigningMethodHS256, []byte(public), ""), now)
		checkRefused(t, id, err, ReasonAlgorithm)
		id, err = v.Verify(signWith(t, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, ""), now)
		checkRefused(t, id, err, ReasonAlgorithm)
	}
	v := newVerifier(t, Config{Mode: ModeJWT, JWTKeyFile: keyFile(t, publicPEM(t, rsaKey().Public()))})
	for _, method := range []jwt.SigningMethod{jwt.SigningMethodRS384, jwt.SigningMethodRS512, jwt.SigningMethodPS256} {
		id, err := v.Verify(signWith(t, method, rsaKey(), ""), now)
		checkRefused(t, id, err, ReasonAlgorithm)
	}
	other := signer{jwt.SigningMethodES256, ecKey(t, elliptic.P256())}
	v = newVerifier(t, Config{Mode: ModeJWT, JWTKeyFile: keyFile(t, publicPEM(t, all["ES256"].private.Public()))})
	id, err := v.Verify(other.token(t, ""), now)
	checkRefused(t, id, err, ReasonSignature)
}

// Several keys in the file, of one kind or more, and a secret beside them.
func TestSeveralKeys(t *testing.T) {
	all := signers(t)
	all["another"] = signer{jwt.SigningMethodES256, ecKey(t, elliptic.P256())}
	text := "old keys\n"
	for _, s := range all {
		text += publicPEM(t, s.private.Public())
	}
	text += string(pem.EncodeToMemory(&pem.Block{Type: "RSA PUBLIC KEY", Bytes: x509.MarshalPKCS1PublicKey(&rsaKey().PublicKey)}))
	v := newVerifier(t, Config{Mode: ModeJWT, JWTKeyFile: keyFile(t, text), JWTSecret: testSecret})
	tokens := []string{sign(t, `{"sub":"alice","exp":1700000060}`)}
	for _, s := range all {
		tokens = append(tokens, s.token(t, ""))
	}
	for _, token := range tokens {
		if id, err := v.Verify(token, now); err != nil || id.User != "alice" {
			t.Errorf("got %+v, %s", id, ReasonOf(err))
		}
	}
	id, err := v.Verify(signRaw(t, strings.ToUpper(testSecret), `{"alg":"HS256"}`, `{"sub":"alice","exp":1700000060}`), now)
	checkRefused(t, id, err, ReasonSignature)
}

func TestKeyFileRefused(t *testing.T) {
	private, err := x509.MarshalPKCS8PrivateKey(edKey(t))
	if err != nil {
		t.Fatal(err)
	}
	block := func(kind string, der []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	}
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	good := publicPEM(t, edKey(t).Public())
	for name, c := range map[string]struct{ text, says string }{
		"empty":               {"", "0 public keys"},
		"no PEM":              {"ssh-ed25519 AAAA", "0 public keys"},
		"a private key":       {block("PRIVATE KEY", private), "private key"},
		"one after a good":    {good + block("EC PRIVATE KEY", private), "private key"},
		"a certificate":       {block("CERTIFICATE", private), "CERTIFICATE"},
		"no key in it":        {block("PUBLIC KEY", []byte("x")), "asn1"},
		"RSA of 1024 bits":    {publicPEM(t, small.Public()), "2048"},
		"another curve":       {publicPEM(t, ecKey(t, elliptic.P384()).Public()), "P-256"},
		"too many":            {strings.Repeat(good, maxKeys+1), "33 public keys"},
		"longer than allowed": {good + strings.Repeat("x", maxKeyFile), "longer than"},
	} {
		file := keyFile(t, c.text)
		_, err := New(Config{Mode: ModeJWT, JWTKeyFile: file})
		if err == nil {
			t.Errorf("%s: accepted", name)
			continue
		}
		for _, part := range []string{"SLUICE_JWT_KEY_FILE", file, c.says} {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%s: %q does not say %q", name, err, part)
			}
		}
	}
	if _, err := New(Config{Mode: ModeJWT, JWTKeyFile: "/does/not/exist"}); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("a file that is not there: %v", err)
	}
}

func TestMaxLife(t *testing.T) {
	v := newVerifier(t, Config{Mode: ModeJWT, JWTSecret: testSecret, JWTMaxLife: time.Hour})
	for payload, reason := range map[string]string{
		`{"sub":"alice","exp":1700003600}`:                          "",
		`{"sub":"alice","exp":1700003605}`:                          "", // the leeway
		`{"sub":"alice","exp":1700003606}`:                          ReasonLife,
		`{"sub":"alice","exp":253402300799}`:                        ReasonLife,
		`{"sub":"alice","iat":1699999000,"exp":1700002600}`:         "",
		`{"sub":"alice","iat":1699999000,"exp":1700003600}`:         ReasonLife,
		`{"sub":"alice","iat":1800000000,"exp":1700003600}`:         "", // an iat to come proves nothing
		`{"sub":"alice","iat":1800000000,"exp":1800000060}`:         ReasonLife,
		`{"sub":"alice","iat":"x","exp":1700003600}`:                "",
		`{"sub":"alice","iat":1500000000,"exp":1600000000}`:         ReasonLife,
		`{"sub":"alice","iat":1699999000,"exp":1699999060}`:         ReasonExpired,
		`{"sub":"alice","iat":1699999000,"exp":1700002600,"nbf":1}`: "",
	} {
		id, err := v.Verify(sign(t, payload), now)
		if reason != "" {
			checkRefused(t, id, err, reason)
		} else if err != nil {
			t.Errorf("%s: refused: %s", payload, ReasonOf(err))
		}
	}
}
