package admit

import (
	"context"
	"log/slog"
	"time"

	"sluice/gateway/lock"
	"sluice/shared/ops"
	"sluice/shared/wire"
)

// Kicks looks into Redis when a message with a kick may have been lost. One goroutine does it, for all partitions.
type Kicks struct {
	read func(ctx context.Context, partitions []int) ([]*wire.Kick, error)
	kick func(*wire.Kick)
	log  *slog.Logger
	wake chan struct{}

	mu  lock.Mutex[lock.Kicks]
	due map[int]bool
}

// NewKicks makes Kicks, which are read by Store.Kicks and done by kick; Run must be called.
func NewKicks(read func(ctx context.Context, partitions []int) ([]*wire.Kick, error), kick func(*wire.Kick), log *slog.Logger) *Kicks {
	return &Kicks{read: read, kick: kick, log: log, wake: make(chan struct{}, 1), due: make(map[int]bool)}
}

// Lost says that messages of a partition may have been lost. Locks of package live may be held.
func (x *Kicks) Lost(partition int) {
	x.mu.Lock()
	x.due[partition] = true
	x.mu.Unlock()
	select {
	case x.wake <- struct{}{}:
	default:
	}
}

func (x *Kicks) take() []int {
	x.mu.Lock()
	defer x.mu.Unlock()
	partitions := make([]int, 0, len(x.due))
	for p := range x.due {
		partitions = append(partitions, p)
	}
	clear(x.due)
	return partitions
}

// Run works until ctx ends.
func (x *Kicks) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-x.wake:
		}
		partitions := x.take()
		for wait := 10 * time.Millisecond; ctx.Err() == nil; wait = min(2*wait, time.Second) {
			all, err := x.read(ctx, partitions)
			if err == nil {
				for _, k := range all {
					x.kick(k)
				}
				break
			}
			x.log.Debug("cannot look for kicks that may have been lost; retrying", "err", err)
			ops.Pause(ctx, wait)
		}
	}
}
