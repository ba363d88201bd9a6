package wake

import (
	"errors"
	"fmt"
	"net/url"

	"sluice/shared/outbound"
	"sluice/shared/settings"
)

// Config says where workers are asked for.
type Config struct {
	URL    string `env:"SLUICE_WAKE_URL" secret:"true" allow:"an address such as https://example.com/wake" help:"Where gateways ask for a worker, by a POST, when something waits and none lives; at most once in 5 s."`
	Secret string `env:"SLUICE_FUNCTION_SECRET" secret:"true" allow:"whsec_ and base64 of 24 to 64 bytes; several, separated by spaces" help:"The keys that sign requests to SLUICE_WAKE_URL (Standard Webhooks)."`
}

// Check looks at the address and the keys.
func (c *Config) Check() error {
	var address error
	u, err := url.Parse(c.URL)
	if c.URL != "" && (err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http")) {
		address = settings.Invalid{Name: "SLUICE_WAKE_URL", Value: c.URL, Allowed: "an address such as https://example.com/wake"}
	}
	_, err = outbound.ParseKeys(c.Secret)
	if err != nil {
		err = fmt.Errorf("SLUICE_FUNCTION_SECRET: %w", err)
	}
	return errors.Join(address, err)
}
