package limits

// Config are the limits of rates and numbers. What is 0 has none.
type Config struct {
	Mode string `env:"SLUICE_LIMITS" envDefault:"on" oneof:"on,off" help:"off: no limits of rates and numbers of clients, for trials and behind another limiter. What is bounded in bytes stays so."`

	FrameRate       Rate `env:"SLUICE_MAX_FRAME_RATE" envDefault:"200" min:"1" max:"1000000" or:"0" help:"How many frames a second one connection may send; ten seconds' worth may come at once. Some count more, and an ack less: docs/protocol.md. 0: any number."`
	UserFrameRate   Rate `env:"SLUICE_MAX_FRAME_RATE_PER_USER" envDefault:"1000" min:"1" max:"1000000" or:"0" help:"The same of all connections that one user has to this gateway. 0: any number."`
	PublishRate     Rate `env:"SLUICE_MAX_PUBLISH_RATE" envDefault:"20" min:"1" max:"1000000" or:"0" help:"How many events a second one connection may publish; ten seconds' worth may come at once. 0: any number."`
	UserPublishRate Rate `env:"SLUICE_MAX_PUBLISH_RATE_PER_USER" envDefault:"100" min:"1" max:"1000000" or:"0" help:"The same of all connections that one user has to this gateway. 0: any number."`
	ByteRate        Rate `env:"SLUICE_MAX_BYTE_RATE" envDefault:"1048576" min:"1024" max:"1073741824" or:"0" help:"How many bytes a second one connection may send; ten seconds' worth may come at once. 0: any number."`
	UserByteRate    Rate `env:"SLUICE_MAX_BYTE_RATE_PER_USER" envDefault:"4194304" min:"1024" max:"1073741824" or:"0" help:"The same of all connections that one user has to this gateway. 0: any number."`

	UserConnections    int  `env:"SLUICE_MAX_CONNECTIONS_PER_USER" envDefault:"100" min:"1" max:"10000000" or:"0" help:"How many connections one user may have to this gateway. 0: any number."`
	AddressConnections int  `env:"SLUICE_MAX_CONNECTIONS_PER_ADDRESS" envDefault:"10000" min:"1" max:"10000000" or:"0" help:"How many connections one client address (of IPv6: one /64) may have to this gateway. Behind a load balancer SLUICE_TRUSTED_PROXIES must be set, else all clients have its address. 0: any number."`
	HandshakeRate      Rate `env:"SLUICE_MAX_HANDSHAKE_RATE" envDefault:"150" min:"1" max:"1000000" or:"0" help:"How many handshakes, and HTTP requests without a good token, a second may come from one client address; ten seconds' worth may come at once. 0: any number."`
	UserTargets        int  `env:"SLUICE_MAX_TARGETS_PER_USER" envDefault:"10000" min:"2" max:"10000000" or:"0" help:"How many subscriptions all connections of one user to this gateway may have. 0: any number."`
}

// Off is the value of Mode with which nothing is limited.
const Off = "off"

// Effective are the limits that hold: none with Off.
func (c Config) Effective() Config {
	if c.Mode == Off {
		return Config{Mode: Off}
	}
	return c
}

// Warning is a sentence for the operator if there are no limits, or "".
func (c Config) Warning() string {
	if c.Mode != Off {
		return ""
	}
	return "SLUICE_LIMITS=off: there are no limits of how much and how fast clients may ask; on an open network leave it on"
}
