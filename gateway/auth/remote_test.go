package auth

import (
	"context"
	"crypto"
	"crypto/elliptic"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/MicahParks/jwkset"
	"github.com/golang-jwt/jwt/v5"
)

// jwk is a public key as a member of a key set; change replaces and removes (nil) members.
func jwk(t testing.TB, kid string, public any, change map[string]any) string {
	t.Helper()
	k, err := jwkset.NewJWKFromKey(public, jwkset.JWKOptions{Metadata: jwkset.JWKMetadataOptions{KID: kid}})
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(k.Marshal())
	if err != nil {
		t.Fatal(err)
	}
	if change == nil {
		return string(text)
	}
	var all map[string]any
	if err := json.Unmarshal(text, &all); err != nil {
		t.Fatal(err)
	}
	for name, value := range change {
		all[name] = value
	}
	if text, err = json.Marshal(all); err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func keySet(keys ...string) string { return `{"keys":[` + strings.Join(keys, ",") + `]}` }

// issuer serves a key set without a network.
type issuer struct {
	mu      sync.Mutex
	set     string // "": it is away
	fetches []time.Time
}

func (i *issuer) RoundTrip(r *http.Request) (*http.Response, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.fetches = append(i.fetches, time.Now())
	if i.set == "" {
		return nil, errors.New("connection refused")
	}
	return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(strings.NewReader(i.set)), Request: r}, nil
}

func (i *issuer) serve(set string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.set = set
}

func (i *issuer) fetched() []time.Time {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.fetches
}

// startRemote gives a Verifier with the keys of an issuer. It must be called in a bubble of synctest.
func startRemote(t *testing.T, i *issuer, c Config) (v *Verifier, failures *atomic.Int32, stop func()) {
	t.Helper()
	c.Mode, c.JWKSURL = ModeJWT, "https://issuer.test/jwks.json"
	v = newVerifier(t, c)
	v.keys.remote.client = &http.Client{Transport: i, Timeout: fetchTimeout}
	ctx, cancel := context.WithCancel(t.Context())
	failures = new(atomic.Int32)
	var running sync.WaitGroup
	running.Go(func() { _ = v.Run(ctx, slog.New(slog.DiscardHandler), func() { failures.Add(1) }) })
	return v, failures, func() {
		cancel()
		running.Wait()
	}
}

func clock() time.Time { return now }

// A new key is known within 10 s of its first token, and one that was taken back refused within 10 s.
func TestRotation(t *testing.T) {
	before, after := signer{jwt.SigningMethodES256, ecKey(t, elliptic.P256())}, signer{jwt.SigningMethodEdDSA, edKey(t)}
	sets := []string{
		keySet(jwk(t, "1", before.private.Public(), nil)),
		keySet(jwk(t, "1", before.private.Public(), nil), jwk(t, "2", after.private.Public(), nil)),
		keySet(jwk(t, "2", after.private.Public(), nil)),
	}
	synctest.Test(t, func(t *testing.T) {
		i := &issuer{set: sets[0]}
		v, failures, stop := startRemote(t, i, Config{})
		defer stop()
		synctest.Wait()
		if err := v.Ready(); err != nil {
			t.Fatal(err)
		}
		accepted := func(s signer, kid string) {
			t.Helper()
			if id, err := v.Await(t.Context(), s.token(t, kid), clock); err != nil || id.User != "alice" {
				t.Fatalf("the key %q: got %+v, %s", kid, id, ReasonOf(err))
			}
		}
		accepted(before, "1")
		accepted(before, "")
		time.Sleep(time.Second)
		i.serve(sets[1])
		asked := time.Now()
		accepted(after, "2") // it waits
		if d := time.Since(asked); d > 10*time.Second {
			t.Errorf("the new key was known after %v", d)
		}
		accepted(before, "1")
		time.Sleep(time.Second)
		i.serve(sets[2])
		time.Sleep(10 * time.Second)
		id, err := v.Verify(before.token(t, "1"), now)
		checkRefused(t, id, err, ReasonKey)
		id, err = v.Verify(before.token(t, ""), now)
		checkRefused(t, id, err, ReasonKey) // there is no key of its algorithm
		accepted(after, "2")

		i.serve("")
		time.Sleep(time.Hour)
		accepted(after, "2") // known keys go on while the server is away
		if failures.Load() == 0 || v.Ready() != nil {
			t.Errorf("%d failures counted, ready: %v", failures.Load(), v.Ready())
		}
		// Of a key that is not known nobody can tell.
		if _, err := v.Await(t.Context(), before.token(t, "3"), clock); !errors.Is(err, ErrLater) || ReasonOf(err) != ReasonNoKeys {
			t.Errorf("an unknown key while the server is away: %v (%s)", err, ReasonOf(err))
		}
		i.serve(keySet())
		time.Sleep(10 * time.Second)
		id, err = v.Verify(after.token(t, "2"), now)
		checkRefused(t, id, err, ReasonKey)
		if err := v.Ready(); err == nil || !strings.Contains(err.Error(), "no key") {
			t.Errorf("ready without any key: %v", err)
		}
		if _, err := v.Await(t.Context(), after.token(t, "2"), clock); !errors.Is(err, ErrLater) {
			t.Errorf("a token while there is no key is refused for good: %v", err)
		}
	})
}

// Tokens that name unknown keys cause no fetches, and only so many wait.
func TestUnknownKeyIDs(t *testing.T) {
	s := signer{jwt.SigningMethodEdDSA, edKey(t)}
	set := keySet(jwk(t, "1", s.private.Public(), nil))
	synctest.Test(t, func(t *testing.T) {
		i := &issuer{set: set}
		v, _, stop := startRemote(t, i, Config{})
		defer stop()
		synctest.Wait()
		var wait sync.WaitGroup
		var refused, later atomic.Int32
		for n := range 2 * maxAwaiting {
			token := s.token(t, fmt.Sprint("unknown ", n))
			wait.Go(func() {
				switch _, err := v.Await(t.Context(), token, clock); {
				case errors.Is(err, ErrRefused):
					refused.Add(1)
				case errors.Is(err, ErrLater):
					later.Add(1)
				}
			})
		}
		wait.Wait()
		if refused.Load() != maxAwaiting || later.Load() != maxAwaiting {
			t.Errorf("%d refused, %d told to try again, want %d of each", refused.Load(), later.Load(), maxAwaiting)
		}
		for range 100 {
			_, _ = v.Await(t.Context(), s.token(t, "unknown"), clock)
		}
		all := i.fetched()
		for n := 1; n < len(all); n++ {
			if d := all[n].Sub(all[n-1]); d < fetchEvery {
				t.Fatalf("a fetch %v after the one before", d)
			}
		}
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := v.Await(gone, s.token(t, "unknown"), clock); !errors.Is(err, ErrLater) {
			t.Errorf("a client that hung up: %v", err)
		}
	})
}

// A gateway that cannot have the keys at the start says so, and recovers.
func TestKeysAwayAtStart(t *testing.T) {
	s := signer{jwt.SigningMethodRS256, rsaKey()}
	set := keySet(jwk(t, "1", s.private.Public(), nil))
	synctest.Test(t, func(t *testing.T) {
		i := &issuer{}
		v, failures, stop := startRemote(t, i, Config{JWTSecret: testSecret})
		defer stop()
		synctest.Wait()
		if err := v.Ready(); err == nil || !strings.Contains(err.Error(), "SLUICE_JWKS_URL") || failures.Load() != 1 {
			t.Errorf("ready: %v, %d failures", err, failures.Load())
		}
		if _, err := v.Verify(sign(t, `{"sub":"alice","exp":1700000060}`), now); err != nil {
			t.Errorf("the secret does not count: %s", ReasonOf(err))
		}
		if _, err := v.Await(t.Context(), s.token(t, "1"), clock); !errors.Is(err, ErrLater) {
			t.Errorf("a token: %v", err)
		}
		i.serve(set)
		if id, err := v.Await(t.Context(), s.token(t, "1"), clock); err != nil || id.User != "alice" || v.Ready() != nil {
			t.Errorf("got %+v, %s, ready %v", id, ReasonOf(err), v.Ready())
		}
	})
}

func TestParseKeySet(t *testing.T) {
	ed, ec, rs := edKey(t).Public(), crypto.PublicKey(&ecKey(t, elliptic.P256()).PublicKey), rsaKey().Public()
	many := make([]string, maxKeys)
	for n := range many {
		many[n] = jwk(t, fmt.Sprint(n), ed, nil)
	}
	secret := `{"kty":"oct","kid":"s","k":"MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY"}`
	tests := []struct {
		name, text, want string // want: algorithms and key ids; "!": it is refused
	}{
		{"none", keySet(), ""},
		{"all kinds", keySet(jwk(t, "a", rs, nil), jwk(t, "b", ec, nil), jwk(t, "c", ed, nil)), "RS256 a ES256 b EdDSA c"},
		{"without a key id", keySet(jwk(t, "", ed, nil)), "EdDSA "},
		{"says its algorithm and use", keySet(jwk(t, "a", rs, map[string]any{"alg": "RS256", "use": "sig"})), "RS256 a"},
		{"another algorithm", keySet(jwk(t, "a", rs, map[string]any{"alg": "PS256"}), jwk(t, "b", ed, nil)), "EdDSA b"},
		{"HS256 of a public key", keySet(jwk(t, "a", rs, map[string]any{"alg": "HS256"})), ""},
		{"for encryption", keySet(jwk(t, "a", rs, map[string]any{"use": "enc"})), ""},
		{"a secret", keySet(secret, jwk(t, "b", ed, nil)), "EdDSA b"},
		{"another curve", keySet(jwk(t, "a", &ecKey(t, elliptic.P384()).PublicKey, nil), jwk(t, "b", ec, nil)), "ES256 b"},
		{"not on the curve", keySet(jwk(t, "a", ec, map[string]any{"x": "AAAA"}), jwk(t, "b", ed, nil)), "EdDSA b"},
		{"broken ones", keySet(`1`, `null`, `{}`, `{"kty":"RSA","kid":"r"}`, `{"kty":"RSA","n":"AQAB","e":"AQAB"}`, jwk(t, "b", ed, nil)), "EdDSA b"},
		{"a certificate's address is not asked", keySet(jwk(t, "a", ed, map[string]any{"x5u": "https://127.0.0.1:1/"})), "EdDSA a"},
		{"as many as may be", keySet(many...), "*"},
		{"too many", keySet(append(many, jwk(t, "more", ed, nil))...), "!"},
		{"no key set", `{}`, "!"},
		{"a list", `[]`, "!"},
		{"a page", `<html>`, "!"},
		{"keys null", `{"keys":null}`, "!"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			list, err := parseKeySet([]byte(tt.text))
			if (err != nil) != (tt.want == "!") {
				t.Fatalf("got %v", err)
			}
			got := make([]string, 0, len(list))
			for _, k := range list {
				got = append(got, k.alg+" "+k.id)
			}
			if all := strings.Join(got, " "); err == nil && tt.want != "*" && all != tt.want {
				t.Errorf("got %q, want %q", all, tt.want)
			}
		})
	}
}

// What a server may do wrong.
func TestFetch(t *testing.T) {
	set := keySet(jwk(t, "1", edKey(t).Public(), nil))
	stop := make(chan struct{})
	mux := http.NewServeMux()
	mux.HandleFunc("/good", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, set) })
	mux.Handle("/elsewhere", http.RedirectHandler("/good", http.StatusFound))
	mux.HandleFunc("/error", func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusInternalServerError)
		_, _ = io.WriteString(w, set)
	})
	mux.HandleFunc("/endless", func(w http.ResponseWriter, _ *http.Request) {
		for range maxKeySet/1024 + 1 {
			_, _ = io.WriteString(w, strings.Repeat(" ", 1024))
		}
	})
	mux.HandleFunc("/slow", func(w http.ResponseWriter, _ *http.Request) {
		_ = http.NewResponseController(w).Flush()
		<-stop
	})
	server := httptest.NewServer(mux)
	defer server.Close()
	defer close(stop)
	for path, says := range map[string]string{
		"/good": "", "/elsewhere": "302", "/error": "500", "/endless": "longer than", "/slow": "Timeout", "/none": "404",
	} {
		r := newRemote(strings.Replace(server.URL, "://", "://user:geheim@", 1) + path)
		if path == "/slow" {
			r.client.Timeout = 100 * time.Millisecond
		}
		list, err := r.get(t.Context())
		switch {
		case says == "" && (err != nil || len(list) != 1):
			t.Errorf("%s: got %d keys, %v", path, len(list), err)
		case says != "" && (err == nil || !strings.Contains(err.Error(), says)):
			t.Errorf("%s: got %v, want %q in it", path, err, says)
		case err != nil && strings.Contains(err.Error(), "geheim"):
			t.Errorf("%s: the error tells the password: %v", path, err)
		}
	}
	if _, err := newRemote("http://user:geheim@127.0.0.1:1/").get(t.Context()); err == nil || strings.Contains(err.Error(), "geheim") {
		t.Errorf("nobody listens: %v", err)
	}
}

func FuzzKeySet(f *testing.F) {
	f.Add(keySet(jwk(f, "a", rsaKey().Public(), nil), jwk(f, "b", edKey(f).Public(), nil)))
	f.Add(`{"keys":[{"kty":"EC","crv":"P-256","x":"AA","y":"AA"},{"kty":"oct","k":"AA"},null,1]}`)
	f.Add(`{"keys":[{"kty":"RSA","n":"AQAB","e":"AAAAAAAAAAAB","x5c":["MA=="]}]}`)
	f.Fuzz(func(t *testing.T, text string) {
		list, err := parseKeySet([]byte(text))
		if err != nil && len(list) > 0 || len(list) > maxKeys {
			t.Fatalf("%d keys, %v", len(list), err)
		}
		for _, k := range list {
			if again, err := newKey(k.id, k.value); err != nil || again.alg != k.alg || k.alg == algHS256 {
				t.Errorf("a key of %s: %v", k.alg, err)
			}
		}
	})
}
