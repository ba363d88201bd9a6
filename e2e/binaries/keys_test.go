package binaries_test

import (
	"crypto/ed25519"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// keyPair signs tokens with EdDSA.
type keyPair struct {
	public  ed25519.PublicKey
	private ed25519.PrivateKey
}

func newKeyPair(t testing.TB) keyPair {
	t.Helper()
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	return keyPair{public, private}
}

func (k keyPair) jwk(kid string) string {
	return fmt.Sprintf(`{"kty":"OKP","crv":"Ed25519","kid":%q,"x":%q}`, kid, base64.RawURLEncoding.EncodeToString(k.public))
}

func (k keyPair) sign(t testing.TB, kid string, claims msg) string {
	t.Helper()
	body := jwtPart(t, msg{"alg": "EdDSA", "kid": kid}) + "." + jwtPart(t, claims)
	return body + "." + base64.RawURLEncoding.EncodeToString(ed25519.Sign(k.private, []byte(body)))
}

// TestKeySet: a gateway is not ready before it has the keys, and sees a rotation.
func TestKeySet(t *testing.T) {
	t.Parallel()
	first, second := newKeyPair(t), newKeyPair(t)
	var set atomic.Pointer[string] // nil: the server is away
	var fetches atomic.Int32
	serve := func(keys ...string) {
		text := `{"keys":[` + strings.Join(keys, ",") + `]}`
		set.Store(&text)
	}
	issuer := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fetches.Add(1)
		if text := set.Load(); text != nil {
			_, _ = io.WriteString(w, *text)
			return
		}
		http.Error(w, "away", http.StatusServiceUnavailable)
	}))
	defer issuer.Close()
	c := sharedCluster(t)
	g := c.launchGateway(t, t, "SLUICE_AUTH=jwt", "SLUICE_JWKS_URL="+issuer.URL, "SLUICE_JWT_MAX_LIFE=2h")
	eventually(t, func() error {
		if status, said := g.get("/readyz"); status != http.StatusServiceUnavailable || !strings.Contains(said, "SLUICE_JWKS_URL") {
			return fmt.Errorf("without keys /readyz says %d %s", status, said)
		}
		return nil
	})
	serve(first.jwk("1"))
	g.waitReady(t)
	dial(t, g, withBearer(first.sign(t, "1", claims("anna", nil)))).settle()
	dial(t, g, withBearer(first.sign(t, "1", claims("anna", msg{"exp": time.Now().Add(3 * time.Hour).Unix()})))).mustClose(4501)

	serve(second.jwk("2"))
	began := time.Now()
	dial(t, g, withBearer(second.sign(t, "2", claims("anna", nil)))).settle() // it waits for the key
	dial(t, g, withBearer(first.sign(t, "1", claims("anna", nil)))).mustClose(4501)
	if d := time.Since(began); d > 20*time.Second {
		t.Errorf("the rotation took %v", d)
	}
	if n := fetches.Load(); n > int32(time.Since(began)/(5*time.Second))+4 {
		t.Errorf("%d fetches within %v", n, time.Since(began))
	}
}
