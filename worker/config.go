package worker

import (
	"strconv"
	"strings"
	"time"

	"sluice/shared/store"
	"sluice/shared/wire"
)

// Config are the settings of a worker.
type Config struct {
	Store    store.Config
	Acks     AckConfig
	Slow     SlowConfig
	ServerID string `env:"SLUICE_SERVER_ID" help:"Name of this process, unique in the installation. Default: the host's name and a random suffix." allow:"1 to 128 characters of A-Z a-z 0-9 . _ - : @ / + ="`
	// Roles: none are all, for those who make a Config by hand.
	Roles []string `env:"SLUICE_ROLES" envDefault:"all" help:"What this worker does: events (brings them to the gateways, and owns partitions), acks (moves cursors), slow (looks after slow clients). Each role needs a worker that has it." allow:"all, or some of events, acks, slow with commas between"`
	// TargetCache: 0 is the default, for those who make a Config by hand.
	TargetCache int `env:"SLUICE_TARGET_CACHE" envDefault:"32768" help:"Targets of each partition whose newest event a worker remembers; those of others it looks up." allow:"a whole number from 2 to 10000000"`
}

const defaultTargetCache = 32 << 10

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
	if _, err := chosen(c.Roles); err != nil {
		return err
	}
	if c.TargetCache < 2 || c.TargetCache > 10_000_000 {
		return &store.Problem{Name: "SLUICE_TARGET_CACHE", Value: strconv.Itoa(c.TargetCache), Allowed: "a whole number from 2 to 10000000"}
	}
	return nil
}

// allRoles in the place of a role's name stands for each.
const allRoles = "all"

// chosen are the roles of these names, in the order of roles. Empty names, as a trailing
// comma makes them, are skipped. The error is a *store.Problem.
func chosen(names []string) (some []role, err error) {
	if len(names) == 0 {
		names = []string{allRoles}
	}
	wanted := make(map[string]bool)
	for _, name := range names {
		if name = strings.TrimSpace(name); name != "" {
			wanted[name] = true
		}
	}
	var known []string
	for _, r := range roles() {
		known = append(known, r.name)
		if wanted[r.name] || wanted[allRoles] {
			some = append(some, r)
		}
		delete(wanted, r.name)
	}
	delete(wanted, allRoles)
	if len(some) == 0 || len(wanted) > 0 {
		return nil, &store.Problem{
			Name: "SLUICE_ROLES", Value: strings.Join(names, ","), Allowed: allowedRoles(known),
		}
	}
	return some, nil
}

func allowedRoles(names []string) string {
	return allRoles + ", or some of " + strings.Join(names, ", ") + " with commas between"
}

// SlowConfig says when a client that takes nothing is given up: after the attempts or
// after the timeout, whichever comes first. Both begin anew when it takes something.
type SlowConfig struct {
	Attempts int           `env:"SLUICE_SLOW_ATTEMPTS" envDefault:"12" help:"Tries to serve a client that takes nothing, in growing distances, before it is closed with 4001." allow:"a whole number from 1 to 100"`
	Timeout  time.Duration `env:"SLUICE_SLOW_TIMEOUT" envDefault:"45s" help:"Time after which a client that takes nothing is closed with 4001. Gateways close it after two to three ping intervals in any case." allow:"a duration from 100ms to 1h"`
}

// Validate returns a *store.Problem for the first setting that cannot be used.
func (c *SlowConfig) Validate() error {
	if c.Attempts < 1 || c.Attempts > 100 {
		return &store.Problem{Name: "SLUICE_SLOW_ATTEMPTS", Value: strconv.Itoa(c.Attempts), Allowed: "a whole number from 1 to 100"}
	}
	if c.Timeout < 100*time.Millisecond || c.Timeout > time.Hour {
		return &store.Problem{Name: "SLUICE_SLOW_TIMEOUT", Value: c.Timeout.String(), Allowed: "a duration from 100ms to 1h"}
	}
	return nil
}
