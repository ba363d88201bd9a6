package auth

import (
	"slices"
	"strings"
	"testing"
)

var allReasons = []string{
	ReasonTooLong, ReasonMalformed, ReasonAlgorithm, ReasonSignature, ReasonClaims, ReasonSubject,
	ReasonKey, ReasonNoKeys, ReasonTicket, ReasonLife, ReasonNoExpiry, ReasonAudience, ReasonIssuer, ReasonNotBefore, ReasonSoon, ReasonExpired,
}

// checkVerified wants what holds of every token whatsoever.
func checkVerified(t *testing.T, id Identity, err error) {
	t.Helper()
	if err != nil {
		if !slices.Contains(allReasons, ReasonOf(err)) {
			t.Fatalf("unknown reason %q", ReasonOf(err))
		}
		checkRefused(t, id, err, ReasonOf(err))
		return
	}
	if !validUser(id.User) || !id.CanSubscribe("user:"+id.User) || !id.CanSubscribe("all") || id.CanSubscribe("user:"+id.User+"x") {
		t.Errorf("got %+v", id)
	}
	if !id.everything && !now.Before(id.Expires.Add(Leeway)) {
		t.Errorf("accepted after its end, %v", id.Expires)
	}
}

// Tokens of any form; without the key none may be accepted.
func FuzzVerify(f *testing.F) {
	good := sign(f, `{"sub":"alice","exp":1700000060}`)
	parts := strings.Split(good, ".")
	for _, token := range []string{"", "..", good + ".", "dev:alice", "dev:", parts[0] + "." + parts[1] + ".", "eyJhbGciOiJub25lIn0." + parts[1] + ".", "bnVsbA.bnVsbA."} {
		f.Add(token)
	}
	signed := newVerifier(f, Config{Mode: ModeJWT, JWTSecret: strings.ToUpper(testSecret)}) // not the key of any seed
	dev := newVerifier(f, Config{Mode: ModeDev})
	f.Fuzz(func(t *testing.T, token string) {
		id, err := signed.Verify(token, now)
		if err == nil {
			t.Fatalf("accepted %q without the key", token)
		}
		checkVerified(t, id, err)
		id, err = dev.Verify(token, now)
		checkVerified(t, id, err)
	})
}

// Well signed headers and payloads of any form: what comes after the signature.
func FuzzVerifySigned(f *testing.F) {
	for _, payload := range []string{
		`{"sub":"alice","exp":1700000060}`, `{"sub":"alice","exp":1e300,"nbf":-1}`, `{"SUB":"x","sub":null,"exp":"1"}`, `null`, `[]`, `{"exp":1.5e9,"sub":"\ud800"}`,
		`{"sub":"a","exp":1700000060,"aud":["x",null],"iss":"y","sluice":{"subscribe":["topic:*"],"publish":["*",""]}}`,
	} {
		f.Add(`{"alg":"HS256"}`, payload)
	}
	f.Add(`{"alg":"none"}`, `{}`)
	f.Add(`{"alg":"HS256","crit":["b64"],"b64":false}`, `{"sub":"alice","exp":1700000060}`)
	v := newVerifier(f, Config{Mode: ModeJWT, JWTSecret: testSecret})
	f.Fuzz(func(t *testing.T, header, payload string) {
		id, err := v.Verify(signRaw(t, testSecret, header, payload), now)
		checkVerified(t, id, err)
		if ReasonOf(err) == ReasonSignature {
			t.Error("well signed, but not accepted as such")
		}
	})
}
