package auth

import (
	"crypto/elliptic"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

var now = time.Unix(1_700_000_000, 0)

func newVerifier(t testing.TB, c Config) *Verifier {
	t.Helper()
	v, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// signRaw makes an HS256 token of any bytes.
func signRaw(t testing.TB, secret, header, payload string) string {
	t.Helper()
	text := base64.RawURLEncoding.EncodeToString([]byte(header)) + "." + base64.RawURLEncoding.EncodeToString([]byte(payload))
	signature, err := jwt.SigningMethodHS256.Sign(text, []byte(secret))
	if err != nil {
		t.Fatal(err)
	}
	return text + "." + base64.RawURLEncoding.EncodeToString(signature)
}

func sign(t testing.TB, payload string) string {
	t.Helper()
	return signRaw(t, testSecret, `{"alg":"HS256","typ":"JWT"}`, payload)
}

// checkRefused wants the error that belongs to reason, with nothing in it but the fixed text.
func checkRefused(t *testing.T, id Identity, err error, reason string) {
	t.Helper()
	want := ErrRefused
	switch reason {
	case ReasonExpired:
		want = ErrExpired
	case ReasonNoKeys, ReasonSoon:
		want = ErrLater
	}
	if !errors.Is(err, want) || err.Error() != want.Error() || ReasonOf(err) != reason {
		t.Errorf("got %v (%s), want %v (%s)", err, ReasonOf(err), want, reason)
	}
	if id.User != "" || id.CanSubscribe("all") || id.CanPublish("topic:x") || id.CanManage("x") {
		t.Errorf("refused, but gave %+v", id)
	}
}

func TestVerifyClaims(t *testing.T) {
	list := func(n, size int) string {
		one, _ := json.Marshal(strings.Repeat("p", size))
		return "[" + strings.TrimSuffix(strings.Repeat(string(one)+",", n), ",") + "]"
	}
	const exp = `"exp":1700000060`
	unset, both := Config{}, Config{JWTAudience: "sluice", JWTIssuer: "https://id.example"}
	tests := []struct {
		name    string
		config  Config
		payload string
		reason  string // "": accepted, for alice
	}{
		{"plain", unset, `{"sub":"alice",` + exp + `}`, ""},
		{"every character a user may have", unset, `{"sub":"Az09._-:@/+=",` + exp + `}`, ""},
		{"longest user", unset, `{"sub":"` + strings.Repeat("u", 128) + `",` + exp + `}`, ""},

		{"exp within the leeway", unset, `{"sub":"alice","exp":1699999996}`, ""},
		{"exp at the end of the leeway", unset, `{"sub":"alice","exp":1699999995}`, ReasonExpired},
		{"exp long ago", unset, `{"sub":"alice","exp":0}`, ReasonExpired},
		{"exp with a fraction", unset, `{"sub":"alice","exp":1700000060.75}`, ""},
		{"exp last", unset, `{"sub":"alice","exp":253402300799}`, ""},
		{"exp beyond time", unset, `{"sub":"alice","exp":1e300}`, ReasonClaims},
		{"exp beyond float", unset, `{"sub":"alice","exp":1e999}`, ReasonClaims},
		{"exp negative", unset, `{"sub":"alice","exp":-1}`, ReasonClaims},
		{"exp as text", unset, `{"sub":"alice","exp":"1700000060"}`, ReasonClaims},
		{"no exp", unset, `{"sub":"alice"}`, ReasonNoExpiry},
		{"exp null", unset, `{"sub":"alice","exp":null}`, ReasonNoExpiry},
		{"EXP is not exp", unset, `{"sub":"alice","EXP":1700000060}`, ReasonNoExpiry},

		{"nbf past", unset, `{"sub":"alice","nbf":1700000000,` + exp + `}`, ""},
		{"nbf within the leeway", unset, `{"sub":"alice","nbf":1700000005,` + exp + `}`, ""},
		{"nbf beyond the leeway", unset, `{"sub":"alice","nbf":1700000006,` + exp + `}`, ReasonSoon},
		{"nbf in a minute", unset, `{"sub":"alice","nbf":1700000064,` + exp + `}`, ReasonSoon},
		{"nbf at its end", unset, `{"sub":"alice","nbf":1700000065,` + exp + `}`, ReasonNotBefore},
		{"nbf far away", unset, `{"sub":"alice","nbf":1700000066,"exp":1700000099}`, ReasonNotBefore},
		{"nbf soon and expired", unset, `{"sub":"alice","nbf":1700000006,"exp":1}`, ReasonNotBefore},
		{"nbf soon and other audience", both, `{"sub":"alice","nbf":1700000006,"aud":"x","iss":"https://id.example",` + exp + `}`, ReasonAudience},
		{"nbf beyond time", unset, `{"sub":"alice","nbf":1e300,` + exp + `}`, ReasonClaims},
		{"iat is not looked at", unset, `{"sub":"alice","iat":1800000000,` + exp + `}`, ""},

		{"no sub", unset, `{` + exp + `}`, ReasonSubject},
		{"sub empty", unset, `{"sub":"",` + exp + `}`, ReasonSubject},
		{"sub null", unset, `{"sub":null,` + exp + `}`, ReasonSubject},
		{"sub a number", unset, `{"sub":7,` + exp + `}`, ReasonSubject},
		{"sub with a space", unset, `{"sub":"alice bob",` + exp + `}`, ReasonSubject},
		{"sub with a star", unset, `{"sub":"*",` + exp + `}`, ReasonSubject},
		{"sub too long", unset, `{"sub":"` + strings.Repeat("u", 129) + `",` + exp + `}`, ReasonSubject},
		{"SUB does not replace sub", unset, `{"sub":"alice","SUB":"bob","Sub":"bob",` + exp + `}`, ""},

		{"audience and issuer", both, `{"sub":"alice","aud":"sluice","iss":"https://id.example",` + exp + `}`, ""},
		{"audience in a list", both, `{"sub":"alice","aud":["a","sluice"],"iss":"https://id.example",` + exp + `}`, ""},
		{"no audience", both, `{"sub":"alice","iss":"https://id.example",` + exp + `}`, ReasonAudience},
		{"audience empty", both, `{"sub":"alice","aud":[],"iss":"https://id.example",` + exp + `}`, ReasonAudience},
		{"other audience", both, `{"sub":"alice","aud":["sluice2","Sluice"],"iss":"https://id.example",` + exp + `}`, ReasonAudience},
		{"audience a number", both, `{"sub":"alice","aud":[1],"iss":"https://id.example",` + exp + `}`, ReasonClaims},
		{"no issuer", both, `{"sub":"alice","aud":"sluice",` + exp + `}`, ReasonIssuer},
		{"other issuer", both, `{"sub":"alice","aud":"sluice","iss":"https://id.example/",` + exp + `}`, ReasonIssuer},
		{"issuer a number", both, `{"sub":"alice","aud":"sluice","iss":1,` + exp + `}`, ReasonClaims},
		{"audience and issuer not asked for", unset, `{"sub":"alice","aud":"x","iss":"y",` + exp + `}`, ""},

		// A client that is told "expired" comes back, so nothing else may be wrong.
		{"expired and other audience", both, `{"sub":"alice","aud":"x","iss":"https://id.example","exp":1}`, ReasonAudience},
		{"expired and other issuer", both, `{"sub":"alice","aud":"sluice","iss":"x","exp":1}`, ReasonIssuer},
		{"expired and bad sub", unset, `{"sub":"","exp":1}`, ReasonSubject},
		{"expired and bad claim", unset, `{"sub":"alice","sluice":1,"exp":1}`, ReasonClaims},

		{"claim null", unset, `{"sub":"alice","sluice":null,` + exp + `}`, ""},
		{"claim empty", unset, `{"sub":"alice","sluice":{},` + exp + `}`, ""},
		{"claim with null lists", unset, `{"sub":"alice","sluice":{"subscribe":null,"publish":null},` + exp + `}`, ""},
		{"claim with unknown members", unset, `{"sub":"alice","sluice":{"rate":5},` + exp + `}`, ""},
		{"claim a list", unset, `{"sub":"alice","sluice":["*"],` + exp + `}`, ReasonClaims},
		{"claim a text", unset, `{"sub":"alice","sluice":"*",` + exp + `}`, ReasonClaims},
		{"subscribe a text", unset, `{"sub":"alice","sluice":{"subscribe":"*"},` + exp + `}`, ReasonClaims},
		{"publish of numbers", unset, `{"sub":"alice","sluice":{"publish":[1]},` + exp + `}`, ReasonClaims},
		{"most patterns", unset, `{"sub":"alice","sluice":{"subscribe":` + list(256, 5) + `,"publish":` + list(256, 5) + `},` + exp + `}`, ""},
		{"too many to subscribe", unset, `{"sub":"alice","sluice":{"subscribe":` + list(257, 5) + `},` + exp + `}`, ReasonClaims},
		{"too many to manage", unset, `{"sub":"alice","sluice":{"manage":` + list(257, 5) + `},` + exp + `}`, ReasonClaims},
		{"too many to publish", unset, `{"sub":"alice","sluice":{"publish":` + list(257, 5) + `},` + exp + `}`, ReasonClaims},
		{"longest pattern", unset, `{"sub":"alice","sluice":{"subscribe":` + list(1, 256) + `},` + exp + `}`, ""},
		{"pattern too long", unset, `{"sub":"alice","sluice":{"publish":` + list(1, 257) + `},` + exp + `}`, ReasonClaims},

		{"payload null", unset, `null`, ReasonNoExpiry},
		{"payload a list", unset, `[]`, ReasonMalformed},
		{"payload no JSON", unset, `alice`, ReasonMalformed},
		{"payload empty", unset, ``, ReasonMalformed},
		{"payload twice", unset, `{"sub":"alice",` + exp + `}{}`, ReasonMalformed},
		{"payload deep", unset, strings.Repeat("[", 5000), ReasonMalformed},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.config.Mode, tt.config.JWTSecret = ModeJWT, testSecret
			id, err := newVerifier(t, tt.config).Verify(sign(t, tt.payload), now)
			if tt.reason != "" {
				checkRefused(t, id, err, tt.reason)
				return
			}
			if err != nil {
				t.Fatalf("refused: %s", ReasonOf(err))
			}
			var want map[string]any
			if err := json.Unmarshal([]byte(tt.payload), &want); err != nil {
				t.Fatal(err)
			}
			if id.User != want["sub"] || id.Expires.Unix() != int64(want["exp"].(float64)) {
				t.Errorf("got %q until %v, want %v until %v", id.User, id.Expires.Unix(), want["sub"], want["exp"])
			}
		})
	}
}

// From the claim in a token to what may be done.
func TestVerifyGrants(t *testing.T) {
	v := newVerifier(t, Config{Mode: ModeJWT, JWTSecret: testSecret})
	claim := func(s string) string { return `{"sub":"alice","exp":1700000060` + s + `}` }
	tests := []struct {
		name, payload, target string
		subscribe, publish    bool
	}{
		{"no claim, topic", claim(``), "topic:a", false, false},
		{"no claim, own", claim(``), "user:alice", true, false},
		{"no claim, all", claim(``), "all", true, false},
		{"subscribe only", claim(`,"sluice":{"subscribe":["topic:*"]}`), "topic:a", true, false},
		{"publish only", claim(`,"sluice":{"publish":["topic:*"]}`), "topic:a", false, true},
		{"claim keeps own", claim(`,"sluice":{"publish":["topic:*"]}`), "user:alice", true, false},
		{"others stay closed", claim(`,"sluice":{"subscribe":["*"],"publish":["*"]}`), "user:bob", false, true},
		{"Sluice is not sluice", claim(`,"Sluice":{"subscribe":["*"],"publish":["*"]}`), "topic:a", false, false},
		{"Subscribe is not subscribe", claim(`,"sluice":{"Subscribe":["*"],"PUBLISH":["*"]}`), "topic:a", false, false},
		{"dev's rights cannot be claimed", claim(`,"everything":true,"sluice":{"everything":true}`), "topic:a", false, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			id, err := v.Verify(sign(t, tt.payload), now)
			if err != nil {
				t.Fatal(ReasonOf(err))
			}
			if id.CanSubscribe(tt.target) != tt.subscribe || id.CanPublish(tt.target) != tt.publish {
				t.Errorf("%s: subscribe %t, publish %t", tt.target, id.CanSubscribe(tt.target), id.CanPublish(tt.target))
			}
		})
	}
}

func TestVerifySignature(t *testing.T) {
	const payload, header = `{"sub":"alice","exp":1700000060}`, `{"alg":"HS256","typ":"JWT"}`
	good := sign(t, payload)
	parts := strings.Split(good, ".")
	encode := func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }
	withHeader := func(h string) string { return signRaw(t, testSecret, h, payload) }
	flipped := []byte(good)
	flipped[len(flipped)-5] ^= 1
	tests := []struct {
		name, token, reason string
	}{
		{"good", good, ""},
		{"empty", "", ReasonMalformed},
		{"one part", parts[0], ReasonMalformed},
		{"two parts", parts[0] + "." + parts[1], ReasonMalformed},
		{"four parts", good + ".", ReasonMalformed},
		{"five parts, as encrypted tokens", good + "..", ReasonMalformed},
		{"padding", good + "=", ReasonMalformed},
		{"header no base64", "!." + parts[1] + "." + parts[2], ReasonMalformed},
		{"header no JSON", withHeader("x"), ReasonMalformed},
		{"signature bits left over", good[:len(good)-1] + string(good[len(good)-1]+1), ReasonMalformed},
		{"a dev token", "dev:alice", ReasonMalformed},
		{"longest", strings.Repeat("x", MaxTokenBytes), ReasonMalformed},
		{"too long", strings.Repeat("x", MaxTokenBytes+1), ReasonTooLong},
		{"good but too long", sign(t, `{"sub":"alice","exp":1700000060,"x":"`+strings.Repeat("x", MaxTokenBytes)+`"}`), ReasonTooLong},

		{"other key", signRaw(t, strings.ToUpper(testSecret), header, payload), ReasonSignature},
		{"empty key", signRaw(t, "", header, payload), ReasonSignature},
		{"signature changed", string(flipped), ReasonSignature},
		{"signature cut", good[:len(good)-3], ReasonSignature},
		{"signature removed", parts[0] + "." + parts[1] + ".", ReasonSignature},
		{"payload changed", parts[0] + "." + encode(`{"sub":"bob","exp":1700000060}`) + "." + parts[2], ReasonSignature},
		{"header changed", encode(`{"alg":"HS256"}`) + "." + parts[1] + "." + parts[2], ReasonSignature},
		{"unsigned and bad in other ways: only that is said", parts[0] + "." + encode(`{"sub":1}`) + "." + parts[2], ReasonSignature},
		{"unsigned and expired: not told to come back", parts[0] + "." + encode(`{"sub":"bob","exp":1}`) + "." + parts[2], ReasonSignature},

		{"alg none", encode(`{"alg":"none"}`) + "." + parts[1] + ".", ReasonAlgorithm},
		{"alg none, signed", withHeader(`{"alg":"none"}`), ReasonAlgorithm},
		{"alg None", encode(`{"alg":"None"}`) + "." + parts[1] + ".", ReasonAlgorithm},
		{"alg empty", withHeader(`{"alg":""}`), ReasonAlgorithm},
		{"alg missing", withHeader(`{}`), ReasonAlgorithm},
		{"alg a list", withHeader(`{"alg":["HS256"]}`), ReasonAlgorithm},
		{"alg in other case", withHeader(`{"alg":"hs256"}`), ReasonAlgorithm},
		{"ALG is not alg", withHeader(`{"ALG":"HS256"}`), ReasonAlgorithm},
		{"header null", withHeader(`null`), ReasonAlgorithm},
		{"alg RS256 over an HS256 signature", withHeader(`{"alg":"RS256"}`), ReasonAlgorithm},
		{"a critical extension", withHeader(`{"alg":"HS256","crit":["exp"],"exp":1}`), ReasonAlgorithm},
		{"our key and a key id", withHeader(`{"alg":"HS256","kid":"1"}`), ""},
	}
	v := newVerifier(t, Config{Mode: ModeJWT, JWTSecret: testSecret})
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			id, err := v.Verify(tt.token, now)
			if tt.reason != "" {
				checkRefused(t, id, err, tt.reason)
			} else if err != nil || id.User != "alice" {
				t.Errorf("got %+v, %v (%s)", id, err, ReasonOf(err))
			}
		})
	}
}

// Well signed tokens of every other algorithm, also with our own secret.
func TestVerifyRefusesOtherAlgorithms(t *testing.T) {
	tests := []struct {
		method jwt.SigningMethod
		key    any
	}{
		{jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType},
		{jwt.SigningMethodHS384, []byte(testSecret)},
		{jwt.SigningMethodHS512, []byte(testSecret)},
		{jwt.SigningMethodRS256, rsaKey()},
		{jwt.SigningMethodPS256, rsaKey()},
		{jwt.SigningMethodES256, ecKey(t, elliptic.P256())},
		{jwt.SigningMethodEdDSA, edKey(t)},
	}
	// The classic confusion: the secret is a public key's text, so that whoever knows the key could sign with it.
	public := publicPEM(t, rsaKey().Public())
	for _, secret := range []string{testSecret, public} {
		v := newVerifier(t, Config{Mode: ModeJWT, JWTSecret: secret})
		for _, tt := range tests {
			t.Run(fmt.Sprintf("%s/%d", tt.method.Alg(), len(secret)), func(t *testing.T) {
				token, err := jwt.NewWithClaims(tt.method, jwt.MapClaims{"sub": "alice", "exp": now.Unix() + 60}).SignedString(tt.key)
				if err != nil {
					t.Fatal(err)
				}
				id, err := v.Verify(token, now)
				checkRefused(t, id, err, ReasonAlgorithm)
			})
		}
	}
}

func TestVerifyDev(t *testing.T) {
	v := newVerifier(t, Config{Mode: ModeDev, JWTSecret: testSecret})
	for token, reason := range map[string]string{
		"dev:alice":                          "",
		"dev:a:b@c/d":                        "",
		"dev:":                               ReasonSubject,
		"dev:a b":                            ReasonSubject,
		"dev:" + strings.Repeat("u", 129):    ReasonSubject,
		"":                                   ReasonMalformed,
		"alice":                              ReasonMalformed,
		"DEV:alice":                          ReasonMalformed,
		" dev:alice":                         ReasonMalformed,
		strings.Repeat("x", MaxTokenBytes+1): ReasonTooLong,
		sign(t, `{"sub":"alice","exp":1700000060}`): ReasonMalformed,
	} {
		id, err := v.Verify(token, now)
		if reason != "" {
			checkRefused(t, id, err, reason)
			continue
		}
		if err != nil || "dev:"+id.User != token || !id.Expires.IsZero() {
			t.Errorf("%q: got %+v, %v", token, id, err)
		}
		if !id.CanSubscribe("topic:x") || !id.CanPublish("user:bob") || id.CanSubscribe("user:bob") {
			t.Errorf("%q: wrong rights", token)
		}
	}
}

func TestErrors(t *testing.T) {
	for _, err := range []error{ErrExpired, ErrRefused, ErrLater} {
		if len(err.Error()) > 123 {
			t.Errorf("%q does not fit into a close frame", err)
		}
	}
	if got := ReasonOf(fmt.Errorf("connection 7: %w", &Error{ReasonIssuer})); got != ReasonIssuer {
		t.Errorf("reason of a wrapped error: %q", got)
	}
	if ReasonOf(nil) != "" || ReasonOf(errors.New("x")) != "" {
		t.Error("a reason of no error of ours")
	}
}

func BenchmarkVerify(b *testing.B) {
	v := newVerifier(b, Config{Mode: ModeJWT, JWTSecret: testSecret})
	token := sign(b, `{"sub":"alice","exp":1700000060,"sluice":{"subscribe":["topic:room-*"],"publish":["topic:room-1"]}}`)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := v.Verify(token, now); err != nil {
			b.Fatal(err)
		}
	}
}
