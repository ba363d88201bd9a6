package gateway

import (
	"errors"
	"time"

	"sluice/gateway/auth"
	"sluice/gateway/limits"
	"sluice/gateway/listen"
	"sluice/gateway/wake"
	"sluice/shared/settings"
	"sluice/shared/store"
)

// Config are the settings of a gateway.
type Config struct {
	Store  store.Config
	Auth   auth.Config
	Listen listen.Config
	Limits limits.Config

	Addr            string        `env:"SLUICE_ADDR" envDefault:":8080" form:"host:port" help:"The address where clients connect."`
	TLSCertFile     string        `env:"SLUICE_TLS_CERT_FILE" allow:"the name of a file with a certificate in PEM" help:"The certificate, with its chain, that is shown to clients: with it they connect over TLS (wss://), and only so. A file that changes is read again."`
	TLSKeyFile      string        `env:"SLUICE_TLS_KEY_FILE" allow:"the name of a file with a key in PEM" help:"The key of SLUICE_TLS_CERT_FILE."`
	ServerID        string        `env:"SLUICE_SERVER_ID" max:"128" chars:"A-Z a-z 0-9 . _ - : @ / + =" help:"The name of this process; no other process of the installation may have it. If it is not set: the name of the host and a random suffix."`
	SendQueueBytes  int           `env:"SLUICE_SEND_QUEUE_BYTES" envDefault:"65536" min:"4096" max:"67108864" help:"How many bytes may wait for one socket. If more would wait, the client gets its events from the history until it keeps up."`
	SendBuffer      int           `env:"SLUICE_SOCKET_SEND_BUFFER" envDefault:"131072" min:"4096" max:"67108864" or:"0" help:"How many bytes the kernel may keep for one socket; it takes about twice as much memory. 0: as the system is set."`
	MaxBacklog      int64         `env:"SLUICE_MAX_BACKLOG" envDefault:"0" min:"0" help:"What clients publish is refused while more entries than this wait for workers. 0: never."`
	MaxBacklogBytes int64         `env:"SLUICE_MAX_BACKLOG_BYTES" envDefault:"134217728" min:"0" help:"What clients publish is refused while more bytes than this wait for workers in Redis. 0: never."`
	ReadBytes       int64         `env:"SLUICE_READ_BYTES" envDefault:"33554432" min:"1048576" or:"0" help:"How many bytes of histories may be read from Redis at a time, for all clients together; one user has a quarter at most. 0: as if it were not set."`
	PingInterval    time.Duration `env:"SLUICE_PING_INTERVAL" envDefault:"25s" min:"100ms" help:"The time between two pings to a client; the answers renew its session. At most half of SLUICE_SESSION_TTL."`
	DrainTimeout    time.Duration `env:"SLUICE_DRAIN_TIMEOUT" envDefault:"20s" min:"0s" max:"10m" help:"How long the gateway takes to send its clients away after SIGTERM. What stops it must wait longer before it kills it (compose.yaml: SLUICE_STOP_GRACE_PERIOD)."`
	MaxAge          time.Duration `env:"SLUICE_MAX_CONNECTION_AGE" envDefault:"0s" min:"1s" max:"8760h" or:"0s" help:"The age at which a connection is sent away, at the latest; at the earliest it is sent away at half of it. So clients that stay for long spread over new gateways. 0s: never."`
	AcksSize        int           `env:"SLUICE_ACKS_SIZE" envDefault:"100000" min:"1000" max:"100000000" help:"How many acknowledgements each partition keeps for services that read them and are late."`
	CursorTTL       time.Duration `env:"SLUICE_CURSOR_TTL" envDefault:"720h" min:"1s" max:"87600h" help:"How long the cursors of a user are kept after the last acknowledgement."`
	StreamTargets   int           `env:"SLUICE_SSE_MAX_TARGETS" envDefault:"32" min:"2" max:"1000" help:"How many subscriptions one event stream may have: each of its events carries the positions of all."`
	CallTimeout     time.Duration `env:"SLUICE_CALL_TIMEOUT" envDefault:"30s" min:"100ms" max:"1h" help:"How long a client waits for the answer to a call, until it is told that none came. The call itself goes on."`
	ConnectTimeout  time.Duration `env:"SLUICE_CONNECT_TIMEOUT" envDefault:"5s" min:"100ms" max:"1m" help:"How long a client waits for the function that says who it is (SLUICE_AUTH=function), until it is sent away."`
	MaxTargets      int           `env:"SLUICE_MAX_TARGETS" envDefault:"1000" min:"2" max:"100000" help:"How many subscriptions one connection may have; its own user and \"all\" count, too."`

	Wake wake.Config
}

// Validate says which settings do not go together.
func (c *Config) Validate() error {
	var ping error
	if c.PingInterval > c.Store.SessionTTL/2 {
		ping = settings.Invalid{
			Name: "SLUICE_PING_INTERVAL", Value: c.PingInterval.String(),
			Allowed: "at most half of SLUICE_SESSION_TTL (" + c.Store.SessionTTL.String() + "), since the answers to pings renew the sessions",
		}
	}
	return errors.Join(ping, c.checkTLS(), c.Wake.Check(), c.Auth.Check(c.Addr))
}

// checkTLS looks at the names only: a command such as health must not fail while files are being replaced.
func (c *Config) checkTLS() error {
	switch {
	case c.TLSCertFile != "" && c.TLSKeyFile == "":
		return settings.Invalid{Name: "SLUICE_TLS_KEY_FILE", Allowed: "the name of the file with the key of SLUICE_TLS_CERT_FILE"}
	case c.TLSKeyFile != "" && c.TLSCertFile == "":
		return settings.Invalid{Name: "SLUICE_TLS_CERT_FILE", Allowed: "the name of the file with the certificate of SLUICE_TLS_KEY_FILE"}
	case c.TLSCertFile != "" && c.Listen.ProxyHeader == listen.ProxyProtocol:
		return settings.Invalid{Name: "SLUICE_PROXY_HEADER", Value: c.Listen.ProxyHeader, Allowed: "x-forwarded-for or forwarded with SLUICE_TLS_CERT_FILE: what stands before TLS is not read"}
	}
	return nil
}

// defaultReadBytes is that of SLUICE_READ_BYTES, for those who make a Config by hand.
const defaultReadBytes = 32 << 20

// defaultConnectTimeout is that of SLUICE_CONNECT_TIMEOUT, for those who make a Config by hand.
const defaultConnectTimeout = 5 * time.Second

// defaultCallTimeout is that of SLUICE_CALL_TIMEOUT, for those who make a Config by hand.
const defaultCallTimeout = 30 * time.Second

// maxMessage is how much longer a client's message may be than the data in it.
const maxMessage = 4 << 10
