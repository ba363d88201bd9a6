package worker

import (
	"time"

	"sluice/shared/store"
	"sluice/worker/functions"
)

// Config are the settings of a worker.
type Config struct {
	Store     store.Config
	Acks      AckConfig
	Slow      SlowConfig
	Functions functions.Config
	ServerID  string `env:"SLUICE_SERVER_ID" max:"128" chars:"A-Z a-z 0-9 . _ - : @ / + =" help:"The name of this process; no other process of the installation may have it. If it is not set: the name of the host and a random suffix."`
	// Roles: none are all, for those who make a Config by hand.
	Roles []string `env:"SLUICE_ROLES" envDefault:"all" allow:"all, or some of events, acks, slow, functions, separated by commas" help:"What this worker does: events (brings them to the gateways, and owns partitions), acks (moves cursors), slow (looks after slow clients), functions (calls them). Each role needs a worker that has it."`
	// TargetCache: 0 is the default, for those who make a Config by hand.
	TargetCache int `env:"SLUICE_TARGET_CACHE" envDefault:"32768" min:"2" max:"10000000" help:"For how many targets of each partition a worker remembers the newest event; for others it asks Redis."`
	// DrainIdle: 0 is the default, for those who make a Config by hand.
	DrainIdle time.Duration `env:"SLUICE_DRAIN_IDLE" envDefault:"5s" min:"100ms" max:"1h" help:"How long nothing must have waited until a worker that was started with -drain ends."`
}

const (
	defaultTargetCache = 32 << 10
	defaultDrainIdle   = 5 * time.Second
)

// AckConfig says what becomes of acknowledgements.
type AckConfig struct {
	CursorTTL time.Duration `env:"SLUICE_CURSOR_TTL" envDefault:"720h" min:"1s" max:"87600h" help:"How long the cursors of a user are kept after the last acknowledgement."`
	Sync      bool          `env:"SLUICE_ACK_SYNC" envDefault:"false" help:"Whether the other devices of a user are told of an acknowledgement, with the frame acked."`
}

// SlowConfig says when a client that takes nothing is given up: after the attempts or
// after the timeout, whichever comes first. Both begin again when it takes something.
type SlowConfig struct {
	Attempts int           `env:"SLUICE_SLOW_ATTEMPTS" envDefault:"12" min:"1" max:"100" help:"How often a client that takes nothing is tried, after growing times, before it is closed with 4001."`
	Timeout  time.Duration `env:"SLUICE_SLOW_TIMEOUT" envDefault:"45s" min:"100ms" max:"1h" help:"How long a client may take nothing before it is closed with 4001. Gateways close it after two to three ping intervals in any case."`
}
