package auth

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"time"
)

// The values of Config.Mode.
const (
	ModeJWT = "jwt" // signed tokens
	ModeDev = "dev" // tokens "dev:<user>", believed without proof
	// ModeFunction lets a function say whose a token is.
	ModeFunction = "function"
)

// minSecretBytes is what HS256 asks for: a key at least as long as the hash (RFC 7518, section 3.2). A shorter one
// can be found offline by whoever holds a single token.
const minSecretBytes = 32

// Warning is a sentence about a setting that works but should not stay, or "".
func (c Config) Warning() string {
	if c.Mode == ModeDev {
		return "with SLUICE_AUTH=dev everybody is believed to be whoever they say: whoever can connect can be any user, " +
			"and read and publish everything; use SLUICE_AUTH=jwt for anything but trying out"
	}
	if u, err := url.Parse(c.JWKSURL); c.Mode == ModeJWT && err == nil && u.Scheme == "http" && !isLoopback(u.Hostname()) {
		return "SLUICE_JWKS_URL is fetched without TLS: whoever can change what comes over the network on the way can sign tokens; use https"
	}
	return ""
}

// Config says who may connect. Call Check before listening.
type Config struct {
	Mode           string        `env:"SLUICE_AUTH" envDefault:"jwt" oneof:"jwt,function,dev" help:"How clients prove who they are: jwt takes signed tokens, with function the function connect says whose a token is, dev takes any token of the form dev:<user>."`
	DevAnywhere    bool          `env:"SLUICE_AUTH_DEV_ANYWHERE" envDefault:"false" help:"Whether SLUICE_AUTH=dev may start on an address that other machines can reach. Clients must ask for it by localhost, by an address, or by the host of one of SLUICE_ALLOWED_ORIGINS."`
	JWTSecret      string        `env:"SLUICE_JWT_SECRET" secret:"true" allow:"any text of 32 bytes or more" help:"The key that signs tokens (HS256), byte for byte: it is not decoded. SLUICE_AUTH=jwt needs it, SLUICE_JWT_KEY_FILE or SLUICE_JWKS_URL; with several each key counts."`
	JWTKeyFile     string        `env:"SLUICE_JWT_KEY_FILE" help:"A file of public keys in PEM, one or several, that check tokens: RSA (RS256), P-256 (ES256), Ed25519 (EdDSA). It is read at the start."`
	JWKSURL        string        `env:"SLUICE_JWKS_URL" secret:"url" allow:"an address such as https://id.example.com/jwks.json" help:"Where the public keys that check tokens are fetched, as a JSON Web Key Set, every 5 s. Redirects are not followed."`
	JWTMaxLife     time.Duration `env:"SLUICE_JWT_MAX_LIFE" envDefault:"0s" min:"1s" max:"87600h" or:"0s" help:"The longest time from a token's iat, or from now if it has none, to its exp. Tokens that live longer are refused. 0s: any."`
	JWTAudience    string        `env:"SLUICE_JWT_AUDIENCE" help:"What the claim aud of a token must contain. If it is not set, aud is not checked."`
	JWTIssuer      string        `env:"SLUICE_JWT_ISSUER" help:"What the claim iss of a token must be. If it is not set, iss is not checked."`
	AllowedOrigins []string      `env:"SLUICE_ALLOWED_ORIGINS" allow:"origins such as https://app.example.com or https://*.example.com:8443, separated by commas, or *" help:"The web origins whose pages may connect, besides the gateway's own. *: any."`
}

// Check says which settings do not go together, and which origins are none: a sentence each for the operator, which
// never holds the secret. listenAddr is the address for clients (SLUICE_ADDR), host:port as net.Listen takes it: dev mode is
// refused on one that is not loopback, since there anybody could be any user.
func (c Config) Check(listenAddr string) error {
	_, origins := parseAllowed(c.AllowedOrigins)
	var anybody error
	if c.Mode == ModeDev && !c.DevAnywhere && !listensOnLoopback(listenAddr) {
		anybody = fmt.Errorf("with SLUICE_AUTH=dev anybody can be any user, so it is refused on the address SLUICE_ADDR=%q, which other machines may reach: "+
			"listen on 127.0.0.1, use SLUICE_AUTH=jwt, or set SLUICE_AUTH_DEV_ANYWHERE=1 if every client can be trusted", listenAddr)
	}
	return errors.Join(c.checkMode(), origins, anybody)
}

// checkMode refuses a mode that is unknown or lacks what it needs.
func (c Config) checkMode() error {
	switch c.Mode {
	case ModeDev, ModeFunction:
		return nil
	case ModeJWT:
		return c.checkKeys()
	}
	return fmt.Errorf("SLUICE_AUTH=%q is not known", c.Mode)
}

func (c Config) checkKeys() error {
	n := len(c.JWTSecret)
	switch {
	case n == 0 && c.JWTKeyFile == "" && c.JWKSURL == "":
		return errors.New("SLUICE_JWT_SECRET is not set, nor SLUICE_JWT_KEY_FILE or SLUICE_JWKS_URL, and SLUICE_AUTH=jwt needs a key that checks tokens: " +
			"set one of them (a secret has at least 32 bytes), or use SLUICE_AUTH=dev on a loopback address")
	case n > 0 && n < minSecretBytes:
		return fmt.Errorf("SLUICE_JWT_SECRET is %d bytes long, but HS256 needs at least %d (RFC 7518, section 3.2), since a shorter one "+
			"can be found by whoever holds a token: make a new one with openssl rand -base64 48", n, minSecretBytes)
	}
	if c.JWKSURL == "" {
		return nil
	}
	if u, err := url.Parse(c.JWKSURL); err != nil || (u.Scheme != "https" && u.Scheme != "http") || u.Host == "" {
		return errors.New("SLUICE_JWKS_URL is no address of a key set: want one such as https://id.example.com/jwks.json")
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
