package store

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"sluice/shared/wire"
)

// connectsKept is how long what clients say of themselves stays in Redis at most: longer than anybody waits for an answer.
const connectsKept = 2 * time.Minute

// AskConnect asks functions who a client is. Nothing is asked twice: after an error it may have been, and nobody waits.
func (s *Store) AskConnect(ctx context.Context, c *wire.Connect) error {
	key := s.keys.connects(wire.Partition(c.Ask, s.cfg.Partitions))
	pipe := s.rdb.Pipeline()
	pipe.XAdd(ctx, &redis.XAddArgs{
		Stream: key, MinID: strconv.FormatInt(s.NowMs()-connectsKept.Milliseconds(), 10), Values: c.Fields(),
	})
	pipe.PExpire(ctx, key, connectsKept) // tokens are in it
	cmds, err := exec(ctx, pipe)
	if err := firstFailure(cmds, err); err != nil {
		return fmt.Errorf("cannot ask a function who a client is: %w", err)
	}
	return nil
}

// NewConnectReader makes a reader of what functions are asked, as NewAckReader does.
func (s *Store) NewConnectReader(partitions []int) (*GroupReader, error) {
	return s.newGroupReader("clients that connect", s.keys.connects, partitions)
}
