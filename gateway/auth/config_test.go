package auth

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/caarlos0/env/v11"
)

const testSecret = "0123456789abcdef0123456789abcdef" // 32 bytes, the least that is taken

func TestConfigCheck(t *testing.T) {
	jwtMode := Config{Mode: ModeJWT, JWTSecret: testSecret}
	dev := Config{Mode: ModeDev}
	tests := []struct {
		name   string
		config Config
		addr   string
		want   []string // parts of the error; none: no error
	}{
		{"jwt", jwtMode, ":8080", nil},
		{"jwt without keys", Config{Mode: ModeJWT}, ":8080", []string{"SLUICE_JWT_SECRET", "not set", "32 bytes", "SLUICE_JWT_KEY_FILE", "SLUICE_JWKS_URL"}},
		{"jwt with a short secret", Config{Mode: ModeJWT, JWTSecret: testSecret[1:]}, ":8080", []string{"SLUICE_JWT_SECRET", "31 bytes", "at least 32", "openssl rand"}},
		{"a short secret beside a key file", Config{Mode: ModeJWT, JWTSecret: "short", JWTKeyFile: "f"}, ":8080", []string{"SLUICE_JWT_SECRET", "5 bytes"}},
		{"dev with a short secret", Config{Mode: ModeDev, JWTSecret: "short"}, "localhost:1", nil},
		{"jwt with a key file", Config{Mode: ModeJWT, JWTKeyFile: "f"}, ":8080", nil},
		{"jwt with a key set", Config{Mode: ModeJWT, JWKSURL: "https://id.example/jwks"}, ":8080", nil},
		{"a key set at no address", Config{Mode: ModeJWT, JWKSURL: "id.example/jwks"}, ":8080", []string{"SLUICE_JWKS_URL", "https://"}},
		{"a key set in a file", Config{Mode: ModeJWT, JWKSURL: "file:///etc/keys"}, ":8080", []string{"SLUICE_JWKS_URL", "https://"}},
		{"no mode", Config{JWTSecret: testSecret}, ":8080", []string{`SLUICE_AUTH=""`}},
		{"unknown mode", Config{Mode: "JWT", JWTSecret: testSecret}, ":8080", []string{`SLUICE_AUTH="JWT"`}},
		{"unknown mode on loopback", Config{Mode: "none"}, "127.0.0.1:1", []string{`SLUICE_AUTH="none"`}},

		{"dev on 127.0.0.1", dev, "127.0.0.1:8080", nil},
		{"dev on 127.9.9.9", dev, "127.9.9.9:8080", nil},
		{"dev on localhost", dev, "localhost:8080", nil},
		{"dev on LOCALHOST", dev, "LOCALHOST:0", nil},
		{"dev on ::1", dev, "[::1]:8080", nil},
		{"dev on all interfaces", dev, ":8080", []string{"SLUICE_AUTH=dev", `SLUICE_ADDR=":8080"`, "SLUICE_AUTH_DEV_ANYWHERE=1"}},
		{"dev on 0.0.0.0", dev, "0.0.0.0:8080", []string{"SLUICE_AUTH_DEV_ANYWHERE"}},
		{"dev on ::", dev, "[::]:8080", []string{"SLUICE_AUTH_DEV_ANYWHERE"}},
		{"dev on a private address", dev, "10.0.0.1:8080", []string{"SLUICE_AUTH_DEV_ANYWHERE"}},
		{"dev on a name that looks like loopback", dev, "127.0.0.1.example.com:80", []string{"SLUICE_AUTH_DEV_ANYWHERE"}},
		{"dev on localhost of a domain", dev, "localhost.example.com:80", []string{"SLUICE_AUTH_DEV_ANYWHERE"}},
		{"dev on no address", dev, "", []string{"SLUICE_AUTH_DEV_ANYWHERE"}},
		{"dev on an address without port", dev, "127.0.0.1", []string{"SLUICE_AUTH_DEV_ANYWHERE"}},
		{"dev anywhere", Config{Mode: ModeDev, DevAnywhere: true}, ":8080", nil},

		{"malformed origin", Config{Mode: ModeDev, AllowedOrigins: []string{"https://ok.example", "app.example.com"}}, "localhost:1",
			[]string{"SLUICE_ALLOWED_ORIGINS", `"app.example.com"`, "https://app.example.com", "* for any"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := tt.config.Check(tt.addr)
			checkSentence(t, err, tt.want)
		})
	}
}

// checkSentence wants an error of one line that holds all parts and not the secret; no parts: no error.
func checkSentence(t *testing.T, err error, parts []string) {
	t.Helper()
	if len(parts) == 0 {
		if err != nil {
			t.Errorf("refused: %v", err)
		}
		return
	}
	if err == nil {
		t.Fatal("accepted")
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q does not say %q", err, part)
		}
	}
	if strings.Contains(err.Error(), testSecret[1:]) || strings.Contains(err.Error(), "\n") {
		t.Errorf("%q holds the secret, or more than one line", err)
	}
}

// A Verifier must not come to be from settings that nobody checked.
func TestNewRefusesBadConfig(t *testing.T) {
	for _, c := range []Config{
		{},
		{Mode: ModeJWT},
		{Mode: ModeDev, AllowedOrigins: []string{"nonsense"}},
	} {
		if v, err := New(c); err == nil || v != nil {
			t.Errorf("New(%+v) = %v, %v", c, v, err)
		}
	}
}

func TestConfigFromEnvironment(t *testing.T) {
	tests := []struct {
		name        string
		environment map[string]string
		want        Config
	}{
		{"defaults", nil, Config{Mode: ModeJWT}},
		{"all", map[string]string{
			"SLUICE_AUTH": "dev", "SLUICE_AUTH_DEV_ANYWHERE": "1", "SLUICE_JWT_SECRET": testSecret, "SLUICE_JWT_AUDIENCE": "sluice",
			"SLUICE_JWT_KEY_FILE": "/keys.pem", "SLUICE_JWKS_URL": "https://id.example/jwks", "SLUICE_JWT_MAX_LIFE": "1h",
			"SLUICE_JWT_ISSUER": "https://id.example", "SLUICE_ALLOWED_ORIGINS": "https://a.example,https://b.example",
		}, Config{ModeDev, true, testSecret, "/keys.pem", "https://id.example/jwks", time.Hour, "sluice", "https://id.example", []string{"https://a.example", "https://b.example"}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := env.ParseAsWithOptions[Config](env.Options{Environment: tt.environment})
			if err != nil || !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got %+v, %v; want %+v", got, err, tt.want)
			}
		})
	}
}

// The list of settings that -h prints is made of these tags.
func TestConfigTags(t *testing.T) {
	for field := range reflect.TypeFor[Config]().Fields() {
		if field.Tag.Get("env") == "" || field.Tag.Get("help") == "" {
			t.Errorf("%s lacks a tag: %s", field.Name, field.Tag)
		}
		if secret := field.Tag.Get("secret") == "true"; secret != (field.Name == "JWTSecret") {
			t.Errorf("%s: secret is %t", field.Name, secret)
		}
	}
}

func TestConfigWarnsOfDevMode(t *testing.T) {
	for _, c := range []Config{{Mode: ModeDev}, {Mode: ModeDev, DevAnywhere: true}} {
		if w := c.Warning(); !strings.Contains(w, "everybody is believed") {
			t.Errorf("%+v: got the warning %q", c, w)
		}
	}
}

func TestConfigWarnsOfKeysInTheClear(t *testing.T) {
	for address, warned := range map[string]bool{
		"": false, "https://id.example/jwks": false, "http://127.0.0.1:1/jwks": false, "http://localhost/jwks": false, "http://id.example/jwks": true,
	} {
		w := Config{Mode: ModeJWT, JWTSecret: testSecret, JWKSURL: address}.Warning()
		if (w != "") != warned || strings.Contains(w, "id.example") {
			t.Errorf("%s: got the warning %q", address, w)
		}
	}
	if w := (Config{Mode: ModeDev, JWKSURL: "http://id.example/jwks"}).Warning(); strings.Contains(w, "JWKS") {
		t.Errorf("in dev mode: got the warning %q", w)
	}
}
