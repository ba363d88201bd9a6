package store

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/redis/go-redis/v9"
)

// UseLog sends what the Redis client logs by itself, of this whole process, to log, at level debug:
// whatever matters of it is an error of a command, too, and told where it is known what follows from it.
// The client tells addresses, and no passwords.
func UseLog(log *slog.Logger) { redis.SetLogger(clientLog{log}) }

type clientLog struct{ log *slog.Logger }

// Printf is the client's only way to log; it has no levels.
func (c clientLog) Printf(ctx context.Context, format string, args ...any) {
	if c.log.Enabled(ctx, slog.LevelDebug) {
		c.log.DebugContext(ctx, "Redis client", "says", fmt.Sprintf(format, args...))
	}
}
