package auth

import (
	"reflect"
	"strings"
	"testing"

	"github.com/caarlos0/env/v11"
)

const testSecret = "0123456789abcdef0123456789abcdef" // 32 bytes, the least without a warning

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
		{"jwt without a secret", Config{Mode: ModeJWT}, ":8080", []string{"SLUICE_JWT_SECRET", "not set", "32 bytes"}},
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
			"SLUICE_JWT_ISSUER": "https://id.example", "SLUICE_ALLOWED_ORIGINS": "https://a.example,https://b.example",
		}, Config{ModeDev, true, testSecret, "sluice", "https://id.example", []string{"https://a.example", "https://b.example"}}},
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

func TestConfigWarnsOfShortSecret(t *testing.T) {
	if w := (Config{Mode: ModeJWT, JWTSecret: testSecret}).Warning(); w != "" {
		t.Errorf("a secret of 32 bytes: got the warning %q", w)
	}
	w := Config{Mode: ModeJWT, JWTSecret: testSecret[1:]}.Warning()
	if !strings.Contains(w, "31 bytes") || strings.Contains(w, testSecret[1:]) {
		t.Errorf("a secret of 31 bytes: got the warning %q", w)
	}
}
