package worker

import (
	"sluice/shared/store"
	"sluice/shared/wire"
)

// Config are the settings of a worker.
type Config struct {
	Store    store.Config
	ServerID string `env:"SLUICE_SERVER_ID" help:"Name of this process, unique in the installation. Default: the host's name and a random suffix." allow:"1 to 128 characters of A-Z a-z 0-9 . _ - : @ / + ="`
}

// Validate returns a *store.Problem for the first setting that cannot be used.
func (c *Config) Validate() error {
	if c.ServerID != "" && !wire.ValidName(c.ServerID) {
		return &store.Problem{Name: "SLUICE_SERVER_ID", Value: c.ServerID, Allowed: "1 to 128 characters of A-Z a-z 0-9 . _ - : @ / + ="}
	}
	return nil
}
