package listen

import (
	"net/netip"
	"time"
)

// How trusted proxies tell a client's address.
const (
	ForwardedFor  = "x-forwarded-for" // the de facto standard header
	Forwarded     = "forwarded"       // RFC 7239
	ProxyProtocol = "proxy-protocol"  // version 1 or 2, before the first request
)

// Config are the settings of the address where clients connect.
type Config struct {
	TrustedProxies []netip.Prefix `env:"SLUICE_TRUSTED_PROXIES" help:"The addresses of the load balancers in front of the gateways, for example 10.0.0.0/8,192.0.2.7/32. They are believed what they say about the address of a client, and nobody else is." allow:"address ranges such as 10.0.0.0/8, separated by commas"`
	ProxyHeader    string         `env:"SLUICE_PROXY_HEADER" envDefault:"x-forwarded-for" oneof:"x-forwarded-for,forwarded,proxy-protocol" help:"How trusted proxies tell the address of a client. The other ways are ignored, since a client could use them."`
	MaxPending     int            `env:"SLUICE_MAX_PENDING" envDefault:"2000" min:"16" max:"1000000" or:"0" help:"How many connections may be open that have shown no valid token yet. Beyond it the oldest goes, once it has had a second. Each may cost 16 KiB and a goroutine. 0: any number."`
	RequestTimeout time.Duration  `env:"SLUICE_REQUEST_TIMEOUT" envDefault:"10s" min:"100ms" max:"10m" help:"How long the header of a request may take, the rest of it again, and three times as long the answer."`
}

// AnswerTimeout is how long a client may take to read an answer.
func (c *Config) AnswerTimeout() time.Duration { return 3 * c.RequestTimeout }

func (c *Config) trusts(a netip.Addr) bool {
	for _, p := range c.TrustedProxies {
		if p.Contains(a) {
			return true
		}
	}
	return false
}
