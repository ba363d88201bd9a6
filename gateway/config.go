package gateway

import (
	"strconv"
	"time"

	"sluice/gateway/auth"
	"sluice/shared/store"
	"sluice/shared/wire"
)

// Config are the settings of a gateway.
type Config struct {
	Store store.Config
	Auth  auth.Config

	Addr           string        `env:"SLUICE_ADDR" envDefault:":8080" help:"Where clients connect." allow:"host:port, the host may be empty"`
	ServerID       string        `env:"SLUICE_SERVER_ID" help:"Name of this process, unique in the installation. Default: the host's name and a random suffix." allow:"1 to 128 characters of A-Z a-z 0-9 . _ - : @ / + ="`
	SendQueueBytes int           `env:"SLUICE_SEND_QUEUE_BYTES" envDefault:"65536" help:"Bytes that may wait for one socket; beyond it the client is served from the history until it keeps up." allow:"a whole number from 4096 to 67108864"`
	SendBuffer     int           `env:"SLUICE_SOCKET_SEND_BUFFER" envDefault:"131072" help:"Bytes that the kernel may keep for one socket; it takes about twice as much memory. 0: as the system is set." allow:"0, or a whole number from 4096 to 67108864"`
	MaxBacklog     int64         `env:"SLUICE_MAX_BACKLOG" envDefault:"0" help:"Publishes of clients are refused while more entries than this wait for workers. 0: never." allow:"a whole number from 0 on"`
	PingInterval   time.Duration `env:"SLUICE_PING_INTERVAL" envDefault:"25s" help:"Time between two pings to a client; their pongs renew its session." allow:"a duration from 100ms to half of SLUICE_SESSION_TTL"`
	DrainTimeout   time.Duration `env:"SLUICE_DRAIN_TIMEOUT" envDefault:"20s" help:"Time to send the clients away after SIGTERM." allow:"a duration from 0s to 10m"`
	MaxAge         time.Duration `env:"SLUICE_MAX_CONNECTION_AGE" envDefault:"0s" help:"Time after which a connection is sent away at the latest, half of it at the earliest: so long-lived clients spread over new gateways. 0s: never." allow:"0s, or a duration from 1s to 8760h"`
	AcksSize       int           `env:"SLUICE_ACKS_SIZE" envDefault:"100000" help:"Acknowledgements kept in each partition for services that read them and are behind." allow:"a whole number from 1000 to 100000000"`
	CursorTTL      time.Duration `env:"SLUICE_CURSOR_TTL" envDefault:"720h" help:"How long a user's cursors are kept after the last acknowledgement." allow:"a duration from 1s to 87600h, for example 720h"`
	MaxTargets     int           `env:"SLUICE_MAX_TARGETS" envDefault:"1000" help:"Subscriptions of one connection, its own user and all included." allow:"a whole number from 2 to 100000"`
}

// Validate returns a *store.Problem for the first setting that cannot be used.
func (c *Config) Validate() error {
	for _, rule := range []struct {
		bad                  bool
		name, value, allowed string
	}{
		{c.ServerID != "" && !wire.ValidName(c.ServerID), "SLUICE_SERVER_ID", c.ServerID,
			"1 to 128 characters of A-Z a-z 0-9 . _ - : @ / + ="},
		{c.SendQueueBytes < 4096 || c.SendQueueBytes > 64<<20, "SLUICE_SEND_QUEUE_BYTES", strconv.Itoa(c.SendQueueBytes),
			"a whole number from 4096 to 67108864"},
		{c.SendBuffer != 0 && (c.SendBuffer < 4096 || c.SendBuffer > 64<<20), "SLUICE_SOCKET_SEND_BUFFER", strconv.Itoa(c.SendBuffer),
			"0, or a whole number from 4096 to 67108864"},
		{c.MaxBacklog < 0, "SLUICE_MAX_BACKLOG", strconv.FormatInt(c.MaxBacklog, 10), "a whole number from 0 on"},
		{c.PingInterval < 100*time.Millisecond || (c.PingInterval > c.Store.SessionTTL/2 && c.Store.Validate() == nil), "SLUICE_PING_INTERVAL", c.PingInterval.String(),
			"a duration from 100ms to half of SLUICE_SESSION_TTL (" + c.Store.SessionTTL.String() + "), since pongs renew the sessions"},
		{c.DrainTimeout < 0 || c.DrainTimeout > 10*time.Minute, "SLUICE_DRAIN_TIMEOUT", c.DrainTimeout.String(),
			"a duration from 0s to 10m"},
		{c.MaxAge != 0 && (c.MaxAge < time.Second || c.MaxAge > 8760*time.Hour), "SLUICE_MAX_CONNECTION_AGE", c.MaxAge.String(),
			"0s, or a duration from 1s to 8760h"},
		{c.AcksSize < 1000 || c.AcksSize > 100_000_000, "SLUICE_ACKS_SIZE", strconv.Itoa(c.AcksSize),
			"a whole number from 1000 to 100000000"},
		{c.CursorTTL < time.Second || c.CursorTTL > 87600*time.Hour, "SLUICE_CURSOR_TTL", c.CursorTTL.String(),
			"a duration from 1s to 87600h, for example 720h"},
		{c.MaxTargets < 2 || c.MaxTargets > 100_000, "SLUICE_MAX_TARGETS", strconv.Itoa(c.MaxTargets),
			"a whole number from 2 to 100000"},
	} {
		if rule.bad {
			return &store.Problem{Name: rule.name, Value: rule.value, Allowed: rule.allowed}
		}
	}
	return c.Auth.Check(c.Addr)
}

// maxMessage is how much longer a client's message may be than the data in it.
const maxMessage = 4 << 10
