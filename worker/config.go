package worker

import (
	"time"

	"sluice/shared/store"
	"sluice/shared/wire"
)

// Config are the settings of a worker.
type Config struct {
	Store    store.Config
	Acks     AckConfig
	ServerID string `env:"SLUICE_SERVER_ID" help:"Name of this process, unique in the installation. Default: the host's name and a random suffix." allow:"1 to 128 characters of A-Z a-z 0-9 . _ - : @ / + ="`
}

// AckConfig says what becomes of acknowledgements.
type AckConfig struct {
	CursorTTL time.Duration `env:"SLUICE_CURSOR_TTL" envDefault:"720h" help:"How long a user's cursors are kept after the last acknowledgement." allow:"a duration from 1s to 87600h, for example 720h"`
	Sync      bool          `env:"SLUICE_ACK_SYNC" envDefault:"false" help:"Tell a user's other devices of acknowledgements, with the frame acked." allow:"true or false"`
}

// Validate returns a *store.Problem for the first setting that cannot be used.
func (c *AckConfig) Validate() error {
	if c.CursorTTL < time.Second || c.CursorTTL > 87600*time.Hour {
		return &store.Problem{Name: "SLUICE_CURSOR_TTL", Value: c.CursorTTL.String(), Allowed: "a duration from 1s to 87600h, for example 720h"}
	}
	return nil
}

// Validate returns a *store.Problem for the first setting that cannot be used.
func (c *Config) Validate() error {
	if c.ServerID != "" && !wire.ValidName(c.ServerID) {
		return &store.Problem{Name: "SLUICE_SERVER_ID", Value: c.ServerID, Allowed: "1 to 128 characters of A-Z a-z 0-9 . _ - : @ / + ="}
	}
	return nil
}
