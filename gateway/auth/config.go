package auth

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
)

// The values of Config.Mode.
const (
	ModeJWT = "jwt" // signed tokens
	ModeDev = "dev" // tokens "dev:<user>", believed without proof
)

// minSecretBytes is what HS256 asks for: a key at least as long as the hash (RFC 7518, section 3.2). A shorter one
// can be found offline by whoever holds a single token.
const minSecretBytes = 32

// Warning is a sentence about a setting that works but should not stay, or "".
func (c Config) Warning() string {
	if n := len(c.JWTSecret); c.Mode == ModeJWT && n < minSecretBytes {
		return fmt.Sprintf("SLUICE_JWT_SECRET is %d bytes long, HS256 asks for at least %d (RFC 7518, section 3.2): "+
			"make a new one with openssl rand -base64 48", n, minSecretBytes)
	}
	return ""
}

// Config says who may connect. Call Check before listening.
type Config struct {
	Mode           string   `env:"SLUICE_AUTH" envDefault:"jwt" help:"how clients prove who they are: jwt takes signed tokens, dev believes tokens of the form dev:<user>" allow:"jwt or dev"`
	DevAnywhere    bool     `env:"SLUICE_AUTH_DEV_ANYWHERE" envDefault:"false" help:"let SLUICE_AUTH=dev start on an address that other machines can reach" allow:"true or false"`
	JWTSecret      string   `env:"SLUICE_JWT_SECRET" secret:"true" help:"key of HS256 tokens, taken byte for byte (not decoded)" allow:"any text, better 32 bytes or more"`
	JWTAudience    string   `env:"SLUICE_JWT_AUDIENCE" help:"what a token's aud must contain; empty: not checked" allow:"any text"`
	JWTIssuer      string   `env:"SLUICE_JWT_ISSUER" help:"what a token's iss must be; empty: not checked" allow:"any text"`
	AllowedOrigins []string `env:"SLUICE_ALLOWED_ORIGINS" help:"web origins whose pages may connect besides the gateway's own, separated by commas; * for any" allow:"origins like https://app.example.com or https://*.example.com:8443, or *"`
}

// Check returns the first mistake in the settings as one sentence for the operator; it never holds the secret.
// listenAddr is the address for clients (SLUICE_ADDR), host:port as net.Listen takes it: dev mode is refused on one
// that is not loopback, since there anybody could be any user.
func (c Config) Check(listenAddr string) error {
	if err := c.checkMode(); err != nil {
		return err
	}
	if _, err := parseAllowed(c.AllowedOrigins); err != nil {
		return err
	}
	if c.Mode == ModeDev && !c.DevAnywhere && !listensOnLoopback(listenAddr) {
		return fmt.Errorf("SLUICE_AUTH=dev lets anybody be any user, so it is refused on the address SLUICE_ADDR=%q that other machines may reach: "+
			"listen on 127.0.0.1, use SLUICE_AUTH=jwt, or set SLUICE_AUTH_DEV_ANYWHERE=1 where every client may be trusted", listenAddr)
	}
	return nil
}

// checkMode refuses a mode that is unknown or lacks what it needs.
func (c Config) checkMode() error {
	switch c.Mode {
	case ModeDev:
	case ModeJWT:
		if c.JWTSecret == "" {
			return errors.New("SLUICE_JWT_SECRET is not set, and SLUICE_AUTH=jwt needs it: " +
				"set it to the key that signs your tokens, better 32 bytes or more, or use SLUICE_AUTH=dev on a loopback address")
		}
	default:
		return fmt.Errorf("SLUICE_AUTH is %q: it must be jwt or dev", c.Mode)
	}
	return nil
}

// listensOnLoopback says whether only this machine can connect to addr. An empty host means all interfaces.
func listensOnLoopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	return err == nil && isLoopback(host)
}

func isLoopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}
